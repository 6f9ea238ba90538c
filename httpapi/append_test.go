package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

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

// A key that was used for another event, while neither is committed: 202 would say that the second is in the stream.
func TestIdempotencyKeyBeforeTheCommit(t *testing.T) {
	f := start(t)
	f.stream.set(func() { f.stream.hold = true })
	f.api.commitTimeout = 100 * time.Millisecond
	other := strings.Replace(body, "1", "2", 1)
	f.do("POST", "/events", body, "Idempotency-Key", "k").want(t, 202, `{"id":"000000000001"}`)
	f.do("POST", "/events", " "+body, "Idempotency-Key", "k").want(t, 202, `{"id":"000000000001"}`)
	f.do("POST", "/events", other, "Idempotency-Key", "k").want(t, 422, `"field":"Idempotency-Key"`, "000000000001")
	f.do("POST", "/events", other, "Idempotency-Key", "k", "Prefer", "respond-async").want(t, 422, `"field":"Idempotency-Key"`)
	f.stream.set(func() { f.stream.held = nil })
	f.do("POST", "/events", other, "Idempotency-Key", "k").want(t, 503)
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
	if n := f.ledger.Waiting(); n != 0 {
		t.Errorf("%d still wait", n)
	}
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
	if n := f.ledger.Waiting(); n != 0 {
		t.Errorf("%d still wait", n)
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
		want(t, 422, `"line":3,"member":"actor","field":"line 3: actor"`, `"line":4,"field":"line 4"`)
	f.do("POST", "/events", "["+body+`,{"category":"service","actor":"a"},7]`).
		want(t, 422, `"item":2,"member":"action","field":"item 2: action"`, `"item":3,"field":"item 3"`)
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

// While the reserve of a full disk is in use nothing is appended, so that what is left goes to ageing out.
func TestAppendsToAFullDiskAreRefused(t *testing.T) {
	f := start(t)
	f.fill(2)
	full := func(body string, header ...string) {
		t.Helper()
		for try := 0; ; try++ {
			f.ledger.NoRoom(syscall.ENOSPC) // what the sealer does at the start may bring the reserve back
			a := f.do("POST", "/events", body, header...)
			if f.ledger.Full() || try == 10 {
				a.want(t, 503, "the disk is full")
				return
			}
		}
	}
	const nd = "application/x-ndjson"
	full(body)
	head := f.ledger.Head()
	full(body, "Prefer", "respond-async")
	full(body, "Idempotency-Key", "k")
	full(body+"\n"+body, "Content-Type", nd)
	full("[" + body + "]")
	if got := f.ledger.Head(); got != head || f.stream.seq != uint64(head.ID) {
		t.Errorf("head %v, was %v; the stream is at %d", got, head, f.stream.seq)
	}
	f.do("GET", "/events", "").want(t, 200, "needle1")
	f.do("POST", "/verify", "").want(t, 200, `"status":"valid"`)
}

// A single event's body is limited to 6 MiB, a bulk append's to 64 MiB: what is between must not be taken for the other.
func TestEachFormHasItsBodyLimit(t *testing.T) {
	f := start(t)
	pad := strings.Repeat(" ", maxEventBody)
	f.do("POST", "/events", body+pad).want(t, 413, "larger than 6291456 bytes")
	f.do("POST", "/events", body+pad[len(body):]).want(t, 201) // to the byte
	f.do("POST", "/events", "["+body+","+pad+body+"]").want(t, 201, `"count":2`)
	f.do("POST", "/events", body+"\n"+pad+body, "Content-Type", "application/x-ndjson").want(t, 201, `"count":2`)
	for media, begin := range map[string]string{"application/x-ndjson": body, "application/json": "[" + body + ","} {
		r := httptest.NewRequest("POST", "/events", io.MultiReader(strings.NewReader(begin), io.LimitReader(spaces{}, maxBulkBody)))
		r.Header.Set("Content-Type", media)
		w := httptest.NewRecorder()
		f.api.Handler().ServeHTTP(w, r)
		if w.Code != 413 || !strings.Contains(w.Body.String(), "larger than 67108864 bytes") {
			t.Errorf("%s: %d %s", media, w.Code, w.Body)
		}
	}
	if id := f.ledger.Head().ID; id != 5 {
		t.Errorf("%d events", id)
	}
}

type spaces struct{}

func (spaces) Read(b []byte) (int, error) {
	copy(b, bytes.Repeat([]byte{' '}, len(b)))
	return len(b), nil
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
