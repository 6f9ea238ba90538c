package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

const body = `{"category":"service","action":"started","actor":"docker","target":"ollama","data":{"n":1}}`

// fakeStream gives ids as a stream does and projects at once, unless held.
type fakeStream struct {
	mu     sync.Mutex
	ledger *ledger.Ledger
	seq    uint64
	keys   map[string]ledger.ID
	held   []ledger.Message // published, not projected
	hold   bool
	err    error
	status StreamStatus
	reset  chan struct{}
}

func (s *fakeStream) Send(d ledger.Draft, key string) Sent {
	sent := &fakeSent{wake: make(chan struct{})}
	if sent.id, sent.duplicate, sent.err = s.append(d, key); sent.err != nil {
		close(sent.wake)
		return sent
	}
	s.ledger.Tell(sent.id, sent.wake)
	return sent
}

func (s *fakeStream) append(d ledger.Draft, key string) (ledger.ID, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, false, s.err
	}
	if id, ok := s.keys[key]; ok && key != "" {
		return id, true, nil
	}
	id, _, err := s.publish([]ledger.Draft{d})
	s.keys[key] = id
	return id, false, err
}

// fakeSent is acknowledged at once.
type fakeSent struct {
	id        ledger.ID
	duplicate bool
	err       error
	wake      chan struct{}
}

func (s *fakeSent) Committed() <-chan struct{} { return s.wake }

func (s *fakeSent) Ack(time.Time) (ledger.ID, bool, error) { return s.id, s.duplicate, s.err }

func (s *fakeStream) AppendBatch(ctx context.Context, ds []ledger.Draft) (first, last ledger.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, 0, s.err
	}
	return s.publish(ds)
}

func (s *fakeStream) publish(ds []ledger.Draft) (first, last ledger.ID, err error) {
	first = ledger.ID(s.seq + 1)
	for _, d := range ds {
		s.seq++
		s.held = append(s.held, ledger.Message{Seq: s.seq, Time: time.Now(), Subject: "events." + d.Category(), Data: d.Canonical()})
	}
	if s.hold {
		return first, ledger.ID(s.seq), nil
	}
	ms := s.held
	s.held = nil
	return first, ledger.ID(s.seq), s.ledger.Project(context.Background(), ms)
}

func (s *fakeStream) Reset() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reset
}

func (s *fakeStream) Compare(context.Context) (first, last, differs ledger.ID, err error) {
	return 1, 0, 0, nil
}

func (s *fakeStream) StreamStatus() StreamStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// set changes the stream under its lock.
func (s *fakeStream) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

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

func TestAppendGivesTheStoredLine(t *testing.T) {
	f := start(t)
	a := f.do("POST", "/events", body, "Content-Type", "application/json; charset=utf-8").want(t, 201)
	line, err := f.ledger.Get(1)
	if err != nil || a.body != string(line)+"\n" {
		t.Fatalf("got %q, stored %q, %v", a.body, line, err)
	}
	if a.Header.Get("Location") != "/events/000000000001" {
		t.Errorf("Location %q", a.Header.Get("Location"))
	}
	f.do("POST", "/events", body).want(t, 201, "000000000002") // no Content-Type
	if g := f.do("GET", "/events/000000000001", "").want(t, 200); g.body != a.body {
		t.Errorf("GET gives %q", g.body)
	}
	f.do("POST", "/verify", "").want(t, 200, `"status":"valid"`, "Chain integrity verified")
}

func TestAppendRefuses(t *testing.T) {
	f := start(t)
	const js = "application/json"
	big := `{"category":"service","action":"a","actor":"b","data":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`
	huge := `{"x":"` + strings.Repeat("x", maxEventBody) + `"}`
	for _, c := range []struct {
		name, contentType, body string
		status                  int
		text                    string
	}{
		{"form", "application/x-www-form-urlencoded", body, 415, "application/json"},
		{"text", "text/plain", body, 415, ""},
		{"bad media type", ";", body, 415, ""},
		{"not JSON", js, `{"category":`, 400, ""},
		{"empty", js, "", 400, ""},
		{"a string", js, `"x"`, 400, ""},
		{"no action", js, `{"category":"service","actor":"b"}`, 422, `{"field":"action",`},
		{"unknown member", js, `{"category":"service","action":"a","actor":"b","colour":1}`, 422, `"field":"colour"`},
		{"assigned member", js, `{"category":"service","action":"a","actor":"b","hash":"x"}`, 422, `"field":"hash"`},
		{"unknown category", js, `{"category":"nosuch","action":"a","actor":"b"}`, 422, `"field":"category"`},
		{"above 1 MiB", js, big, 413, ""},
		{"above the body limit", js, huge, 413, "the body is larger"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.do("POST", "/events", c.body, "Content-Type", c.contentType).want(t, c.status, c.text)
		})
	}
	f.do("POST", "/events", body, "Content-Encoding", "gzip").want(t, 415)
	if h := f.ledger.Head(); h.ID != 0 {
		t.Errorf("something was appended: %v", h)
	}
}

func TestIdempotencyKey(t *testing.T) {
	f := start(t)
	first := f.do("POST", "/events", body, "Idempotency-Key", "k 1").want(t, 201)
	if again := f.do("POST", "/events", "  "+body, "Idempotency-Key", "k 1").want(t, 201); again.body != first.body {
		t.Errorf("second answer %q", again.body)
	}
	f.do("POST", "/events", strings.Replace(body, "1", "2", 1), "Idempotency-Key", "k 1").want(t, 422, `"field":"Idempotency-Key"`, "000000000001")
	f.do("POST", "/events", body, "Idempotency-Key", strings.Repeat("k", 255)).want(t, 201)
	for _, bad := range []string{strings.Repeat("k", 256), "", "é", "a\tb"} {
		f.do("POST", "/events", body, "Idempotency-Key", bad).want(t, 422, `"field":"Idempotency-Key"`)
	}
	f.do("POST", "/events", "["+body+"]", "Idempotency-Key", "b").want(t, 422, `"field":"Idempotency-Key"`)
}

func TestRespondAsync(t *testing.T) {
	f := start(t)
	f.stream.hold = true
	a := f.do("POST", "/events", body, "Prefer", "wait=1, Respond-Async; x=1").want(t, 202)
	if a.body != "{\"id\":\"000000000001\"}\n" || a.Header.Get("Preference-Applied") != "respond-async" || a.Header.Get("Location") != "/events/000000000001" {
		t.Errorf("%v %q", a.Header, a.body)
	}
	f.do("POST", "/events", "["+body+"]", "Prefer", "respond-async").want(t, 202, `"last_id":"000000000002"`)
}

func TestSlowCommitIsNoError(t *testing.T) {
	f := start(t)
	f.stream.hold = true
	f.api.commitTimeout = 200 * time.Millisecond
	a := f.do("POST", "/events", body).want(t, 202, `{"id":"000000000001"}`)
	if a.Header.Get("Preference-Applied") != "" {
		t.Error("nobody asked for it")
	}
	f.do("POST", "/events", "["+body+","+body+"]").want(t, 202, `"count":2`, `"last_id":"000000000003"`)
	f.stream.set(func() { f.stream.hold = false })
	f.api.commitTimeout = 10 * time.Second // the requests above have ended
	f.do("POST", "/events", body).want(t, 201, "000000000004")
}

func TestStreamNotThere(t *testing.T) {
	f := start(t)
	f.stream.err = fmt.Errorf("publishing: %w: full", ledger.ErrUnavailable)
	f.do("POST", "/events", body).want(t, 503, "full")
	f.do("POST", "/events", "["+body+"]").want(t, 503, "full")
	f.stream.set(func() { f.stream.err = context.DeadlineExceeded })
	f.do("POST", "/events", body).want(t, 503, "may have")
	f.stream.set(func() { f.stream.err = errors.New("secret") })
	if a := f.do("POST", "/events", body).want(t, 500); strings.Contains(a.body, "secret") {
		t.Error("a cause goes to the log only")
	}
}

func TestStoppedLedger(t *testing.T) {
	f := start(t)
	f.stream.hold = true
	time.AfterFunc(100*time.Millisecond, func() { f.ledger.Close() })
	f.do("POST", "/events", body).want(t, 202, `"id":"000000000001"`)
	f.do("POST", "/events", body).want(t, 503, "cannot be committed", f.ledger.Err().Error())
	f.do("GET", "/health", "").want(t, 503, `"status":"unhealthy"`, "cannot be committed")
}

// After a reset of the stream an id may become another event's.
func TestResetFailsWaiters(t *testing.T) {
	f := start(t)
	f.stream.set(func() { f.stream.hold = true })
	answers := make(chan answer, 2)
	go func() { answers <- f.do("POST", "/events", body) }()
	go func() { answers <- f.do("POST", "/events", "["+body+"]") }()
	for waiting := false; !waiting; time.Sleep(time.Millisecond) {
		f.stream.set(func() { waiting = len(f.stream.held) == 2 })
	}
	close(f.stream.reset)
	for range 2 {
		a := <-answers
		a.want(t, 503, "reset")
		if a.Header.Get("Retry-After") == "" {
			t.Error("no Retry-After")
		}
	}
	f.stream.set(func() { f.stream.hold, f.stream.reset = false, make(chan struct{}) })
	f.do("POST", "/events", body).want(t, 201)
}

// Another event took the id: the answer must not be that one.
func TestAnotherEventUnderTheIDIsNoAnswer(t *testing.T) {
	f := start(t)
	f.do("POST", "/events", body).want(t, 201)
	f.stream.set(func() { f.stream.seq, f.stream.hold = 0, true })
	other := strings.Replace(body, `"action":"`, `"action":"other_`, 1)
	f.do("POST", "/events", other).want(t, 503, "000000000001")
	f.stream.set(func() { f.stream.seq = 0 })
	f.do("POST", "/events", "["+other+"]").want(t, 503, "000000000001")
}

func TestClientGoneKeepsItsEvent(t *testing.T) {
	f := start(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	func() {
		defer func() { recover() }()
		f.api.Handler().ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/events", strings.NewReader(body)))
	}()
	patience, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	if err := f.ledger.Wait(patience, 1); err != nil {
		t.Fatal(err)
	}
}

func TestBulk(t *testing.T) {
	f := start(t)
	const nd = "application/x-ndjson"
	a := f.do("POST", "/events", "\n"+body+"\r\n\n"+body, "Content-Type", nd).want(t, 201, `"count":2`, `"first_id":"000000000001"`, `"last_id":"000000000002"`)
	if a.decode(t)["last_hash"] != f.ledger.Head().Hash {
		t.Errorf("%s, head %v", a.body, f.ledger.Head())
	}
	f.do("POST", "/events", " [ "+body+" , "+body+" ] ").want(t, 201, `"last_id":"000000000004"`)
	thousand := strings.Repeat(body+"\n", 1000)
	f.do("POST", "/events", thousand, "Content-Type", nd).want(t, 201, `"count":1000`)
	f.do("POST", "/events", thousand+body, "Content-Type", nd).want(t, 413, "1000")
	f.do("POST", "/events", "["+strings.Repeat(body+",", 1000)+body+"]").want(t, 413, "1000")

	f.do("POST", "/events", body+"\n\n{\"category\":\"service\",\"action\":\"a\"}\n{", "Content-Type", nd).
		want(t, 422, `"line":3,"field":"line 3: actor"`, `"line":4,"field":"line 4"`)
	f.do("POST", "/events", "["+body+`,{"category":"service","actor":"a"},7]`).
		want(t, 422, `"item":2,"field":"item 2: action"`, `"item":3,"field":"item 3"`)
	for _, empty := range []string{"", "\n \n"} {
		f.do("POST", "/events", empty, "Content-Type", nd).want(t, 422)
	}
	f.do("POST", "/events", "[]").want(t, 422)
	for _, bad := range []string{"[", "[" + body, "[" + body + "] x", "[" + body + ",]", "[" + body + " " + body + "]"} {
		f.do("POST", "/events", bad).want(t, 400)
	}
	big := `{"category":"service","action":"a","actor":"b","data":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`
	f.do("POST", "/events", "["+big+"]").want(t, 413, "item 1")
	if id := f.ledger.Head().ID; id != 1004 {
		t.Errorf("%d events", id)
	}
	f.do("POST", "/verify", "").want(t, 200, `"status":"valid"`)
}

func TestBulkBodyLimit(t *testing.T) {
	f := start(t)
	r := httptest.NewRequest("POST", "/events", io.LimitReader(spaces{}, maxBulkBody+1))
	r.Header.Set("Content-Type", "application/x-ndjson")
	w := httptest.NewRecorder()
	f.api.Handler().ServeHTTP(w, r)
	if w.Code != 413 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	copy(b, bytes.Repeat([]byte{' '}, len(b)))
	return len(b), nil
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

func TestQuery(t *testing.T) {
	f := start(t)
	if a := f.do("GET", "/events", "").want(t, 200); a.body != "[]" || a.Header.Get("Link") != "" {
		t.Errorf("empty: %q %v", a.body, a.Header)
	}
	f.fill(12)
	today := time.Now().UTC().Format(time.DateOnly)
	for _, c := range []struct{ query, ids string }{
		{"", "c b a 9 8 7 6 5 4 3 2 1"},
		{"limit=2", "c b"},
		{"limit=2&order=asc", "1 2"},
		{"category=security&limit=3", "c a 8"},
		{"actor=u0&action=a0", "7 1"},
		{"action=a0&action=a1&limit=4", "b a 8 7"},
		{"q=needle11", "c"},
		{"before=000000000003", "2 1"},
		{"after=00000000000a", "c b"},
		{"after=00000000000a&order=asc", "b c"},
		{"result=failure", ""},
		{"target=t&limit=1", "c"},
		{"start_time=" + today + "&end_time=" + today + "&limit=1", "c"},
		{"end_time=2001-01-01", ""},
		{"start_time=2001-01-01T00:00:00%2B01:00&limit=1", "c"},
		{"end_time=2001-01-01T00:00:00+01:00", ""},
	} {
		got := strings.Join(f.do("GET", "/events?"+c.query, "").want(t, 200).ids(t), " ")
		if got != c.ids {
			t.Errorf("%s: %s, want %s", c.query, got, c.ids)
		}
	}
	line, _ := f.ledger.Get(12)
	line2, _ := f.ledger.Get(11)
	if a := f.do("GET", "/events?limit=2", ""); a.body != "["+string(line)+",\n"+string(line2)+"]" {
		t.Errorf("not as stored: %s", a.body)
	}
	if a := f.do("HEAD", "/events?limit=2", "").want(t, 200); a.body != "" || a.Header.Get("Link") == "" {
		t.Errorf("HEAD: %v %q", a.Header, a.body)
	}
}

// However deep a body is nested, and whatever it is, the answer is the same.
func TestNestingIsAnsweredAlike(t *testing.T) {
	f := start(t)
	for _, depth := range []int{70, 20_000, 100_000} {
		deep := `{"category":"user","action":"a","actor":"b","data":` + strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) + "}"
		f.do("POST", "/events", deep).want(t, 422, "data: is nested deeper than 64")
		f.do("POST", "/events", "["+body+","+deep+"]").want(t, 422, `"item":2`, "data: is nested deeper than 64")
		f.do("POST", "/events", strings.Repeat("[", depth)).want(t, 422, `"item":1`, "data: is nested deeper than 64")
		f.do("POST", "/events", body+"\n"+strings.Repeat("[", depth), "Content-Type", "application/x-ndjson").want(t, 422, `"line":2`, "data: is nested deeper than 64")
	}
	f.do("POST", "/events", "[[[").want(t, 400, "not JSON")
}

// The zero time of the program stands for no end; that of the client is one.
func TestEndTimeOfTheFirstMomentIsNoOpenEnd(t *testing.T) {
	f := start(t)
	f.fill(2)
	for _, end := range []string{"0001-01-01T00:00:00Z", "0001-01-01T01:00:00%2B01:00", "0001-01-01"} {
		if a := f.do("GET", "/events?end_time="+end, "").want(t, 200); a.body != "[]" {
			t.Errorf("%s: %s", end, a.body)
		}
		f.do("GET", "/events/count?end_time="+end, "").want(t, 200, `"count":0`)
	}
}

func TestQueryRefuses(t *testing.T) {
	f := start(t)
	for query, field := range map[string]string{
		"colour=1": "colour", "limit=0": "limit", "limit=-1": "limit", "limit=10001": "limit", "limit=x": "limit", "limit=": "limit",
		"limit=1&limit=2": "limit", "q=a&q=b": "q", "order=up": "order", "before=x": "before", "after=1": "after", "before=00000000000A": "before", "before=000000000000": "before",
		"start_time=yesterday": "start_time", "end_time=2001-02-30": "end_time", "start_time=": "start_time",
	} {
		f.do("GET", "/events?"+query, "").want(t, 422, `"field":"`+field+`"`)
	}
	f.do("GET", "/events?limit=0&colour=1", "").want(t, 422, `"field":"limit"`, `"field":"colour"`)
	f.do("GET", "/events?q=%zz", "").want(t, 400)
}

// follow reads all pages and gives their ids.
func (f *fixture) follow(path string, header ...string) (ids []string, pages int) {
	for path != "" {
		a := f.do("GET", path, "", header...).want(f.t, 200)
		ids = append(ids, a.ids(f.t)...)
		pages++
		path = ""
		if link := a.Header.Get("Link"); link != "" {
			var ok bool
			if path, ok = strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`); !ok {
				f.t.Fatalf("Link %q", link)
			}
		}
	}
	return ids, pages
}

func TestPages(t *testing.T) {
	f := start(t)
	f.fill(12)
	for _, c := range []struct {
		path, ids string
		pages     int
	}{
		{"/events?limit=5", "c b a 9 8 7 6 5 4 3 2 1", 3},
		{"/events?limit=4&order=asc", "1 2 3 4 5 6 7 8 9 a b c", 3},
		{"/events?limit=4&category=security&category=user&after=000000000004", "c b a 9 8 7 6 5", 2},
		{"/events?limit=2&category=security", "c a 8 6 4 2", 3},
	} {
		ids, pages := f.follow(c.path)
		if got := strings.Join(ids, " "); got != c.ids || pages != c.pages {
			t.Errorf("%s: %s in %d pages", c.path, got, pages)
		}
	}
}

func TestPageLargerThanMemory(t *testing.T) {
	f := start(t)
	big := `{"category":"service","action":"a","actor":"b","data":{"x":"` + strings.Repeat("x", 900<<10) + `"}}` + "\n"
	f.do("POST", "/events", strings.Repeat(big, 12), "Content-Type", "application/x-ndjson").want(t, 201)
	for path, want := range map[string]string{
		"/events?limit=11":           "c b a 9 8 7 6 5 4 3 2",
		"/events?limit=11&order=asc": "1 2 3 4 5 6 7 8 9 a b",
	} {
		a := f.do("GET", path, "").want(t, 200)
		if got := strings.Join(a.ids(t), " "); got != want || a.Header.Get("Link") == "" {
			t.Errorf("%s: %s, Link %q", path, got, a.Header.Get("Link"))
		}
	}
	a := f.do("GET", "/events?limit=11", "", "Accept", "application/x-ndjson").want(t, 200)
	if n := strings.Count(a.body, "\n"); n != 11 {
		t.Errorf("%d lines", n)
	}
}

func TestQueryNDJSON(t *testing.T) {
	f := start(t)
	if a := f.do("GET", "/events", "", "Accept", "application/x-ndjson").want(t, 200); a.body != "" {
		t.Errorf("empty: %q", a.body)
	}
	f.fill(300)
	for path, n := range map[string]int{"/events": 300, "/events?limit=7": 7, "/events?limit=20000": 300, "/events?actor=u1": 150} {
		a := f.do("GET", path, "", "Accept", "text/html, application/x-ndjson;q=0.9").want(t, 200)
		if a.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Error(a.Header)
		}
		lines := strings.SplitAfter(a.body, "\n")
		if len(lines) != n+1 || lines[n] != "" {
			t.Errorf("%s: %d lines", path, len(lines)-1)
		}
		for _, l := range lines[:n] {
			if !json.Valid([]byte(l)) {
				t.Fatalf("%s: %q", path, l)
			}
		}
	}
	f.do("GET", "/events?limit=0", "", "Accept", "application/x-ndjson").want(t, 422)
	if a := f.do("GET", "/events", "", "Accept", "application/x-ndjson;q=0"); a.Header.Get("Content-Type") != "application/json" {
		t.Error("q=0 means no")
	}
}

func TestEventByID(t *testing.T) {
	f := start(t)
	f.fill(1)
	f.do("GET", "/events/000000000001", "").want(t, 200, "needle0")
	f.do("GET", "/events/ffffffffffff", "").want(t, 404)
	f.do("GET", "/events/000000000000", "").want(t, 404)
	for _, bad := range []string{"1", "00000000000G", "00000000000A", "0000000000001"} {
		f.do("GET", "/events/"+bad, "").want(t, 400)
	}
	if p := problemOf(fmt.Errorf("x: %w", ledger.ErrAgedOut)); p.Status != 410 {
		t.Error(p)
	}
}

func TestRoutes(t *testing.T) {
	f := start(t)
	f.do("GET", "/nosuch", "").want(t, 404, `"status":404`)
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

func TestStatus(t *testing.T) {
	f := start(t)
	m := f.do("GET", "/status", "").want(t, 200, `"chain_valid":null`, `"first_event_time":null`, `"drift":[]`, `"categories":{`, `"last_id":null`).decode(t)
	if m["total_events"] != 0.0 || m["last_hash"] != ledger.GenesisHash || m["clock_skew_ms"] != 7.0 {
		t.Error(m)
	}
	f.fill(3)
	f.do("POST", "/verify", "").want(t, 200)
	m = f.do("GET", "/status", "").want(t, 200, `"chain_valid":true`, `"last_id":"000000000003"`, `"verified_through":"000000000003"`).decode(t)
	if m["total_events"] != 3.0 || m["last_hash"] != f.ledger.Head().Hash || m["categories"].(map[string]any)["user"] != 2.0 {
		t.Error(m)
	}
	if _, err := time.Parse(timestampLayout, m["first_event_time"].(string)); err != nil || len(m["verified_at"].(string)) != len(timestampLayout) {
		t.Error(err, m)
	}
}

func TestHealth(t *testing.T) {
	f := start(t)
	f.fill(2)
	f.do("GET", "/health", "").want(t, 200, `"status":"healthy"`, `"event_count":2`, f.ledger.Head().Hash)
	f.stream.set(func() { f.stream.status.Drift = []string{"max_age is 1h"} })
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "max_age is 1h")
	f.stream.set(func() { f.stream.status.Drift, f.stream.status.Warnings = nil, []string{"stream is 90 % full"} })
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "90 % full")
	f.stream.set(func() { f.stream.status.Connected = false })
	f.do("GET", "/health", "").want(t, 503, `"status":"unhealthy"`, "not connected")
}

// damage changes one letter of the active segment.
func (f *fixture) damage() {
	f.t.Helper()
	names, err := filepath.Glob(filepath.Join(f.dir, "events_*.jsonl"))
	if err != nil || len(names) != 1 {
		f.t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(names[0], bytes.Replace(b, []byte("needle1"), []byte("Needle1"), 1), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func TestBrokenChainIsSeen(t *testing.T) {
	f := start(t)
	f.fill(3)
	f.damage()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.api.Run(ctx) }()
	for range 500 {
		if f.api.verifier.state().Last != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.do("GET", "/status", "").want(t, 200, `"chain_valid":false`)
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "Chain broken")
	f.do("POST", "/verify", "").want(t, 200, `"status":"invalid"`, `"error":"Chain broken at event 000000000002`, `"findings":[{`)
	f.do("GET", "/verify", "").want(t, 200, `"running":false`, `"status":"invalid"`)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	f.do("POST", "/verify", "").want(t, 503)
}

// What the files lack at a start the stream may bring back. The verification that found it broken does not stand for an
// hour then.
func TestAChainThatTheStreamMendsIsVerifiedAgain(t *testing.T) {
	f := start(t)
	f.fill(3)
	names, _ := filepath.Glob(filepath.Join(f.dir, "events_*.jsonl"))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	f.damage()
	f.stream.set(func() { f.stream.status.Lag = 2 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.api.Run(ctx) }()
	became := func(valid bool) {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
			if got := f.api.verifier.state().valid(); got != nil && *got == valid {
				return
			} else if time.Now().After(end) {
				t.Fatalf("chain_valid did not become %t", valid)
			}
		}
	}
	became(false)
	if err := os.WriteFile(names[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	f.stream.set(func() { f.stream.status.Lag = 0 })
	became(true)
	f.do("GET", "/health", "").want(t, 200, `"status":"healthy"`)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestVerifyOptions(t *testing.T) {
	f := start(t)
	f.fill(2)
	f.do("GET", "/verify", "").want(t, 200, `"running":false`, `"last":null`, `"progress":null`)
	h := f.ledger.Head()
	f.do("POST", "/verify", fmt.Sprintf(`{"heads":["%s:%s"],"require":{"security":"365d","user":"24h"}}`, h.ID, h.Hash)).want(t, 200, `"valid"`)
	f.do("POST", "/verify", fmt.Sprintf(`{"heads":["%s:%s"]}`, h.ID, ledger.GenesisHash)).want(t, 200, `"invalid"`)
	f.do("GET", "/verify", "").want(t, 200, `"status":"valid"`) // the caller's head is not the chain's fault
	f.do("POST", "/verify", `{}`).want(t, 200, `"valid"`)
	f.do("POST", "/verify", `{`).want(t, 400)
	f.do("POST", "/verify", `{"heads":["x"],"require":{"user":"-1d"}}`).want(t, 422, `heads[0]`, `require.user`)
	for body, field := range map[string]string{`{"colour":1}`: "colour", `{"Heads":[]}`: "Heads", `{"heads":["bad"],"heads":[]}`: "heads", `{"require":{"user":"1d","user":"2d"}}`: "user",
		`{"heads":"x"}`: "heads", `{"heads":null}`: "heads", `{"heads":[1]}`: "heads", `{"require":[]}`: "require", `{"require":{"user":1}}`: "require",
		`{"heads":[null]}`: "heads[0]", `{"require":{"user":null}}`: "require.user", `[]`: "", `null`: "", `"x"`: ""} {
		if a := f.do("POST", "/verify", body).want(t, 422, `"field":"`+field+`"`); strings.Contains(a.body, "json") || strings.Contains(a.body, "httpapi") {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	f.do("POST", "/verify", `{} {}`).want(t, 400)
	f.do("POST", "/verify", `{"heads":[]}`, "Content-Type", "text/plain").want(t, 415)
	f.do("POST", "/verify", "", "Content-Type", "application/x-www-form-urlencoded").want(t, 200)
}

// Who asks with a head of his own and finds the chain broken has measured it for all; what only his head and floor do not
// hold is his alone.
func TestVerificationWithHeadsThatFindsTheChainBrokenCounts(t *testing.T) {
	f := start(t)
	f.fill(3)
	head := f.ledger.Head()
	own := fmt.Sprintf(`{"heads":["%s:%s","%s:%s"],"require":{"service":"forever","nosuch":"1d"}}`, head.ID, ledger.GenesisHash, head.ID+1, head.Hash)
	f.do("POST", "/verify", own).want(t, 200, `"status":"invalid"`, "head_missing", "head_mismatch", "policy_below_required", "policy_missing")
	f.do("GET", "/verify", "").want(t, 200, `"findings":[]`, `"message":"Chain integrity verified"`)
	f.do("GET", "/status", "").want(t, 200, `"chain_valid":true`)
	f.damage()
	f.do("POST", "/verify", own).want(t, 200, `"status":"invalid"`)
	last := f.do("GET", "/verify", "").want(t, 200, `"status":"invalid"`, `"kind":"hash_mismatch"`)
	if strings.Contains(last.body, "head_") || strings.Contains(last.body, "policy_") {
		t.Errorf("the caller's findings are kept: %s", last.body)
	}
	f.do("GET", "/status", "").want(t, 200, `"chain_valid":false`)
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "Chain broken at event 000000000002")
}

func TestOneVerificationServesAll(t *testing.T) {
	f := start(t)
	v := f.api.verifier
	v.mu.Lock() // a run that does not end until it is left
	c := &run{began: time.Now(), cancel: func() {}, done: make(chan struct{})}
	v.run = c
	v.mu.Unlock()
	c.advance(ledger.VerifyProgress{SegmentsDone: 1, SegmentsTotal: 2})
	f.do("GET", "/verify", "").want(t, 200, `"running":true`, `"segments_done":1`)
	answers := make(chan answer)
	for range 5 {
		go func() { answers <- f.do("POST", "/verify", "") }()
	}
	for {
		v.mu.Lock()
		n := c.waiters
		v.mu.Unlock()
		if n == 5 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	c.err = errors.New("segment cannot be read")
	close(c.done)
	for range 5 {
		(<-answers).want(t, 500, "segment cannot be read")
	}
	f.do("POST", "/verify", "").want(t, 200, `"valid"`)
}

func TestQueryOutlastsTheWriteTimeout(t *testing.T) {
	f := start(t)
	f.fill(300)
	slow := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := newSender(w)
		f.ledger.Query(r.Context(), ledger.Filter{Limit: 3}, func(line []byte) error {
			time.Sleep(150 * time.Millisecond)
			return out.line(line)
		})
		out.end()
	}))
	slow.Config.WriteTimeout = 200 * time.Millisecond
	slow.Start()
	defer slow.Close()
	f.server.URL, slow.URL = slow.URL, f.server.URL
	a := f.send("GET", "/", "")
	f.server.URL, slow.URL = slow.URL, f.server.URL
	if n := strings.Count(a.body, "\n"); n != 3 {
		t.Errorf("%d lines", n)
	}
}

func BenchmarkAppend(b *testing.B) {
	l, err := ledger.Open(b.Context(), ledger.Options{Dir: b.TempDir(), Config: ledger.DefaultConfig(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	h := New(Options{Ledger: l, Stream: &fakeStream{ledger: l, keys: map[string]ledger.ID{}}}).Handler()
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest("POST", "/events", strings.NewReader(body)))
			if w.Code != 201 {
				b.Error(w.Code, w.Body)
			}
		}
	})
}

func TestVerificationEndsWhenNobodyWaits(t *testing.T) {
	f := start(t)
	v := f.api.verifier
	ended := make(chan struct{})
	c := &run{began: time.Now(), cancel: sync.OnceFunc(func() { close(ended) }), done: make(chan struct{})}
	v.mu.Lock()
	v.run = c
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.verify(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it goes on")
	}
	f.do("POST", "/verify", "").want(t, 200, `"valid"`)
}
