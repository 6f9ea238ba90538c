package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
)

// An event that the stream does not take is named by its line, and however many such bulk appends there were, the next
// one is not held up.
func TestBulkAppendNamesTheLineThatIsTooLarge(t *testing.T) {
	t.Parallel()
	n := startWith(t, "")
	const small = `{"action":"a","actor":"b","category":"system"}`
	const around = `{"action":"a","actor":"b","category":"system","data":{"x":""}}`
	large := strings.Replace(around, `""`, `"`+strings.Repeat("x", 1<<20-len(around))+`"`, 1) // 1 MiB: the defaults are too much
	post := func(media, body string, status int, text string) {
		t.Helper()
		res, err := http.Post(n.url()+"/events", media, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		got, err := io.ReadAll(res.Body)
		if err != nil || res.StatusCode != status || !strings.Contains(string(got), text) {
			t.Fatalf("%s %.300s %v, want %d and %s", res.Status, got, err, status, text)
		}
	}
	for range 60 {
		post("application/x-ndjson", small+"\n\n"+large+"\n"+small+"\n", 413, `"errors":[{"line":3,"field":"line 3","message":"the event with its headers is larger`)
	}
	post("application/json", "["+small+","+large+"]", 413, `"item":2,"field":"item 2"`)
	post("application/x-ndjson", large, 413, `"line":1,"field":"line 1"`)
	post("application/x-ndjson", small+"\n"+small, 201, `"count":2`)
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}

// An append that is in the stream and not chained yet is none that ended well: what it printed has no hash.
func TestAppendThatIsNotChainedYetEndsWith3(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	store, err := url.Parse(n.url())
	if err != nil {
		t.Fatal(err)
	}
	hurried := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(store)
		r.Out.Header.Set("Prefer", "respond-async")
	}})
	defer hurried.Close()
	args := []string{"append", "--category", "user", "--action", "a", "--actor", "b", "--url"}
	out, errs, code := eventstore(t, "", append(args, hurried.URL)...)
	if code != 3 || out != `{"id":"000000000001"}`+"\n" || !strings.Contains(errs, "do not send it again") {
		t.Errorf("%d %s %s", code, out, errs)
	}
	must(t, "", append(args, n.url())...)
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}
