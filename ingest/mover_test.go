package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// sameFiles wants two stopped stores to have the same files, byte by byte.
func sameFiles(t *testing.T, a, b string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(a, "events_*"))
	if err != nil || len(names) == 0 {
		t.Fatal("no files", err)
	}
	others, _ := filepath.Glob(filepath.Join(b, "events_*"))
	if len(names) != len(others) {
		t.Errorf("%d files and %d", len(names), len(others))
	}
	for _, name := range names {
		x, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, filepath.Base(name)))
		if err != nil || !bytes.Equal(x, y) {
			t.Errorf("%s differs (%d and %d bytes), %v", filepath.Base(name), len(x), len(y), err)
		}
	}
}

// branchOff makes the stream again with n events, named late0 and so on.
func branchOff(t *testing.T, js jetstream.JetStream, n int) (actions []string) {
	t.Helper()
	makeAgain(t, js)
	for k := range n {
		actions = append(actions, fmt.Sprintf("late%dx", k))
		body := fmt.Appendf(nil, `{"action":"%s","actor":"tester"}`, actions[k])
		// A store that moves the stream already takes its subjects away for a while.
		soon(t, "a stream that takes "+actions[k], func() bool {
			_, err := js.Publish(t.Context(), "events.system", body, jetstream.WithRetryAttempts(0))
			if err != nil && !errors.Is(err, jetstream.ErrNoStreamResponse) {
				t.Fatal(err)
			}
			return err == nil
		})
	}
	return actions
}

// onceEach wants each action once in the ledger.
func onceEach(t *testing.T, f *fixture, actions []string) {
	t.Helper()
	var all strings.Builder
	for id := ledger.ID(1); id <= f.led.Head().ID; id++ {
		line, err := f.led.Get(id)
		if err != nil && !errors.Is(err, ledger.ErrNotFound) {
			t.Fatal(err)
		}
		all.Write(line)
	}
	for _, a := range actions {
		if n := strings.Count(all.String(), `"action":"`+a+`"`); n != 1 {
			t.Errorf("%s is in the ledger %d times", a, n)
		}
	}
}

func TestReplicasMoveABranchedStreamOnce(t *testing.T) {
	t.Parallel()
	nats, log := newExternal(t, ""), &lines{}
	js := nats.js()
	slowly := func(string) error { time.Sleep(40 * time.Millisecond); return nil } // so that the others come in between
	o := Options{URL: nats.url(), Logger: log.logger(), interrupt: slowly}
	a := storeWith(t, o, t.TempDir(), 1<<20).ready()
	b := storeWith(t, o, copyKeys(t, a.dir, "ledger.key", "ledger.pub"), 1<<20).ready()
	c := storeWith(t, o, copyKeys(t, a.dir, "ledger.pub"), 1<<20).ready()
	stores := []*fixture{a, b, c}
	burst(t, js, 100)
	last := a.appendSoon()
	for _, f := range stores {
		f.get(last)
	}
	actions := branchOff(t, js, 50)
	for range 3 {
		for _, f := range stores {
			last = f.appendSoon()
		}
	}
	for _, f := range stores {
		f.get(last)
		onceEach(t, f, actions)
		if f.led.Head() != a.led.Head() {
			t.Errorf("heads %v and %v", f.led.Head(), a.led.Head())
		}
		f.close()
	}
	sameFiles(t, a.dir, b.dir)
	sameFiles(t, a.dir, c.dir)
	if n := strings.Count(log.String(), "moving its messages"); n != 1 {
		t.Errorf("moved %d times:\n%s", n, log.String())
	}
}

// The replica that moves ends in the middle: another one goes on.
func TestMoveIsTakenOver(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"closed", "copying", "copied", "publishing"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			nats, log := newExternal(t, ""), &lines{}
			js := nats.js()
			cut := func(at string) error {
				if at == point {
					return errPowerCut
				}
				return nil
			}
			a := storeWith(t, Options{URL: nats.url(), Logger: log.logger()}, t.TempDir(), 1<<20).ready()
			b := storeWith(t, Options{URL: nats.url(), Logger: log.logger(), stall: 2 * time.Second}, copyKeys(t, a.dir, "ledger.key", "ledger.pub"), 1<<20).ready()
			last := a.appendSoon()
			b.get(last)
			a.close()
			b.close()
			actions := branchOff(t, js, 7)

			a = storeWith(t, Options{URL: nats.url(), Logger: log.logger(), interrupt: cut}, a.dir, 1<<20)
			soon(t, "the move begins", func() bool { return strings.Contains(log.String(), "power cut") })
			a.close()
			b = storeWith(t, Options{URL: nats.url(), Logger: log.logger(), stall: 2 * time.Second}, b.dir, 1<<20)
			last = b.appendSoon()
			if !strings.Contains(log.String(), "taking over") {
				t.Error("nothing was taken over")
			}
			a = storeWith(t, Options{URL: nats.url(), Logger: log.logger()}, a.dir, 1<<20)
			a.get(last)
			onceEach(t, a, actions)
			a.close()
			b.close()
			sameFiles(t, a.dir, b.dir)
		})
	}
}
