package main

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// roundsOfAFolder is how many rounds one folder takes: each of them verifies
// all of it.
const roundsOfAFolder = 10

// TestKilledUnderLoad: 64 HTTP callers and NATS publishers, kill -9 at any moment.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	endUnderLoad(t, *rounds, killedPromise, func(n *node, _ string) { n.kill(t) })
}

// TestStoppedUnderLoad: SIGTERM at any moment; the program ends with 0.
func TestStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	endUnderLoad(t, max(1, *rounds/2), wholePromise, func(n *node, round string) {
		if took := n.stop(t); took > 20*time.Second {
			t.Fatalf("%s: stopping took %s", round, took)
		}
	})
}

func endUnderLoad(t *testing.T, times int, p promise, end func(n *node, round string)) {
	rng := rand.New(rand.NewPCG(1, 1))
	for first := 0; first < times; first += roundsOfAFolder {
		n, w := faultNode(t, filepath.Join(t.TempDir(), "data")), newWork()
		n.start(t)
		for round := first; round < min(times, first+roundsOfAFolder); round++ {
			name := fmt.Sprintf("round %d", round)
			w.during(n, func() {
				w.underWay(t)
				time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
				end(n, name)
			})
			n.start(t)
			w.check(t, n, p, name)
		}
		t.Logf("%d events answered 201, %d with a PubAck", len(w.http), len(w.nats))
		n.kill(t)
		must(t, "", "verify", "--data", n.dir)
		if len(w.http) == 0 || len(w.nats) == 0 {
			t.Fatal("nothing was acknowledged: the rounds prove nothing")
		}
		forget(t, n.dir)
	}
}

// TestTwoProcessesOnOneFolder: the second refuses, and harms nothing; once the
// first is dead the next may.
func TestTwoProcessesOnOneFolder(t *testing.T) {
	t.Parallel()
	n, w := faultNode(t, filepath.Join(t.TempDir(), "data")), newWork()
	n.start(t)
	w.during(n, func() {
		for range max(2, *rounds/10) {
			_, errs, code := eventstore(t, "", "serve", "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--data-dir", n.dir)
			if code == 0 || !strings.Contains(errs, "another process") {
				t.Errorf("the second process ended with %d: %s", code, errs)
			}
		}
	})
	w.check(t, n, wholePromise, "beside a second process")
	n.kill(t)
	n.start(t)
	w.check(t, n, killedPromise, "after the first was killed")
}
