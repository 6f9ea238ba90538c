package main

import (
	"flag"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

var mutantSeed = flag.Uint64("seed", 11, "what the mutated inputs follow from")

// smallRun is how many mutants .ci/run sends: up to here segments are small, so
// that many are sealed meanwhile.
const smallRun = 100_000

// TestMutatedInputs sends seeded mutations of events through both doors at once.
// Every one is answered as promised, every acknowledged event is in the chain
// once, under its id and with its hash, and as it was sent, and nothing else is
// there but the store's own events and what was answered 503; memory stays
// bounded. The number of inputs grows with the square of rounds: 1,000 makes 10
// million, half by HTTP and half by NATS. A bulk body is one of them.
func TestMutatedInputs(t *testing.T) {
	t.Parallel()
	n := faultNode(t, filepath.Join(t.TempDir(), "data"))
	w := &mutantWork{t: t, n: n, m: mutants{*mutantSeed, int64(*rounds) * int64(*rounds) * 10}, tally: map[string]int64{}}
	if w.m.count > smallRun {
		n.env = []string{"EVENT_STORE_STORAGE_MAX_FILE_SIZE=16MiB"}
	}
	t.Logf("%d mutants from seed %d", w.m.count, w.m.seed)
	n.start(t)
	w.timed("both doors", w.run)
	if peak := n.peakMemory(t); peak > maxMemory {
		t.Errorf("the store took %d MiB while inputs came", peak>>20)
	}
	n.caughtUp(t, "after mutants")
	w.timed("verification", func() { n.verified(t, wholePromise, "after mutants") })
	w.timed("comparison with the chain", w.compare)
	// Verification reads what the stream still holds, too, a minute's messages.
	if peak := n.peakMemory(t); peak > 2*maxMemory {
		t.Errorf("the store took %d MiB", peak>>20)
	}
	w.varied()
}

// timed logs how long a part took.
func (w *mutantWork) timed(name string, part func()) {
	begin := time.Now()
	part()
	w.t.Logf("%s: %.1f s, the store has taken at most %d MiB", name, time.Since(begin).Seconds(), w.n.peakMemory(w.t)>>20)
}

const (
	mutantConns  = 128  // connections of HTTP
	mutantDepth  = 8    // requests under way on one of them, at most
	mutantWindow = 2048 // messages without a PubAck yet, at most: an append by HTTP waits behind them
	mutantLead   = 8192 // how many more were published than posted, about
)

func (w *mutantWork) run() {
	var all sync.WaitGroup
	for i := range mutantConns {
		all.Go(func() { w.post(1 + i%mutantDepth) })
	}
	all.Go(w.publish)
	all.Wait()
}

// reasons are the ones that mutants are refused for, each by both doors where it
// is not said otherwise; the first that a text has is its reason.
var reasons = []struct{ text, only string }{
	{text: "is not a field of an event"}, {text: "is assigned by the store"}, {text: "is not configured"},
	{text: "is not the subject's", only: "NATS"}, {text: "is reserved"}, {text: "is required"},
	{text: "must be a string or null"}, {text: "must be a string"}, {text: "must be an object"}, {text: "must not be empty"},
	{text: "is longer than"}, {text: "is nested deeper"}, {text: "outside the double range"}, {text: "duplicate member name"},
	{text: "not valid UTF-8"}, {text: "a string does not end"}, {text: "not valid JSON"}, {text: "not a JSON object"},
	{text: "Content-Type must be", only: "HTTP"}, {text: "the body is not JSON", only: "HTTP"},
}

// varied logs what became of the mutants. A run of some length has met every
// reason, and both doors took many in.
func (w *mutantWork) varied() {
	if int64(len(w.prints)) != w.m.count {
		w.t.Errorf("%d of %d mutants were answered as promised", len(w.prints), w.m.count)
	}
	slices.Sort(w.prints)
	w.t.Logf("%d of %d mutants differ from each other", len(slices.Compact(w.prints)), w.m.count)
	half := w.m.half()
	for _, outcome := range slices.Sorted(maps.Keys(w.tally)) {
		w.t.Logf("%9d %5.2f %% %s", w.tally[outcome], 100*float64(w.tally[outcome])/float64(half), outcome)
	}
	w.t.Logf("%d events of inputs answered 503 may be in the chain, %d are", w.open, w.extra)
	if w.tally[httpUnavailable] > half/100 || w.m.count <= smallRun && w.tally[httpUnavailable] > 0 {
		w.t.Errorf("%d answers 503: the store was not to be so busy", w.tally[httpUnavailable])
	}
	if w.m.count < smallRun {
		return
	}
	for _, door := range []string{"HTTP", "NATS"} {
		for _, r := range reasons {
			if (r.only == "" || r.only == door) && w.tally[door+": "+r.text] == 0 {
				w.t.Errorf("no mutant by %s was refused for %q", door, r.text)
			}
		}
	}
	if w.tally[httpAccepted] < half/20 || w.tally[natsAccepted] < half/20 {
		w.t.Error("too few mutants became events: the run proves little")
	}
}
