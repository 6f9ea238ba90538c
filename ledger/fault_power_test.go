//go:build linux

package ledger

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"home.lab/event-store/ledger/faultfs"
)

// faulty mounts a file system for faults and shortens the ledger's patience.
func faulty(t *testing.T, seed uint64) (*faultfs.FS, string) {
	t.Helper()
	if why := faultfs.Unavailable(); why != "" {
		t.Skip(why)
	}
	fs, root := faultfs.New(seed), t.TempDir()
	if err := fs.Mount(root); err != nil {
		t.Skip("mounting FUSE: ", err)
	}
	t.Cleanup(func() { fs.Unmount() })
	before := retryAfter
	retryAfter = 5 * time.Millisecond
	t.Cleanup(func() { retryAfter = before })
	return fs, filepath.Join(root, "data")
}

// powerOffAt loses the power at the n-th call, and closes dead.
func powerOffAt(fs *faultfs.FS, n int64, dead chan struct{}) func(faultfs.Call) faultfs.Outcome {
	return func(c faultfs.Call) faultfs.Outcome {
		if c.N == n {
			fs.PowerOff()
			close(dead)
			return faultfs.Outcome{Err: syscall.EIO}
		}
		return faultfs.Outcome{}
	}
}

func TestPowerLossForgetsNothingAcknowledged(t *testing.T) {
	for name, mode := range map[string]struct {
		journal bool
		loss    faultfs.Loss
	}{
		"lost, strict names": {false, faultfs.Lost}, "torn, strict names": {false, faultfs.Torn},
		"lost, ext4 names": {true, faultfs.Lost}, "torn, ext4 names": {true, faultfs.Torn},
	} {
		t.Run(name, func(t *testing.T) {
			for round := range max(2, *rounds*40/100) {
				fs, dir := faulty(t, uint64(round))
				fs.Journal = mode.journal
				lost := powerLoss(t, fs, dir, uint64(round), mode.loss)
				if testing.Verbose() {
					t.Logf("round %d: %d writes and names lost", round, lost)
				}
			}
		})
	}
}

// powerLoss cuts the power of a ledger at random calls until it has the whole
// tape. After each cut everything acknowledged must be there.
func powerLoss(t *testing.T, fs *faultfs.FS, dir string, seed uint64, loss faultfs.Loss) (lost int) {
	rng, tp, a := rand.New(rand.NewPCG(seed, 2)), newTape(seed, 500, today()), &acked{}
	for cut := 0; ; cut++ {
		round := fmt.Sprintf("seed %d, cut %d", seed, cut)
		tp.dead = make(chan struct{})
		fs.SetFault(powerOffAt(fs, 1+rng.Int64N(20+int64(cut)*15), tp.dead))
		l, err := tryOpen(dir)
		if err == nil {
			err = tp.play(l, a.tell)
			err = errors.Join(err, l.Close())
		}
		fs.SetFault(nil)
		select {
		case <-tp.dead:
		default:
			if err != nil {
				t.Fatalf("%s: without a power loss: %v", round, err)
			}
			a.holds(t, dir, round)
			return lost
		}
		w, n, err := fs.PowerOn(loss)
		if err != nil {
			t.Fatal(err)
		}
		lost += w + n
		if l, err = tryOpen(dir); err != nil {
			t.Fatalf("%s: %v", round, err)
		}
		closeLedger(t, l)
		a.holds(t, dir, round)
	}
}

// failOnce gives every kind of failure of one call.
var failOnce = map[string]faultfs.Outcome{
	"EIO": {Err: syscall.EIO}, "ENOSPC": {Err: syscall.ENOSPC}, "a short write": {Short: 5},
}

// TestFailedCall fails the n-th call, and the four behind it, of a ledger that
// appends, seals and ages out. It must stop, recover and go on.
func TestFailedCall(t *testing.T) {
	for name, outcome := range failOnce {
		t.Run(name, func(t *testing.T) {
			step := max(1, 200/(2**rounds))
			for n := int64(1); n <= 200; n += int64(step) {
				t.Run(fmt.Sprintf("call %d", n), func(t *testing.T) {
					fs, dir := faulty(t, 1)
					fs.SetFault(func(c faultfs.Call) faultfs.Outcome {
						if c.N >= n && c.N < n+5 {
							return outcome
						}
						return faultfs.Outcome{}
					})
					survive(t, dir, fmt.Sprintf("%s at call %d", name, n))
				})
			}
		})
	}
}

// survive plays a tape through failures, as ingest does it: Recover until it works.
func survive(t *testing.T, dir, round string) {
	t.Helper()
	tp, a := newTape(1, 400, today()), &acked{}
	var l *Ledger
	var err error
	for range 10 {
		if l, err = tryOpen(dir); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatalf("%s: it does not open again: %v", round, err)
	}
	for failures := 0; ; failures++ {
		if err = tp.play(l, a.tell); err == nil {
			break
		}
		if failures == 20 || l.Err() == nil {
			t.Fatalf("%s: it does not go on: %v", round, err)
		}
		for l.Err() != nil {
			if err := l.Recover(context.Background()); err != nil && failures == 19 {
				t.Fatalf("%s: %v", round, err)
			}
			if failures++; failures > 20 {
				t.Fatalf("%s: Recover does not end: %v", round, l.Err())
			}
		}
	}
	closeLedger(t, l)
	if r := a.holds(t, dir, round); r.Head.ID != ID(len(tp.msgs)).String() {
		t.Fatalf("%s: head %s of %d messages", round, r.Head.ID, len(tp.msgs))
	}
	if temps, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(temps) > 0 {
		t.Errorf("%s: left behind: %v", round, temps)
	}
}

// TestKilledAtTheNthCall ends a process with SIGKILL at each call that reaches
// its folder, through append, seal and retention.
func TestKilledAtTheNthCall(t *testing.T) {
	if dir := os.Getenv("FAULT_CHILD"); dir != "" {
		playAsChild(t, dir)
		return
	}
	calls := killAt(t, 0)
	step := max(1, calls*4/(3*int64(*rounds)+calls/100))
	for n := int64(1); n <= calls; n += step {
		killAt(t, n)
	}
	t.Logf("%d calls, every %d. was the last", calls, step)
}

// killAt runs a child on a fresh folder, kills it at its n-th call (0: never),
// and goes on where it was. It gives how many calls there were.
func killAt(t *testing.T, n int64) int64 {
	fs, dir := faulty(t, 1)
	c := startChild(t, dir)
	fs.SetFault(func(call faultfs.Call) faultfs.Outcome {
		if call.N == n {
			c.kill()
			return faultfs.Outcome{Err: syscall.EIO}
		}
		return faultfs.Outcome{}
	})
	tp, a := c.wait(t, n == 0)
	calls := fs.Calls()
	fs.SetFault(nil)
	l, err := tryOpen(dir)
	if err != nil {
		t.Fatalf("killed at call %d: %v", n, err)
	}
	if err := tp.play(l, a.tell); err != nil {
		t.Fatalf("killed at call %d: %v", n, err)
	}
	closeLedger(t, l)
	r := a.holds(t, dir, fmt.Sprintf("killed at call %d", n))
	if r.AgedOut == 0 || !slices.Contains(r.Checked, "gaps") {
		t.Fatalf("killed at call %d: nothing aged out", n)
	}
	return calls
}

// The .gz and its manifest were durable and the .jsonl was gone, so sealing
// could neither finish nor begin again.
func TestSealingFinishesWhenItsLastFolderSyncFails(t *testing.T) {
	fs, dir := faulty(t, 1)
	var mu sync.Mutex
	removed, failed := false, false
	fs.SetFault(func(c faultfs.Call) faultfs.Outcome {
		mu.Lock()
		defer mu.Unlock()
		removed = removed || c.Op == "unlink" && filepath.Ext(c.Path) == suffixPlain
		if removed && !failed && c.Op == "fsyncdir" {
			failed = true
			return faultfs.Outcome{Err: syscall.EIO}
		}
		return faultfs.Outcome{}
	})
	survive(t, dir, "the last sync of a seal")
	if !failed {
		t.Error("no sync failed")
	}
}
