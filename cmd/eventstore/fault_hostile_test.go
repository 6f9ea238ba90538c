//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// maxMemory is what the store may ever have taken, with all of them at it.
const maxMemory = 512 << 20

// TestHostileClients: slow senders, endless bodies, gzip bombs, deep nesting,
// followers that never read. Memory stays bounded and appends go on.
func TestHostileClients(t *testing.T) {
	t.Parallel()
	n, w := faultNode(t, filepath.Join(t.TempDir(), "data")), newWork()
	n.start(t)
	quiet := n.peakMemory(t)
	for _, stage := range []struct {
		name string
		run  func(t *testing.T, n *node)
	}{
		{"300 slow senders", slowSenders}, {"bodies of 100 MB", hugeBodies}, {"gzip bombs", gzipBombs},
		{"100,000 levels of nesting", deepNesting}, {"1,000 followers, of which 200 never read", followers},
	} {
		before := len(w.http)
		w.during(n, func() { stage.run(t, n) })
		if got := len(w.http) - before; got < 20 {
			t.Errorf("%s: only %d appends meanwhile", stage.name, got)
		}
		t.Logf("%s: %d appends meanwhile, memory at most %d MiB", stage.name, len(w.http)-before, n.peakMemory(t)>>20)
	}
	if peak := n.peakMemory(t); peak > maxMemory {
		t.Errorf("memory rose from %d to %d MiB", quiet>>20, peak>>20)
	}
	w.check(t, n, wholePromise, "after hostile clients")
}

var highWater = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)

// peakMemory is the most memory that the store's process ever had (VmHWM).
func (n *node) peakMemory(t *testing.T) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	kB, err := strconv.ParseInt(string(highWater.FindSubmatch(b)[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kB << 10
}

// dial opens a connection and sends the beginning of a request.
func (n *node) dial(t *testing.T, head string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", n.http)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, head); err != nil {
		t.Fatal(err)
	}
	return c
}

func slowSenders(t *testing.T, n *node) {
	var conns []net.Conn
	for range 300 {
		conns = append(conns, n.dial(t, "POST /events HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 5000000\r\n\r\n{"))
	}
	for range 20 {
		for _, c := range conns {
			c.Write([]byte{' '})
		}
		time.Sleep(50 * time.Millisecond)
	}
	for _, c := range conns {
		c.Close()
	}
}

// endless is a body of n bytes that costs its sender nothing.
type endless struct{ io.Reader }

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

func hugeBodies(t *testing.T, n *node) {
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			body := io.MultiReader(strings.NewReader(`{"action":"`), io.LimitReader(endless{}, 100<<20))
			refused(t, n, body, nil, http.StatusRequestEntityTooLarge, http.StatusServiceUnavailable)
		})
	}
	all.Wait()
}

func gzipBombs(t *testing.T, n *node) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	io.CopyN(z, endless{}, 200<<20)
	z.Close()
	for range 20 {
		refused(t, n, bytes.NewReader(bomb.Bytes()), http.Header{"Content-Encoding": {"gzip"}}, http.StatusUnsupportedMediaType)
	}
}

func deepNesting(t *testing.T, n *node) {
	deep := `{"action":"a","actor":"b","data":` + strings.Repeat(`{"a":`, 100_000)
	nc, err := nats.Connect("nats://" + n.nats)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for range 20 {
		refused(t, n, strings.NewReader(deep), nil, http.StatusBadRequest, http.StatusUnprocessableEntity)
		refused(t, n, strings.NewReader(strings.Repeat("[", 100_000)), nil, http.StatusBadRequest, http.StatusUnprocessableEntity)
		if err := nc.Publish("events.user", []byte(deep)); err != nil {
			t.Error(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
}

// refused posts a body, which must be refused with one of the codes. A server
// that has answered may cut a sender who does not stop.
func refused(t *testing.T, n *node, body io.Reader, header http.Header, codes ...int) {
	req, err := http.NewRequest(http.MethodPost, n.url()+"/events", body)
	if err != nil {
		t.Error(err)
		return
	}
	req.Header = header.Clone()
	if req.Header == nil {
		req.Header = http.Header{}
	}
	req.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		return
	}
	defer r.Body.Close()
	for _, c := range codes {
		if r.StatusCode == c {
			return
		}
	}
	t.Errorf("answered %s, want %v", r.Status, codes)
}

func followers(t *testing.T, n *node) {
	var conns []net.Conn
	for i := range 1000 {
		c := n.dial(t, "GET /events/stream HTTP/1.1\r\nHost: h\r\n\r\n")
		conns = append(conns, c)
		if i%5 > 0 {
			go io.Copy(io.Discard, c)
		}
	}
	time.Sleep(2 * time.Second)
	for _, c := range conns {
		c.Close()
	}
}

const posters = 8

// TestMutatedInputs sends seeded mutations of events through both doors: no
// answer is a server's error, every message becomes one event, and the chain
// is sound. The number grows with the square of rounds: 1,000 makes 10 million.
func TestMutatedInputs(t *testing.T) {
	t.Parallel()
	n := faultNode(t, filepath.Join(t.TempDir(), "data"))
	n.start(t)
	mutants := *rounds * *rounds * 10
	before := n.total(t)
	var posted, published atomic.Int64
	var all sync.WaitGroup
	for seed := range posters {
		all.Go(func() { posted.Add(n.postMutants(t, mutants/2/posters, uint64(seed))) })
	}
	all.Go(func() { published.Add(n.publishMutants(t, mutants/2)) })
	all.Wait()
	n.caughtUp(t, "after mutants")
	n.verified(t, wholePromise, "after mutants")
	want := before + posted.Load() + published.Load()
	if got := n.total(t); got < want || got > want+want/100+10 { // seals come by themselves
		t.Errorf("%d events, want %d and some seals", got, want)
	}
	t.Logf("%d mutants posted, %d of them events; %d published", mutants/2, posted.Load(), published.Load())
}

func (n *node) total(t *testing.T) int64 {
	t.Helper()
	body, _ := n.get("/status")
	return decode[struct {
		Total int64 `json:"total_events"`
	}](t, body).Total
}

func (n *node) postMutants(t *testing.T, count int, seed uint64) (created int64) {
	rng, client := rand.New(rand.NewPCG(11, seed)), &http.Client{Timeout: time.Minute}
	for range count {
		media := []string{"application/json", "application/x-ndjson", "application/json; charset=utf-8", "text/plain"}[min(rng.IntN(12), 3)]
		r, err := client.Post(n.url()+"/events", media, bytes.NewReader(mutant(rng)))
		if err != nil {
			t.Error(err)
			return created
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		switch {
		case r.StatusCode == http.StatusCreated && bytes.Contains(b, []byte(`"count":`)) && !bytes.HasPrefix(b, []byte(`{"id"`)):
			created += decode[struct{ Count int64 }](t, string(b)).Count
		case r.StatusCode == http.StatusCreated:
			created++
		case r.StatusCode >= 500:
			t.Errorf("answered %s: %s", r.Status, b)
		}
	}
	return created
}

func (n *node) publishMutants(t *testing.T, count int) int64 {
	rng := rand.New(rand.NewPCG(12, 1))
	nc, err := nats.Connect("nats://" + n.nats)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer nc.Close()
	for i := range count {
		subject := []string{"events.user", "events.nosuch", "events.security.more", "events.ledger"}[rng.IntN(4)]
		if err := nc.Publish(subject, mutant(rng)); err != nil {
			t.Error(err)
			return int64(i)
		}
		if i%1000 == 999 {
			nc.FlushTimeout(time.Minute)
		}
	}
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Error(err)
	}
	return int64(count)
}

// grown are inputs that mutations begin with, and pieces that they put in.
var (
	grown = []string{
		`{"category":"user","action":"login","actor":"ada"}`,
		`{"category":"service","action":"a","actor":"b","target":null,"data":{"n":[1,2.5e-3,{"x":"\u00e9\ud83d\ude00"}],"z":true},"result":"failure","error":"e"}`,
		"{\"category\":\"ai\",\"action\":\"a\",\"actor\":\"b\"}\n{\"category\":\"ai\",\"action\":\"c\",\"actor\":\"d\"}\n",
		`[{"category":"config","action":"a","actor":"b"},{"category":"config","action":"a","actor":"b"}]`,
	}
	pieces = []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, "\n", "\x00", "\xff", `\ud800`, `1e999`, `-0`, `null`, `"id":"1",`, `"hash":"x",`,
		`"category":"ledger",`, `"actor":"event-store",`, `9007199254740993`, "\u2028", `{"a":{"a":{"a":`, strings.Repeat("[", 70), strings.Repeat("y", 1100)}
)

// mutant is a seed with some bytes flipped, cut out, doubled, or pieces put in.
func mutant(rng *rand.Rand) []byte {
	b := []byte(grown[rng.IntN(len(grown))])
	for range rng.IntN(4) {
		at := rng.IntN(len(b) + 1)
		to := min(len(b), at+rng.IntN(8))
		switch rng.IntN(4) {
		case 0:
			if at < len(b) {
				b[at] ^= 1 << rng.IntN(8)
			}
		case 1:
			b = append(b[:at:at], b[to:]...)
		case 2:
			b = append(b[:to:to], b[at:]...)
		case 3:
			b = append(append(b[:at:at], pieces[rng.IntN(len(pieces))]...), b[at:]...)
		}
	}
	return b
}
