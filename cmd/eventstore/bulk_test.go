package main

import (
	"io"
	"net/http"
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
