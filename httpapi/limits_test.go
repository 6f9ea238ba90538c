package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"home.lab/event-store/ledger"
)

// slowly begins a POST /events whose body has announced bytes; the pipe's other end sends them.
func (f *fixture) slowly(announced int64) (body *io.PipeWriter, answered chan answer) {
	f.t.Helper()
	r, w := io.Pipe()
	req, err := http.NewRequest("POST", f.server.URL+"/events", r)
	if err != nil {
		f.t.Fatal(err)
	}
	req.ContentLength = announced
	req.Header.Set("Content-Type", "application/json")
	answered = make(chan answer, 1)
	go func() {
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			close(answered)
			return
		}
		text, _ := io.ReadAll(res.Body)
		res.Body.Close()
		answered <- answer{res, string(text)}
	}()
	f.t.Cleanup(func() { w.CloseWithError(io.ErrUnexpectedEOF) })
	return w, answered
}

func TestSlowBodiesAreGivenUp(t *testing.T) {
	f := start(t)
	f.api.bodyGrace = 200 * time.Millisecond
	if got := f.stall("POST /events", "{"); !strings.HasPrefix(got, "HTTP/1.1 408 ") || !strings.Contains(got, "too slowly") {
		t.Errorf("%s, want a 408 and the connection's end", got)
	}
	f.do("POST", "/events", body).want(t, 201)
}

// A body that nobody reads holds no connection: not that of who has no token, nor of a path that is not there.
func TestBodiesThatNobodyReadAreGivenUp(t *testing.T) {
	f := startGuarded(t, Options{})
	f.api.bodyGrace = 200 * time.Millisecond
	for request, want := range map[string]string{"POST /events": "401", "POST /nosuch": "404", "PUT /events": "405", "GET /health": "200", "POST /cleanup": "401"} {
		if got := f.stall(request, ""); !strings.HasPrefix(got, "HTTP/1.1 "+want+" ") {
			t.Errorf("%s: %.100q, want a %s and the connection's end", request, got, want)
		}
	}
}

// Who asks on and on and reads nothing is cut off.
func TestAnswersThatNobodyTakesAreGivenUp(t *testing.T) {
	f := start(t)
	f.api.patience = 200 * time.Millisecond
	c, err := net.Dial("tcp", f.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	requests := []byte(strings.Repeat("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 1000))
	c.SetWriteDeadline(time.Now().Add(30 * time.Second))
	for {
		if _, err := c.Write(requests); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("the connection is still held")
			}
			break
		}
	}
	f.do("GET", "/health", "").want(t, 200)
}

// stall sends a request whose body stops behind its first bytes, and gives what comes until the connection's end.
func (f *fixture) stall(request, begin string) string {
	f.t.Helper()
	c, err := net.Dial("tcp", f.server.Listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n%s", request, begin)
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	got, err := io.ReadAll(c)
	if err != nil {
		f.t.Errorf("%s: %v", request, err)
	}
	return string(got)
}

// A body that comes in time leaves the connection as it was, although its answer comes later than the body's due time.
func TestDueTimeEndsWithTheBody(t *testing.T) {
	f := start(t)
	f.api.bodyGrace = 1500 * time.Millisecond
	f.stream.set(func() { f.stream.hold = true })
	go func() {
		time.Sleep(2500 * time.Millisecond)
		f.stream.set(func() {
			f.ledger.Project(context.Background(), f.stream.held)
			f.stream.hold, f.stream.held = false, nil
		})
	}()
	f.do("POST", "/events", body).want(t, 201)
	f.do("POST", "/events", body).want(t, 201)
}

func TestRoomForBodiesIsBounded(t *testing.T) {
	f := start(t)
	f.api.bodies = semaphore.NewWeighted(64 << 10)
	event := `{"category":"service","action":"a","actor":"b","data":{"x":"` + strings.Repeat("x", 40<<10) + `"}}`
	first, answered := f.slowly(int64(len(event)))
	first.Write([]byte(event[:len(event)-1]))
	for end := time.Now().Add(10 * time.Second); f.api.bodies.TryAcquire(40 << 10); time.Sleep(time.Millisecond) {
		f.api.bodies.Release(40 << 10)
		if time.Now().After(end) {
			t.Fatal("what has arrived takes no room")
		}
	}
	f.do("POST", "/events", event).want(t, 429, "too many large requests")
	f.do("POST", "/events", body).want(t, 201) // a small one has room
	first.Write([]byte(event[len(event)-1:]))
	(<-answered).want(t, 201)
	f.do("POST", "/events", event).want(t, 201)
	if !f.api.bodies.TryAcquire(64 << 10) {
		t.Error("room is not given back")
	}
}

func TestRequestsAreBounded(t *testing.T) {
	f := start(t)
	inside, leave := make(chan struct{}), make(chan struct{})
	h := f.api.bounded(2)(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside <- struct{}{}; <-leave }))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) })
		<-inside
	}
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil))
	if rec.Code != 429 || rec.Header().Get("Retry-After") == "" {
		t.Errorf("the third: %d, Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
	}
	close(leave)
	wg.Wait()
	rec = httptest.NewRecorder()
	go func() { <-inside }()
	if h.ServeHTTP(rec, httptest.NewRequest("GET", "/", nil)); rec.Code != 200 {
		t.Errorf("afterwards: %d", rec.Code)
	}
}

// 300 clients that announce 64 MB and send little cost little, and others are served meanwhile.
func TestSlowSendersOfBigBodiesTakeNoMemory(t *testing.T) {
	f := start(t)
	before := heap()
	for n := range 300 {
		c, err := net.Dial("tcp", f.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		kind := []string{"application/json", "application/x-ndjson"}[n%2]
		fmt.Fprintf(c, "POST /events HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: 67108864\r\n\r\n[%s", kind, strings.Repeat(" ", 1000))
	}
	for range 20 {
		f.do("POST", "/events", body).want(t, 201)
	}
	if grown := heap() - before; grown > 400<<20 { // they announce 19 GB; the rest of the process shares this heap
		t.Errorf("the heap grew by %d MB", grown>>20)
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what pools keep is gone after the second
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A bug in one request is one 500, says where in the log, and costs nobody else an answer.
func TestPanicsAreAnsweredAndLogged(t *testing.T) {
	var log bytes.Buffer
	f := startWith(t, ledger.Options{Logger: slog.New(slog.DiscardHandler)}, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Retention: broken{}})
	f.do("POST", "/cleanup", "").want(t, 500, "its log says why")
	if text := log.String(); !strings.Contains(text, "request panicked") || !strings.Contains(text, "path=/cleanup") || !strings.Contains(text, "out of order") {
		t.Errorf("log: %s", text)
	}
	f.do("POST", "/events", body).want(t, 201)
}

type broken struct{}

func (broken) Cleanup(context.Context, bool) (any, error) { panic("out of order") }

func TestAnswersTellBrowsersWhatTheyMayDo(t *testing.T) {
	f := start(t)
	for _, path := range []string{"/events", "/status", "/health", "/nosuch"} {
		a := f.do("GET", path, "")
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := a.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") || name == "Server" || name == "X-Powered-By" {
				t.Errorf("%s: header %s", path, name)
			}
		}
	}
	a := f.do("OPTIONS", "/events", "", "Origin", "https://evil.example", "Access-Control-Request-Method", "POST").want(t, 405)
	if got := a.Header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("CORS: %q", got)
	}
}

// Names that somebody's resolver may have led here get no answer from a store that is for this host alone.
func TestStoreOfThisHostAnswersToItsNames(t *testing.T) {
	f := startWith(t, ledger.Options{Logger: slog.New(slog.DiscardHandler)}, Options{Local: true, Logger: slog.New(slog.DiscardHandler)})
	for host, want := range map[string]int{
		"": 200, "localhost": 200, "localhost:5101": 200, "LOCALHOST.": 200, "127.0.0.1": 200, "127.0.0.1:1": 200, "[::1]:5101": 200, "[::1]": 200,
		"store.localhost": 200, "192.168.1.7:5101": 200,
		"evil.example": 421, "evil.example:5101": 421, "localhost.evil.example": 421, "127.0.0.1.nip.io": 421, "xlocalhost": 421, "event-store": 421,
	} {
		req := httptest.NewRequest("GET", "/health", nil)
		req.Host = host
		rec := httptest.NewRecorder()
		if f.api.Handler().ServeHTTP(rec, req); rec.Code != want {
			t.Errorf("Host %q: %d, want %d", host, rec.Code, want)
		}
	}
}
