//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"home.lab/event-store/ledger/faultfs"
)

// A machine is a store whose folder is on a file system that can lose power.
type machine struct {
	*node
	fs *faultfs.FS
}

func newMachine(t *testing.T, seed uint64, journal bool) *machine {
	t.Helper()
	if why := faultfs.Unavailable(); why != "" {
		t.Skip(why)
	}
	fs, root := faultfs.New(seed), t.TempDir()
	fs.Journal = journal
	if err := fs.Mount(root); err != nil {
		t.Skip("mounting FUSE: ", err)
	}
	t.Cleanup(func() { fs.Unmount() })
	return &machine{faultNode(t, filepath.Join(root, "data")), fs}
}

// cut loses the power, and has it again.
func (m *machine) cut(t *testing.T, loss faultfs.Loss) (writes, names int) {
	t.Helper()
	m.fs.PowerOff()
	m.kill(t)
	writes, names, err := m.fs.PowerOn(loss)
	if err != nil {
		t.Fatal(err)
	}
	return writes, names
}

// keeps says what is wrong with the folder as the power loss left it, before a
// stream can mend it: it must be sound and hold the last event answered 201.
func (m *machine) keeps(t *testing.T, w *work) string {
	t.Helper()
	args := []string{"verify", "--json", "--data", m.dir}
	if last, ok := w.last(); ok {
		args = append(args, "--head", last.id+":"+last.hash)
	}
	out, errs, code := eventstore(t, "", args...)
	var report struct{ Head struct{ ID string } }
	switch err := json.Unmarshal([]byte(out), &report); {
	case code != 0, err != nil:
		return fmt.Sprintf("verify ended with %d: %.2000s %s", code, out, errs)
	case report.Head.ID < w.lastOfBatches():
		return fmt.Sprintf("the chain ends with %s, a batch was answered 201 up to %s", report.Head.ID, w.lastOfBatches())
	}
	return ""
}

// last is the highest event answered 201; the hash binds all before it.
func (w *work) last() (last told, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.http {
		if a.id > last.id {
			last, ok = a, true
		}
	}
	return last, ok
}

// TestPowerLossUnderLoad: the whole program, NATS and all, on an ext4-like
// file system. With sync_interval always a PubAck holds as well.
func TestPowerLossUnderLoad(t *testing.T) {
	for name, mode := range map[string]struct {
		loss faultfs.Loss
		sync string
	}{
		"lost": {faultfs.Lost, "5s"}, "torn": {faultfs.Torn, "5s"}, "lost, synced PubAcks": {faultfs.Lost, "always"},
	} {
		t.Run(name, func(t *testing.T) {
			times, rng := max(1, *rounds*40/100), rand.New(rand.NewPCG(3, 3))
			for first := 0; first < times; first += roundsOfAFolder {
				m, w := newMachine(t, uint64(first), true), newWork()
				m.env = append(m.env, "EVENT_STORE_NATS_SYNC_INTERVAL="+mode.sync)
				m.start(t)
				for round := first; round < min(times, first+roundsOfAFolder); round++ {
					text := fmt.Sprintf("round %d", round)
					w.during(m.node, func() {
						w.underWay(t)
						time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
						m.cut(t, mode.loss)
					})
					if wrong := m.keeps(t, w); wrong != "" {
						t.Fatalf("%s: %s", text, wrong)
					}
					m.start(t)
					w.check(t, m.node, promise{pubAcks: mode.sync == "always", pubAckIDs: true}, text)
				}
				if len(w.http) == 0 {
					t.Fatal("nothing was acknowledged: the rounds prove nothing")
				}
				t.Logf("%d events answered 201, %d with a PubAck", len(w.http), len(w.nats))
				m.kill(t)
			}
		})
	}
}

// Every third fsync fails until failingFsyncs; the power goes at lastFsync. Those
// between let a recovery end, so that one under load is the last.
const failingFsyncs, lastFsync = 15, 60

// ordeal is what a store must come through: strict names, power lost within an
// fsync, and lost after failed fsyncs. It gives what it did wrong. The NATS is
// elsewhere and keeps its promise, so only the store is on trial.
func ordeal(t *testing.T, program string) string {
	nats := startNATS(t)
	m, w := newMachine(t, 1, false), newWork()
	m.program = program
	m.elsewhere(nats)
	isSegment := func(c faultfs.Call) bool { return c.Op == "fsync" && strings.HasSuffix(c.Path, ".jsonl") }
	var failed atomic.Int64
	var before sync.Map // segments that were synced
	off := make(chan struct{}, 1)
	powerOff := func() { // once all answers are out, also those that came too early
		for last := -1; last < w.answered(); time.Sleep(500 * time.Millisecond) {
			last = w.answered()
		}
		m.fs.PowerOff()
		select {
		case off <- struct{}{}:
		default:
		}
	}
	type misfortune struct {
		name, segments string
		fault          func(faultfs.Call) faultfs.Outcome
	}
	within := misfortune{"power lost within an fsync", "256KiB", func(c faultfs.Call) faultfs.Outcome {
		if !isSegment(c) {
			return faultfs.Outcome{}
		}
		// Not a segment's first: that may have few events, none of them by HTTP.
		if _, again := before.LoadOrStore(c.Path, true); again && c.N > 200 {
			powerOff()
			return faultfs.Outcome{Err: syscall.EIO}
		}
		return faultfs.Outcome{}
	}}
	// One segment: sealing would write what is missing again.
	after := misfortune{"power lost after failed fsyncs", "100MB", func(c faultfs.Call) faultfs.Outcome {
		if !isSegment(c) || c.N <= 60 {
			return faultfs.Outcome{}
		}
		// Several, so that one of them has events that were answered 201. Not
		// every second: a recovery, which needs two, would never come through.
		switch n := failed.Add(1); {
		case n == lastFsync:
			powerOff()
		case n < failingFsyncs && n%3 == 1:
			return faultfs.Outcome{Err: syscall.EIO}
		}
		return faultfs.Outcome{}
	}}
	for _, o := range []misfortune{within, within, after} {
		m.env = []string{"EVENT_STORE_STORAGE_MAX_FILE_SIZE=" + o.segments}
		m.start(t)
		m.caughtUp(t, o.name)
		m.fs.SetFault(o.fault)
		w.during(m.node, func() {
			select {
			case <-off:
			case <-time.After(time.Minute):
				t.Error(o.name, ": no call to fail")
			}
			m.cut(t, faultfs.Lost)
		})
		if len(w.http) == 0 {
			t.Fatalf("%s: nothing was acknowledged: the ordeal proves nothing", o.name)
		}
		if wrong := m.keeps(t, w); wrong != "" {
			return o.name + ": " + wrong
		}
	}
	if failed.Load() < lastFsync {
		t.Fatal("too few fsyncs failed: the ordeal proves nothing")
	}
	m.start(t)
	w.check(t, m.node, wholePromise, "after the ordeal")
	return ""
}
