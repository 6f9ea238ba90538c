package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

// block is one block of a stream of server-sent events.
type block struct{ id, event, data, comment string }

// tail reads an open stream.
type tail struct {
	t      *testing.T
	res    *http.Response
	lines  *bufio.Reader
	cancel context.CancelFunc
}

func (f *fixture) tail(query, last string, header ...string) *tail {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", f.server.URL+"/events/stream"+query, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { cancel(); res.Body.Close() })
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		f.t.Fatalf("%s %v", res.Status, res.Header)
	}
	return &tail{f.t, res, bufio.NewReader(res.Body), cancel}
}

// next gives the next block; ok is false when the stream has ended.
func (s *tail) next() (b block, ok bool) {
	for {
		line, err := s.lines.ReadString('\n')
		if err != nil {
			return b, false
		}
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		switch name {
		case "":
			if line == "\n" {
				return b, true
			}
			b.comment = value
		case "id":
			b.id = value
		case "event":
			b.event = value
		case "data":
			b.data = value
		}
	}
}

// event gives the next block that has data.
func (s *tail) event() (b block) {
	s.t.Helper()
	for b.data == "" {
		var ok bool
		if b, ok = s.next(); !ok {
			s.t.Fatal("the stream has ended")
		}
	}
	return b
}

func TestStreamGivesStoredLinesFromNowOn(t *testing.T) {
	f := start(t)
	f.fill(4)
	all, security, from2 := f.tail("", ""), f.tail("?category=security&q=NEEDLE", ""), f.tail("?after=000000000002&actor=u1", "")
	f.fill(4)
	for _, c := range []struct {
		name string
		s    *tail
		ids  []ledger.ID
	}{{"all", all, []ledger.ID{5, 6, 7, 8}}, {"security", security, []ledger.ID{6, 8}}, {"after", from2, []ledger.ID{4, 6, 8}}} {
		for _, id := range c.ids {
			line, _ := f.ledger.Get(id)
			if b := c.s.event(); b.id != id.String() || b.data != string(line) || b.event != "" {
				t.Errorf("%s: got %+v, want %s", c.name, b, id)
			}
		}
	}
}

func TestStreamOfATokenOfSomeCategories(t *testing.T) {
	f := startGuarded(t, Options{})
	s := f.tail("", "", "Authorization", "Bearer ai")
	for i, category := range []string{"service", "ai", "security", "user"} {
		event := fmt.Sprintf(`{"category":"%s","action":"a%d","actor":"b"}`, category, i)
		f.do("POST", "/events", event, "Authorization", "Bearer admin").want(t, 201)
	}
	for _, id := range []string{"000000000002", "000000000004"} {
		if b := s.event(); b.id != id {
			t.Errorf("got %+v, want %s", b, id)
		}
	}
	f.do("GET", "/events/stream?category=service", "", "Authorization", "Bearer ai").want(t, 403)
}

func TestStreamRefuses(t *testing.T) {
	f := start(t)
	for path, text := range map[string]string{"limit=3": "limit", "order=asc": "order", "before=000000000003": "before",
		"limit=1&order=desc": "1 more", "nosuch=1": "nosuch", "start_time=x": "start_time", "after=x": "after"} {
		f.do("GET", "/events/stream?"+path, "").want(t, 422, text)
	}
	f.do("GET", "/events/stream", "", "Last-Event-ID", "42").want(t, 400)
	f.do("POST", "/events/stream", "").want(t, 405)
	if a := f.do("HEAD", "/events/stream", "").want(t, 200); a.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("HEAD: %v", a.Header)
	}
}

// TestStreamResumesWithoutLossOrRepetition breaks a stream off again and again while events are appended and segments are
// sealed.
// A stream behind an id beyond the newest would withhold events until they get there: after is refused, Last-Event-ID,
// which a browser repeats for ever, begins at the newest event and says so. What waits for its commit is not beyond.
func TestStreamBehindAnIDThatIsNotThereYet(t *testing.T) {
	f := start(t)
	f.fill(3)
	f.do("GET", "/events/stream?after=000000000004", "").want(t, 422, `"field":"after"`, "beyond the newest event, 000000000003")
	beyond, newest := f.tail("", "00000000ffff"), f.tail("?after=000000000003", "")
	f.stream.set(func() { f.stream.status.Lag = 2 })
	waiting := f.tail("?after=000000000005", "")
	f.fill(4)
	for s, id := range map[*tail]string{beyond: "000000000004", newest: "000000000004", waiting: "000000000006"} {
		if b := s.event(); b.id != id {
			t.Errorf("got %s, want %s", b.id, id)
		}
	}
	again := f.tail("", "00000000ffff")
	if b, _ := again.next(); !strings.Contains(b.comment, "Last-Event-ID 00000000ffff is beyond") {
		t.Errorf("%+v", b)
	}
}

func TestStreamResumesWithoutLossOrRepetition(t *testing.T) {
	c := ledger.DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := startWith(t, ledger.Options{Config: c, Logger: slog.New(slog.DiscardHandler)}, Options{Logger: slog.New(slog.DiscardHandler)})
	f.stream.set(func() {
		for _, m := range f.ledger.OwnMessages() { // the configuration
			f.stream.seq++
			msg := ledger.Message{Seq: f.stream.seq, Time: time.Now(), Subject: "eventstore.ledger." + m.Action, Data: m.Data}
			if err := f.ledger.Project(t.Context(), []ledger.Message{msg}); err != nil {
				t.Fatal(err)
			}
		}
	})
	const events = 1200 // and that of the configuration
	go func() {
		for i := range events / 20 {
			f.fill(20)
			time.Sleep(time.Duration(i%3) * 2 * time.Millisecond)
		}
	}()
	last, next := "000000000000", ledger.ID(1)
	for round := 0; next <= events+1; round++ {
		s := f.tail("?after=000000000000", last)
		for range 1 + round*7%40 {
			if next > events+1 {
				break
			}
			b := s.event()
			if b.id != next.String() {
				t.Fatalf("round %d: got %s, want %s", round, b.id, next)
			}
			last, next = b.id, next+1
		}
		s.cancel()
	}
	if n := f.ledger.Status().FileCount; n < 4 {
		t.Errorf("only %d segments", n)
	}
}

// TestHeartbeatMovesTheResumePoint: what a filter passed over need not be looked through again.
func TestHeartbeatMovesTheResumePoint(t *testing.T) {
	f := start(t)
	f.fill(3)
	w := httptest.NewRecorder()
	s := newFollower(w, f.ledger, ledger.Filter{Categories: []string{"ai"}, Ascending: true}, 0, nil)
	if err := s.look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.heartbeat(); got != ": heartbeat\nid: 000000000003\n\n" {
		t.Errorf("%q", got)
	}
	if got := s.heartbeat(); got != ": heartbeat\n\n" {
		t.Errorf("%q", got)
	}
}

// impatient makes every write deadline a short one.
type impatient struct{ http.ResponseWriter }

func (w impatient) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w impatient) SetWriteDeadline(at time.Time) error {
	if !at.IsZero() {
		at = time.Now().Add(200 * time.Millisecond)
	}
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at)
}

func TestClientThatNeverReadsIsDroppedAlone(t *testing.T) {
	f := start(t)
	var logged safeBuffer
	f.api.log = slog.New(slog.NewTextHandler(&logged, nil))
	h := f.api.Handler()
	impatientServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(impatient{w}, r) }))
	defer impatientServer.Close()
	normal := f.server.URL
	f.server.URL = impatientServer.URL
	f.tail("", "") // never read
	f.server.URL = normal
	reader := f.tail("", "")
	var got atomic.Int64
	go func() {
		for {
			b, ok := reader.next()
			if !ok {
				return
			}
			if b.data != "" {
				got.Add(1)
			}
		}
	}()
	sent := int64(0)
	large := `{"category":"user","action":"a","actor":"b","data":{"x":"` + strings.Repeat("x", 200<<10) + `"}}`
	for end := time.Now().Add(20 * time.Second); !strings.Contains(logged.String(), "follower dropped"); sent++ {
		if time.Now().After(end) {
			t.Fatal("it was not dropped")
		}
		f.do("POST", "/events", large).want(t, 201)
	}
	for end := time.Now().Add(20 * time.Second); got.Load() < sent; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the other follower has %d of %d", got.Load(), sent)
		}
	}
	if s := logged.String(); !strings.Contains(s, "it took nothing for") || !strings.Contains(s, "last_id=") {
		t.Errorf("no reason in the log: %s", s)
	}
}

// safeBuffer is a log that is read while it is written.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestStoppingEndsStreamsAtOnce(t *testing.T) {
	f := start(t)
	s := f.tail("", "")
	if b, ok := s.next(); !ok || b.comment == "" {
		t.Fatal("no comment at the beginning")
	}
	began := time.Now()
	f.api.EndStreams()
	if b, ok := s.next(); !ok || b.comment != "the store is stopping" {
		t.Errorf("%+v", b)
	}
	if _, ok := s.next(); ok {
		t.Error("the stream goes on")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s", took)
	}
	f.do("GET", "/events/stream", "").want(t, 503, "stopping")
}

// Over HTTP/2 a deadline that has passed resets a stream: a follower still has to hear why it ends.
func TestStoppingEndsStreamsOverHTTP2(t *testing.T) {
	f := start(t)
	server := httptest.NewUnstartedServer(f.api.Handler())
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	res, err := server.Client().Get(server.URL + "/events/stream")
	if err != nil || res.ProtoMajor != 2 {
		t.Fatal(err, res)
	}
	defer res.Body.Close()
	f.api.EndStreams()
	b, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasSuffix(string(b), ": the store is stopping\n\n") {
		t.Errorf("%v: %q", err, b)
	}
}

// BenchmarkIdleFollowers is what a thousand followers whose filter chooses nothing cost while events are committed.
func BenchmarkIdleFollowers(b *testing.B) {
	for _, followers := range []int{0, 1000} {
		b.Run(fmt.Sprint(followers), func(b *testing.B) {
			l, err := ledger.Open(b.Context(), ledger.Options{Dir: b.TempDir(), Config: ledger.DefaultConfig(), Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			a := New(Options{Ledger: l, Stream: &fakeStream{ledger: l, keys: map[string]ledger.ID{}}})
			server := httptest.NewServer(a.Handler())
			defer server.Close()
			defer a.EndStreams()
			for range followers {
				res, err := http.Get(server.URL + "/events/stream?category=security&actor=nobody")
				if err != nil {
					b.Fatal(err)
				}
				go io.Copy(io.Discard, res.Body)
			}
			msgs := make([]ledger.Message, 500)
			seq := uint64(0)
			for b.Loop() {
				for i := range msgs {
					seq++
					msgs[i] = ledger.Message{Seq: seq, Time: time.Now(), Subject: "events.service", Data: []byte(body)}
				}
				if err := l.Project(b.Context(), msgs); err != nil {
					b.Fatal(err)
				}
				if err := l.Wait(b.Context(), ledger.ID(seq)); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(seq)/b.Elapsed().Seconds(), "events/s")
		})
	}
}
