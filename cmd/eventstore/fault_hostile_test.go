//go:build linux

package main

import (
	"bytes"
	"compress/gzip"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

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
			refused(t, n, body, nil, http.StatusRequestEntityTooLarge, http.StatusTooManyRequests)
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
