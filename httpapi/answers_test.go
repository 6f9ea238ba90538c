package httpapi

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"home.lab/event-store/ledger"
)

// elsewhere are described answers that another test gets, against the same description.
var elsewhere = []string{
	"GET /events/{id} 410",   // cmd/eventstore: events have to age out
	"POST /cleanup 200",      // cmd/eventstore: the retention is not this package's
	"GET /events/stream 500", // TestPanicIsA500: a stream has begun before anything else can fail
	"POST /events 500",       // TestPanicIsA500: what fails before the commit is a 503
}

// answers are those that were seen, as method, path of the description and status.
type answers struct {
	mu   sync.Mutex
	seen map[string]bool
}

// get sends a request and holds its answer to the description; the answer's status must be the wanted one.
func (s *answers) get(f *fixture, status int, method, path, body string, header ...string) {
	f.t.Helper()
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.server.URL+path, strings.NewReader(body))
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Host = req.Header.Get("Host")
	res, err := http.DefaultTransport.RoundTrip(req) // follows no redirect
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	s.note(f, status, req, body, res)
}

func (s *answers) note(f *fixture, status int, req *http.Request, body string, res *http.Response) {
	f.t.Helper()
	text, err := readAnswer(res)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := contract().Check(req, []byte(body), res, text); err != nil {
		f.t.Errorf("openapi.yaml: %v", err)
	}
	if res.StatusCode != status {
		f.t.Errorf("%s %s: %d, want %d: %.200s", req.Method, req.URL.Path, res.StatusCode, status, text)
		return
	}
	path, err := contract().Path(req)
	if err != nil {
		f.t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[req.Method+" "+path+" "+strconv.Itoa(status)] = true
}

// readAnswer reads an answer; of a stream, which has no end, its first line.
func readAnswer(res *http.Response) ([]byte, error) {
	if res.Header.Get("Content-Type") == "text/event-stream" {
		return bufio.NewReader(res.Body).ReadBytes('\n')
	}
	return io.ReadAll(res.Body)
}

// calls are all that the description has, with a path that fits.
func calls() (all [][2]string) {
	concrete := strings.NewReplacer("{id}", "000000000001", "{file}", "style.css")
	for path, item := range contract().Document.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, [2]string{method, concrete.Replace(path)})
		}
	}
	return all
}

// describes says whether a call has an answer with the status.
func describes(method, path string, status int) bool {
	for p, item := range contract().Document.Paths.Map() {
		if op := item.Operations()[method]; op != nil && strings.NewReplacer("{id}", "000000000001", "{file}", "style.css").Replace(p) == path {
			return op.Responses.Status(status) != nil
		}
	}
	return false
}

// Every answer that the description has, good or bad, can be got, and is as described.
func TestEveryDescribedAnswer(t *testing.T) {
	s := &answers{seen: map[string]bool{}}
	t.Run("answers", func(t *testing.T) {
		t.Run("sound", func(t *testing.T) { soundAnswers(t, s) })
		t.Run("tokens", func(t *testing.T) { tokenAnswers(t, s) })
		t.Run("names", func(t *testing.T) { nameAnswers(t, s) })
		t.Run("damaged", func(t *testing.T) { damagedAnswers(t, s) })
		t.Run("busy", func(t *testing.T) { busyAnswers(t, s) })
		t.Run("slow", func(t *testing.T) { slowAnswers(t, s) })
	})
	var unseen []string
	for path, item := range contract().Document.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				if key := method + " " + path + " " + status; !s.seen[key] && !slices.Contains(elsewhere, key) {
					unseen = append(unseen, key)
				}
			}
		}
	}
	slices.Sort(unseen)
	if len(unseen) > 0 {
		t.Errorf("described, but no test gets it:\n%s", strings.Join(unseen, "\n"))
	}
}

// failing is a retention that cannot do its work.
type failing struct{ error }

func (f failing) Cleanup(context.Context, bool) (any, error) { return nil, f.error }

func soundAnswers(t *testing.T, s *answers) {
	quiet := slog.New(slog.DiscardHandler)
	f := startWith(t, ledger.Options{Logger: quiet}, Options{Retention: failing{errors.New("no")}, Logger: quiet})
	const js = "application/json"
	s.get(f, 201, "POST", "/events", body, "Content-Type", js)
	s.get(f, 202, "POST", "/events", body, "Content-Type", js, "Prefer", "respond-async")
	s.get(f, 400, "POST", "/events", "{", "Content-Type", js)
	s.get(f, 413, "POST", "/events", `{"category":"user","action":"a","actor":"b","data":{"x":"`+strings.Repeat("x", 1<<20)+`"}}`, "Content-Type", js)
	s.get(f, 415, "POST", "/events", body, "Content-Type", "text/plain")
	s.get(f, 422, "POST", "/events", "{}", "Content-Type", js)
	s.get(f, 400, "POST", "/verify", "{", "Content-Type", js)
	s.get(f, 413, "POST", "/verify", `{"heads":["`+strings.Repeat("x", 2<<20)+`"]}`, "Content-Type", js)
	s.get(f, 415, "POST", "/verify", "{}", "Content-Type", "text/plain")
	s.get(f, 500, "POST", "/cleanup", "")
	s.get(f, 400, "GET", "/events/zzz", "")
	s.get(f, 303, "GET", "/?q=", "")
	s.get(f, 404, "GET", "/events/0000000000ff", "")
	s.get(f, 404, "GET", "/page/nosuch", "")
	res, err := http.Get(f.server.URL + "/page/style.css")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	s.get(f, 304, "GET", "/page/style.css", "", "If-None-Match", res.Header.Get("ETag"))
	for _, call := range calls() {
		if call[0] == "GET" || call[1] == "/verify" {
			s.get(f, 200, call[0], call[1], "")
		}
		s.get(f, 400, call[0], call[1]+"?x=%zz", "")
		s.get(f, 422, call[0], call[1]+"?nosuch=1", "")
	}
	f.stream.set(func() { f.stream.err = ledger.ErrUnavailable; f.stream.status.Connected = false })
	s.get(f, 503, "POST", "/events", body, "Content-Type", js)
	s.get(f, 503, "GET", "/health", "")
	f.api.verifier.stop()
	s.get(f, 503, "POST", "/verify", "")
	f.api.cleaning = func(context.Context, Caller) error { return ledger.ErrUnavailable }
	s.get(f, 503, "POST", "/cleanup", "")
	f.api.EndStreams()
	s.get(f, 503, "GET", "/events/stream", "")
}

func tokenAnswers(t *testing.T, s *answers) {
	f := startGuarded(t, Options{})
	f.do("POST", "/events", body, "Authorization", "Bearer admin").want(t, 201)
	for _, call := range calls() {
		if describes(call[0], call[1], 401) {
			s.get(f, 401, call[0], call[1], "")
		}
		if describes(call[0], call[1], 403) {
			wrong := "Bearer append"
			if call[0] == "POST" && call[1] != "/verify" {
				wrong = "Bearer read"
			}
			s.get(f, 403, call[0], call[1], "", "Authorization", wrong)
		}
	}
}

func nameAnswers(t *testing.T, s *answers) {
	quiet := slog.New(slog.DiscardHandler)
	f := startWith(t, ledger.Options{Logger: quiet}, Options{Local: true, Retention: passNothing{}, Logger: quiet})
	for _, call := range calls() {
		s.get(f, 421, call[0], call[1], "", "Host", "evil.example")
	}
}

func damagedAnswers(t *testing.T, s *answers) {
	quiet := slog.New(slog.DiscardHandler)
	dir := t.TempDir()
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Project(t.Context(), []ledger.Message{{Seq: 1, Time: time.Now(), Subject: "events.service", Data: []byte(body)}}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f := startWith(t, ledger.Options{Dir: dir, Logger: quiet}, Options{Logger: quiet}) // has no line in memory
	files, err := filepath.Glob(filepath.Join(dir, "events_*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if err := errors.Join(os.Remove(files[0]), os.Symlink(filepath.Join(dir, "LOCK", "x"), files[0])); err != nil { // is neither gone nor to be read
		t.Fatal(err)
	}
	for _, call := range calls() {
		path := call[1]
		if path == "/events/count" {
			path += "?q=x" // else the index tells
		}
		if path != "/events/stream" && path != "/cleanup" && path != "/verify" && call != [2]string{"POST", "/events"} && describes(call[0], call[1], 500) {
			s.get(f, 500, call[0], path, "")
		}
	}
	if err := os.RemoveAll(dir); err != nil { // a file that cannot be read is a finding; a folder is not
		t.Fatal(err)
	}
	s.get(f, 500, "POST", "/verify", "")
}

// busyAnswers come while as many others are answered as may be at a time.
func busyAnswers(t *testing.T, s *answers) {
	quiet := slog.New(slog.DiscardHandler)
	f := startWith(t, ledger.Options{Logger: quiet}, Options{Retention: passNothing{}, Logger: quiet})
	var held sync.WaitGroup
	leave, inside, all := make(chan struct{}), new(atomic.Int64), 0
	defer held.Wait()
	defer close(leave)
	for path, n := range map[string]int{"/status": maxOthers, "/events/stream": maxFollowers, "/": maxOthers} {
		all += n
		for range n {
			held.Go(func() {
				defer func() { _ = recover() }() // a stream that cannot be written ends so
				f.server.Config.Handler.ServeHTTP(stuck{httptest.NewRecorder(), leave, inside}, httptest.NewRequest("GET", path, nil))
			})
		}
	}
	for end := time.Now().Add(20 * time.Second); inside.Load() < int64(all) && time.Now().Before(end); { // who comes before has a place
		time.Sleep(time.Millisecond)
	}
	f.api.bodies = semaphore.NewWeighted(1)
	s.get(f, 429, "POST", "/events", body, "Content-Type", "application/json")
	for _, call := range calls() {
		if call[1] != "/health" && call != [2]string{"POST", "/events"} && describes(call[0], call[1], 429) {
			f.await(429, call[0], call[1])
			s.get(f, 429, call[0], call[1], "")
		}
	}
}

// stuck is a client that takes nothing until it leaves.
type stuck struct {
	http.ResponseWriter
	leave  chan struct{}
	inside *atomic.Int64
}

func (w stuck) Write([]byte) (int, error) {
	w.inside.Add(1)
	<-w.leave
	return 0, io.ErrClosedPipe
}

// await sends a request until it is answered with the status.
func (f *fixture) await(status int, method, path string) {
	f.t.Helper()
	for range 1000 {
		if f.status(method, path) == status {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	f.t.Fatalf("%s %s is never answered with %d", method, path, status)
}

func slowAnswers(t *testing.T, s *answers) {
	quiet := slog.New(slog.DiscardHandler)
	f := startWith(t, ledger.Options{Logger: quiet}, Options{Retention: passNothing{}, Logger: quiet})
	f.api.bodyGrace = 50 * time.Millisecond
	for _, path := range []string{"/events", "/verify", "/cleanup"} {
		unfinished, end := io.Pipe()
		defer end.Close()
		req, err := http.NewRequestWithContext(t.Context(), "POST", f.server.URL+path, unfinished)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		s.note(f, 408, req, "", res)
		res.Body.Close()
	}
}
