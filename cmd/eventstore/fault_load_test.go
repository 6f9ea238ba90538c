package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// rounds scales the fault suite. The default takes seconds; .ci/run says 100.
var rounds = flag.Int("rounds", 2, "how many rounds the fault tests run")

// work is what callers and publishers sent to a store, and what they were told.
// Every event carries a number of its own and is sent once.
type work struct {
	next    atomic.Int64
	mu      sync.Mutex
	http    map[int64]told // 201
	nats    map[int64]told // PubAck: an id and no hash
	batches []*batch
}

type told struct{ id, hash string }

func newWork() *work { return &work{http: map[int64]told{}, nats: map[int64]told{}} }

const httpCallers, batchCallers, natsPublishers = 64, 4, 4 // batchCallers of httpCallers

// run works until stop is closed.
func (w *work) run(n *node, stop <-chan struct{}) {
	var all sync.WaitGroup
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: httpCallers}, Timeout: 20 * time.Second}
	defer client.CloseIdleConnections()
	for i := range httpCallers {
		post := w.post
		if i < batchCallers {
			post = w.postBatch
		}
		all.Go(func() {
			for open(stop) {
				if !post(client, n.url()) {
					time.Sleep(5 * time.Millisecond)
				}
			}
		})
	}
	for range natsPublishers {
		all.Go(func() { w.publish(n.publisherURL(), stop) })
	}
	all.Wait()
}

func (n *node) publisherURL() string {
	if n.publisher != "" {
		return n.publisher
	}
	return "nats://" + n.nats
}

func open(stop <-chan struct{}) bool {
	select {
	case <-stop:
		return false
	default:
		return true
	}
}

// event is one event with its number.
func (w *work) event() (int64, []byte) {
	k := w.next.Add(1)
	return k, eventOf(k)
}

func eventOf(k int64) []byte {
	return fmt.Appendf(nil, `{"category":"service","action":"fault","actor":"a%d","data":{"k":%d,"text":"%s"}}`, k%7, k, strings.Repeat("x", int(k*37%900)))
}

func (w *work) post(client *http.Client, url string) bool {
	k, body := w.event()
	r, err := client.Post(url+"/events", "application/json", bytes.NewReader(body))
	if err != nil {
		return false
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	var e storedEvent
	if err != nil || r.StatusCode != http.StatusCreated || json.Unmarshal(b, &e) != nil {
		return false // not acknowledged
	}
	w.mu.Lock()
	w.http[k] = told{e.ID, e.Hash}
	w.mu.Unlock()
	return true
}

func (w *work) publish(url string, stop <-chan struct{}) {
	nc, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.RetryOnFailedConnect(true),
		nats.ReconnectBufSize(-1), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return
	}
	for open(stop) {
		k, body := w.event()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		ack, err := js.Publish(ctx, "events.service", body, jetstream.WithRetryAttempts(0))
		cancel()
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			continue
		}
		time.Sleep(500 * time.Microsecond) // callers of HTTP need the machine too
		w.mu.Lock()
		w.nats[k] = told{id: fmt.Sprintf("%012x", ack.Sequence)}
		w.mu.Unlock()
	}
}

// answered is how many requests were answered 201.
func (w *work) answered() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.http)
	for _, b := range w.batches {
		if b.told != nil {
			n++
		}
	}
	return n
}

// underWay waits until both doors have answered: a fault before that proves nothing.
func (w *work) underWay(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	posted, published := len(w.http), len(w.nats)
	w.mu.Unlock()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		w.mu.Lock()
		going := len(w.http) > posted && len(w.nats) > published
		w.mu.Unlock()
		if going {
			return
		}
	}
	t.Error("nothing was acknowledged for a minute")
}

// during runs the load while do does something to the store.
func (w *work) during(n *node, do func()) {
	stop, done := make(chan struct{}), make(chan struct{})
	go func() { defer close(done); w.run(n, stop) }()
	do()
	close(stop)
	<-done
}

// A promise says what holds besides every 201: a PubAck is worth what its NATS
// is, and so is that a batch without an answer is there whole or not at all. A
// NATS that is killed, or loses the power, may have written a part of one.
type promise struct{ pubAcks, pubAckIDs, batches bool }

var (
	wholePromise  = promise{true, true, true}
	killedPromise = promise{pubAcks: true, pubAckIDs: true}
)

// check verifies the running store as a whole and compares every acknowledged
// event with the chain by id and hash; each is there once.
func (w *work) check(t *testing.T, n *node, p promise, round string) {
	t.Helper()
	n.caughtUp(t, round)
	n.verified(t, p, round)
	chain := n.chain(t)
	for k, id := range w.http {
		if got := chain[k]; len(got) != 1 || got[0] != id {
			t.Fatalf("%s: event %d was answered 201 as %v, in the chain are %v", round, k, id, got)
		}
	}
	for k, a := range w.nats {
		if got := chain[k]; p.pubAcks && (len(got) != 1 || p.pubAckIDs && got[0].id != a.id) {
			t.Fatalf("%s: event %d has PubAck %s, in the chain are %v", round, k, a.id, got)
		}
	}
	w.checkBatches(t, chain, p, round)
	for k, got := range chain {
		if len(got) > 1 {
			t.Fatalf("%s: event %d is in the chain %d times: %v", round, k, len(got), got)
		}
	}
}

// verified has the running store verify all of it, the stream too: one that did
// not keep its promise may be new and have nothing to compare.
func (n *node) verified(t *testing.T, p promise, round string) {
	t.Helper()
	r, err := http.Post(n.url()+"/verify", "", nil)
	if err != nil {
		t.Fatalf("%s: %v", round, err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	var report struct {
		Status     string
		NotChecked []string `json:"not_checked"`
	}
	if err != nil || json.Unmarshal(b, &report) != nil || report.Status != "valid" || p.pubAcks && slices.Contains(report.NotChecked, "stream") {
		t.Fatalf("%s: %v %.2000s", round, err, b)
	}
}

// caughtUp waits until the store is healthy and has projected its stream.
func (n *node) caughtUp(t *testing.T, round string) {
	t.Helper()
	var last string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var s struct {
			Stream struct {
				Connected bool
				Lag       uint64
			}
		}
		if body, code := n.get("/health"); code != http.StatusOK {
			last = body
			continue
		}
		last, _ = n.get("/status")
		if json.Unmarshal([]byte(last), &s) == nil && s.Stream.Connected && s.Stream.Lag == 0 {
			return
		}
	}
	t.Fatalf("%s: not caught up after 60 s: %s", round, last)
}

func (n *node) get(path string) (body string, code int) {
	client := http.Client{Timeout: 10 * time.Second}
	r, err := client.Get(n.url() + path)
	if err != nil {
		return err.Error(), 0
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return string(b), r.StatusCode
}

// chain gives, for the numbers of a work, where the chain has them.
func (n *node) chain(t *testing.T) map[int64][]told {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, n.url()+"/events?order=asc", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/x-ndjson")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	found := map[int64][]told{}
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 2<<20)
	for lines.Scan() {
		var e struct {
			ID, Hash, Action string
			Data             struct{ K int64 }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Fatal(err)
		}
		if e.Action == "fault" {
			found[e.Data.K] = append(found[e.Data.K], told{e.ID, e.Hash})
		}
	}
	if err := lines.Err(); err != nil || r.StatusCode != http.StatusOK {
		t.Fatal(r.Status, err)
	}
	return found
}

// smallSegments makes a store seal often.
var smallSegments = []string{"EVENT_STORE_STORAGE_MAX_FILE_SIZE=256KiB"}

// faultNode is a store that was not started.
func faultNode(t *testing.T, dir string) *node {
	t.Helper()
	n := &node{dir: dir, http: freeAddress(t), nats: freeAddress(t), log: t.TempDir() + "/log", env: smallSegments}
	n.endWith(t)
	return n
}

func forget(t *testing.T, paths ...string) {
	t.Helper()
	for _, p := range paths {
		if err := os.RemoveAll(p); err != nil {
			t.Fatal(err)
		}
	}
}
