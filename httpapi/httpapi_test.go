package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"home.lab/event-store/ledger"
)

const body = `{"category":"service","action":"started","actor":"docker","target":"ollama","data":{"n":1}}`

type fixture struct {
	t      *testing.T
	dir    string
	ledger *ledger.Ledger
	stream *fakeStream
	api    *API
	server *httptest.Server
}

func start(t *testing.T) *fixture {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	return startWith(t, ledger.Options{Logger: quiet}, Options{Version: "test", Logger: quiet})
}

// startWith is start with options of the test's own.
func startWith(t *testing.T, lo ledger.Options, o Options) *fixture {
	t.Helper()
	t.Parallel()
	if lo.Dir == "" {
		lo.Dir = t.TempDir()
	}
	dir := lo.Dir
	l, err := ledger.Open(t.Context(), lo)
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeStream{ledger: l, keys: map[string]ledger.ID{}, reset: make(chan struct{}), status: StreamStatus{Connected: true, ClockSkewMS: 7}}
	o.Ledger, o.Stream = l, s
	a := New(o)
	f := &fixture{t: t, dir: dir, ledger: l, stream: s, api: a, server: httptest.NewServer(a.Handler())}
	t.Cleanup(func() {
		f.server.Close()
		a.verifier.stop()
		l.Close()
	})
	return f
}

// answer is one answer, read to its end.
type answer struct {
	*http.Response
	body string
}

// do sends a request, and checks it and its answer against the API's description.
func (f *fixture) do(method, path, body string, header ...string) answer {
	f.t.Helper()
	a := f.send(method, path, body, header...)
	if err := contract().Check(a.Request, []byte(body), a.Response, []byte(a.body)); err != nil {
		f.t.Errorf("openapi.yaml: %v", err)
	}
	return a
}

// send is do for what the description does not have.
func (f *fixture) send(method, path, body string, header ...string) answer {
	f.t.Helper()
	req, err := http.NewRequest(method, f.server.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	return answer{res, string(text)}
}

// want checks the status, that errors are problems, and that text is in the body.
func (a answer) want(t *testing.T, status int, text ...string) answer {
	t.Helper()
	if a.StatusCode != status {
		t.Fatalf("status %d, want %d: %.300s", a.StatusCode, status, a.body)
	}
	if status >= 400 {
		if ct := a.Header.Get("Content-Type"); ct != "application/problem+json" {
			t.Errorf("content type %q of a %d", ct, status)
		}
		if status == 503 && a.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
	if a.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("nosniff is missing")
	}
	for _, s := range text {
		if !strings.Contains(a.body, s) {
			t.Errorf("%q is not in %.300s", s, a.body)
		}
	}
	return a
}

func (a answer) decode(t *testing.T) map[string]any {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(a.body), &m); err != nil {
		t.Fatalf("%v: %.300s", err, a.body)
	}
	return m
}

// fill appends n events of two actors, in two categories.
func (f *fixture) fill(n int) {
	f.t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "{\"category\":\"%s\",\"action\":\"a%d\",\"actor\":\"u%d\",\"target\":\"t\",\"data\":{\"i\":\"needle%d\"}}\n",
			[]string{"user", "security"}[i%2], i%3, i%2, i)
	}
	f.do("POST", "/events", b.String(), "Content-Type", "application/x-ndjson").want(f.t, 201)
}

func (a answer) ids(t *testing.T) []string {
	t.Helper()
	var events []struct{ ID string }
	if err := json.Unmarshal([]byte(a.body), &events); err != nil {
		t.Fatalf("%v: %.300s", err, a.body)
	}
	ids := []string{}
	for _, e := range events {
		ids = append(ids, strings.TrimLeft(e.ID, "0"))
	}
	return ids
}

func TestRoutes(t *testing.T) {
	f := start(t)
	f.do("GET", "/nosuch", "").want(t, 404, `"status":404`)
	f.send("GET", "/%65vents", "").want(t, 404, `nothing at /%65vents`)
	f.send("POST", "/cleanup", "").want(t, 404) // no retention was given
	for path, allow := range map[string]string{"/events": "GET, HEAD, POST", "/events/000000000001": "GET, HEAD", "/status": "GET, HEAD"} {
		if a := f.do("DELETE", path, "").want(t, 405, `"status":405`); a.Header.Get("Allow") != allow {
			t.Errorf("%s: Allow %q", path, a.Header.Get("Allow"))
		}
	}
	f.do("POST", "/events", body, "Origin", "https://elsewhere.example").want(t, 403)
	f.do("POST", "/events", body, "Sec-Fetch-Site", "cross-site").want(t, 403)
	f.do("POST", "/events", body, "Sec-Fetch-Site", "same-origin").want(t, 201)
	if a := f.do("GET", "/events", "", "Origin", "https://elsewhere.example").want(t, 200); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("CORS")
	}
}

func TestPanicIsA500(t *testing.T) {
	f := start(t)
	h := f.api.guard(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("at the disco") }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 500 || strings.Contains(w.Body.String(), "disco") || w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
