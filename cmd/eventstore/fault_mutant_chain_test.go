package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"sync"
)

const linesAtOnce = 500

// A stretch is lines of the chain that follow each other.
type stretch struct {
	first uint64 // id
	lines [][]byte
}

// compare reads the whole chain: every id that a mutant was told is that mutant,
// and besides them there are the store's own events and what was answered 503.
func (w *mutantWork) compare() {
	stretches := make(chan stretch, 4)
	var all sync.WaitGroup
	var own int64
	for range 2 {
		all.Go(func() {
			for s := range stretches {
				for i, line := range s.lines {
					if w.going() {
						w.compareLine(s.first+uint64(i), line, &own)
					}
				}
			}
		})
	}
	last := w.read(stretches)
	close(stretches)
	all.Wait()
	if uint64(len(w.told)) > last+1 {
		w.t.Errorf("the chain ends with %012x, ids up to %012x were told", last, len(w.told)-1)
	}
	if w.extra > w.open {
		w.t.Errorf("%d events in the chain are nobody's, %d of an answer 503 may be", w.extra, w.open)
	}
	w.t.Logf("%d events, %d of them the store's own", last, own)
}

// read gives out the chain, and returns its last id.
func (w *mutantWork) read(to chan<- stretch) (last uint64) {
	req, err := http.NewRequest(http.MethodGet, w.n.url()+"/events?order=asc", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Accept", linesType)
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, 2<<20)
	s := stretch{first: 1}
	for lines.Scan() {
		last++
		if s.lines = append(s.lines, bytes.Clone(lines.Bytes())); len(s.lines) == linesAtOnce {
			to <- s
			s = stretch{first: last + 1}
		}
	}
	to <- s
	if err := lines.Err(); err != nil || r.StatusCode != http.StatusOK {
		w.t.Errorf("reading the chain: %s %v", r.Status, err)
	}
	return last
}

// compareLine holds the event id against what was told of it.
func (w *mutantWork) compareLine(id uint64, line []byte, own *int64) {
	c := w.claimed(id)
	x := mutant{number: c.number - 1}
	hash, closed := bytes.CutSuffix(line, []byte(`"}`))
	_, hash, _ = bytes.Cut(hash[max(0, len(hash)-len(hashMember)-64):], []byte(hashMember))
	switch {
	case !bytes.HasPrefix(line, fmt.Appendf(nil, `{"id":"%012x",`, id)) || !closed || len(hash) != 64:
		w.fail(x, "instead of the event %012x the chain has %s", id, line)
	case c.number == 0 && bytes.Contains(line, []byte(`"category":"ledger","action":`)):
		w.add(own)
	case c.number == 0:
		w.add(&w.extra)
	case c.hash != 0 && c.hash != hashBits(string(hash)):
		w.fail(x, "was told another hash than that of %s", line)
	default:
		if x.number >= w.m.half() {
			w.countMessage(line)
		}
		if w.m.isBulk(x.number) || id%w.m.compared() == 0 {
			w.compareEvent(w.m.nth(x.number), id, line)
		}
	}
}

const (
	hashMember     = `"hash":"`
	rejectedMember = `"action":"event_rejected","actor":"event-store",`
)

func (w *mutantWork) add(to *int64) {
	w.mu.Lock()
	*to++
	w.mu.Unlock()
}

// countMessage counts what became of a message.
func (w *mutantWork) countMessage(line []byte) {
	outcome := natsAccepted
	if bytes.Contains(line, []byte(rejectedMember)) {
		reason := line[bytes.LastIndex(line, []byte(`"reason":"`)):]
		outcome = "NATS: " + reasonOf(string(reason))
	}
	w.mu.Lock()
	w.tally[outcome]++
	w.mu.Unlock()
}

// compared is how many events there are for each that is compared as a whole: a
// long run has no time for all. The ids and the hashes that were told always are.
func (m mutants) compared() uint64 {
	if m.count > smallRun {
		return 8
	}
	return 1
}

// compareEvent holds an event against the mutant that it is.
func (w *mutantWork) compareEvent(x mutant, id uint64, line []byte) {
	var e map[string]any
	if err := json.Unmarshal(line, &e); err != nil {
		w.fail(x, "is in the chain as %s: %v", line, err)
		return
	}
	for _, name := range []string{"id", "timestamp", "previous_hash", "hash"} {
		delete(e, name)
	}
	if x.nats && e["action"] == "event_rejected" && e["actor"] == "event-store" {
		w.compareRejected(x, e)
		return
	}
	list, err := x.events()
	part := w.partOf(id)
	if err != nil || part >= len(list) || !reflect.DeepEqual(e, list[part]) ||
		w.claimed(id+uint64(len(list)-part-1)).number != x.number+1 || w.claimed(id+uint64(len(list)-part)).number == x.number+1 {
		w.fail(x, "is in the chain as %s (%v)", line, err)
	}
}

func (w *mutantWork) claimed(id uint64) claim {
	if id < uint64(len(w.told)) {
		return w.told[id]
	}
	return claim{}
}

// partOf is which of its mutant's events id is, from 0.
func (w *mutantWork) partOf(id uint64) (part int) {
	for w.claimed(id-uint64(part)-1).number == w.claimed(id).number {
		part++
	}
	return part
}

// compareRejected: what is no event is kept as it came, with its subject and the reason.
func (w *mutantWork) compareRejected(x mutant, e map[string]any) {
	data, _ := e["data"].(map[string]any)
	text, _ := data["payload"].(string)
	reason, _ := data["reason"].(string)
	payload, err := []byte(text), error(nil)
	if data["payload_encoding"] == "base64" {
		payload, err = base64.StdEncoding.DecodeString(text)
	}
	if err != nil || !bytes.Equal(payload, x.body) || e["target"] != x.label || reason == "" || data["payload_bytes"] != float64(len(x.body)) {
		w.fail(x, "was rejected as %v (%v)", e, err)
	}
}
