package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// mutantWork is mutants that are sent through both doors, and what was told of each.
type mutantWork struct {
	t *testing.T
	n *node
	m mutants

	posted   atomic.Int64 // numbers that were taken
	failures atomic.Int64

	mu     sync.Mutex
	told   []claim // by id
	open   int64   // events of mutants with an answer 503
	extra  int64   // events that no answer told of
	tally  map[string]int64
	prints []uint64 // of every body
}

// A claim says that a mutant was told this id, and the first 64 bits of the hash
// if it was told that; no number: nobody was.
type claim struct {
	number int64 // and 1
	hash   uint64
}

const (
	httpAccepted    = "HTTP: 201"
	httpAsync       = "HTTP: 202"
	httpUnavailable = "HTTP: 503"
	natsAccepted    = "NATS: the event"
	maxFailures     = 20
	answerTimeout   = time.Minute
)

func (w *mutantWork) fail(x mutant, format string, args ...any) {
	if w.failures.Add(1) <= maxFailures {
		w.t.Errorf("mutant %d as %s %q: %s", x.number, x.label, x.body, fmt.Sprintf(format, args...))
	}
}

func (w *mutantWork) going() bool { return w.failures.Load() < maxFailures }

// A caller is a connection that is kept alive.
type caller struct {
	net.Conn
	in  *bufio.Reader
	out *bufio.Writer
}

// post sends the mutants that it gets hold of, up to depth at once.
func (w *mutantWork) post(depth int) {
	conn, err := net.Dial("tcp", w.n.http)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer conn.Close()
	c := &caller{conn, bufio.NewReader(conn), bufio.NewWriter(conn)}
	for w.going() {
		var list []mutant
		for len(list) < depth {
			x := w.m.nth(w.posted.Add(1) - 1)
			if x.nats {
				break
			}
			list = append(list, x)
		}
		if len(list) == 0 {
			return
		}
		if x, err := w.exchange(c, list); err != nil {
			w.fail(x, "no answer: %v", err)
			return
		}
	}
}

// exchange sends requests behind each other (RFC 9112, section 9.3.2) and reads
// an answer to each; x is the first without one.
func (w *mutantWork) exchange(c *caller, list []mutant) (x mutant, err error) {
	c.SetDeadline(time.Now().Add(answerTimeout))
	for _, x := range list {
		c.write(x)
	}
	if err := c.out.Flush(); err != nil {
		return list[0], err
	}
	for _, x := range list {
		r, err := http.ReadResponse(c.in, nil)
		if err != nil {
			return x, err
		}
		b, err := io.ReadAll(r.Body)
		if err != nil {
			return x, err
		}
		w.answered(x, r, b)
	}
	return mutant{}, nil
}

func (c *caller) write(x mutant) {
	c.out.WriteString("POST /events HTTP/1.1\r\nHost: localhost\r\n")
	if x.label != "" {
		c.out.WriteString("Content-Type: " + x.label + "\r\n")
	}
	if x.async {
		c.out.WriteString("Prefer: respond-async\r\n")
	}
	c.out.WriteString("Content-Length: " + strconv.Itoa(len(x.body)) + "\r\n\r\n")
	c.out.Write(x.body)
}

// answered holds an answer against what is promised.
func (w *mutantWork) answered(x mutant, r *http.Response, b []byte) {
	switch code := r.StatusCode; code {
	case http.StatusCreated, http.StatusAccepted:
		if x.async && code == http.StatusCreated {
			w.fail(x, "answered 201 in spite of Prefer")
		}
		w.appended(x, code, b)
	case http.StatusServiceUnavailable:
		if r.Header.Get("Retry-After") == "" {
			w.fail(x, "answered 503 without Retry-After")
		}
		list, _ := x.events()
		w.count(x, httpUnavailable, max(1, int64(len(list))))
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		var p struct {
			Status int
			Detail string
		}
		if err := json.Unmarshal(b, &p); err != nil || p.Status != code || r.Header.Get("Content-Type") != "application/problem+json" {
			w.fail(x, "answered %s: %s", r.Status, b)
		}
		w.count(x, "HTTP: "+reasonOf(p.Detail), 0)
	default:
		w.fail(x, "answered %s: %s", r.Status, b)
	}
}

// appended notes what a 201 or a 202 says: a 202 comes before the event has a hash.
func (w *mutantWork) appended(x mutant, code int, b []byte) {
	var a struct {
		ID, Hash string
		Count    int64
		FirstID  string `json:"first_id"`
		LastID   string `json:"last_id"`
		LastHash string `json:"last_hash"`
	}
	if err := json.Unmarshal(b, &a); err != nil {
		w.fail(x, "answered %d: %v: %s", code, err, b)
		return
	}
	if a.Count == 0 {
		a.Count, a.FirstID, a.LastID, a.LastHash = 1, a.ID, a.ID, a.Hash
	}
	first, err1 := strconv.ParseUint(a.FirstID, 16, 64)
	last, err2 := strconv.ParseUint(a.LastID, 16, 64)
	if err1 != nil || err2 != nil || last-first+1 != uint64(a.Count) || (len(a.LastHash) == 64) != (code == http.StatusCreated) {
		w.fail(x, "answered %d: %s", code, b)
		return
	}
	for id := first; id <= last; id++ {
		c := claim{number: x.number + 1}
		if id == last {
			c.hash = hashBits(a.LastHash)
		}
		w.claim(x, id, c)
	}
	w.count(x, map[int]string{http.StatusCreated: httpAccepted, http.StatusAccepted: httpAsync}[code], 0)
}

// hashBits are the first 64 bits of a hash; 0 of none.
func hashBits(hash string) uint64 {
	v, _ := strconv.ParseUint(hash[:min(16, len(hash))], 16, 64)
	return v
}

// claim notes that a mutant is the event id.
func (w *mutantWork) claim(x mutant, id uint64, c claim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if id == 0 || id > uint64(20*w.m.count+1000) {
		w.fail(x, "was told the id %012x", id)
		return
	}
	for id >= uint64(len(w.told)) {
		w.told = append(w.told, claim{})
	}
	if other := w.told[id].number; other != 0 {
		w.fail(x, "was told the id %012x, as was mutant %d", id, other-1)
	}
	w.told[id] = c
}

var printSeed = maphash.MakeSeed()

// count notes what became of a mutant; open events of it may be in the chain.
func (w *mutantWork) count(x mutant, outcome string, open int64) {
	print := maphash.Bytes(printSeed, x.body)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.prints = append(w.prints, print)
	w.tally[outcome]++
	w.open += open
}

func reasonOf(text string) string {
	text, _, _ = strings.Cut(text, ";")
	for _, r := range reasons {
		if strings.Contains(text, r.text) {
			return r.text
		}
	}
	return "another reason"
}

// publish publishes the second half, and every message gets its PubAck.
func (w *mutantWork) publish() {
	nc, err := nats.Connect("nats://" + w.n.nats)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(answerTimeout))
	if err != nil {
		w.t.Error(err)
		return
	}
	type sent struct {
		x   mutant
		ack jetstream.PubAckFuture
	}
	window := make(chan sent, mutantWindow)
	go func() {
		defer close(window)
		for number := w.m.half(); number < w.m.count && w.going(); number++ {
			if number%mutantWindow == 0 {
				w.pace(number - w.m.half())
			}
			x := w.m.nth(number)
			ack, err := js.PublishAsync(x.label, x.body, jetstream.WithRetryAttempts(0))
			if err != nil {
				w.fail(x, "%v", err)
				return
			}
			window <- sent{x, ack}
		}
	}()
	for s := range window {
		select {
		case ack := <-s.ack.Ok():
			w.claim(s.x, ack.Sequence, claim{number: s.x.number + 1})
			w.count(s.x, "NATS: PubAck", 0)
		case err := <-s.ack.Err():
			w.fail(s.x, "%v", err)
		}
	}
}

// pace waits until nearly as many were posted as were published, so that both doors
// are busy to the end: NATS takes more than twice as many a second.
func (w *mutantWork) pace(published int64) {
	for w.posted.Load() < min(published-mutantLead, w.m.half()) && w.going() {
		time.Sleep(time.Millisecond)
	}
}
