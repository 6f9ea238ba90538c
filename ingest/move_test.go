package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

var errPowerCut = errors.New("power cut")

// branched makes a ledger of ten events and a stream with n others under ids
// that begin at 1; the second of them is as large as a message can be.
func branched(t *testing.T, n int) (dir string, old []string, actions []string) {
	t.Helper()
	dir = t.TempDir()
	f := start(t, dir)
	for range 10 {
		old = append(old, f.get(put(t, f)))
	}
	f.close()
	withStream(t, dir, func(js jetstream.JetStream) {
		makeAgain(t, js)
		for k := range n {
			action := fmt.Sprintf("late%d", k)
			data, opts := fmt.Appendf(nil, `{"action":"%s","actor":"tester"}`, action), []jetstream.PublishOpt{jetstream.WithMsgID(action)}
			if k == 1 {
				text := bytes.Repeat([]byte("x"), maxMsgSize-len(data)-len(`,"data":{"x":""}`))
				data, opts = fmt.Appendf(nil, `{"action":"%s","actor":"tester","data":{"x":"%s"}}`, action, text), nil
			}
			if _, err := js.Publish(t.Context(), "events.system.some.host", data, opts...); err != nil {
				t.Fatal(err)
			}
			actions = append(actions, action)
		}
	})
	return dir, old, actions
}

// checkMoved wants the old events untouched and every action once behind them.
func checkMoved(t *testing.T, f *fixture, old, actions []string) {
	t.Helper()
	last := ledger.ID(len(old) + len(actions))
	f.get(last)
	for n, line := range old {
		if got := f.get(ledger.ID(n + 1)); got != line {
			t.Errorf("event %d is %s, was %s", n+1, got, line)
		}
	}
	seen := map[string]int{}
	for id := ledger.ID(len(old) + 1); id <= last; id++ {
		line := f.get(id)
		for _, a := range actions {
			if strings.Contains(line, `"action":"`+a+`"`) {
				seen[a]++
			}
		}
	}
	for _, a := range actions {
		if seen[a] != 1 {
			t.Errorf("%s is in the ledger %d times", a, seen[a])
		}
	}
	if id := put(t, f); id != last+1 {
		t.Errorf("the next id is %s, want %s", id, last+1)
	}
	f.get(last + 1)
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if drift := f.ing.compare(s.CachedInfo().Config); len(drift) > 0 {
		t.Errorf("drift: %v", drift)
	}
	if _, err := f.ing.js.Stream(t.Context(), "EVENTS_MOVED"); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("the copy stream: %v", err)
	}
	if _, _, differs, err := f.ing.Compare(t.Context()); err != nil || differs != 0 {
		t.Errorf("Compare: %s %v", differs, err)
	}
}

func TestBranchedStreamMovesBehindTheLedger(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 6, 10, 14} { // 14: the last four are behind the ledger already
		dir, old, actions := branched(t, n)
		f := start(t, dir)
		checkMoved(t, f, old, actions)
		inBranch := min(n, 10)
		to := 11
		if n > 10 {
			to = n + 1
			if line := f.get(11); !strings.Contains(line, `"late10"`) {
				t.Errorf("an id behind the ledger's last did not hold: %s", line)
			}
		}
		want := Moved{ledger.ID(1).String(), ledger.ID(inBranch).String(), ledger.ID(to).String(), ledger.ID(to + inBranch - 1).String()}
		if got := f.ing.Status().Moved; len(got) != 1 || got[0] != want {
			t.Errorf("moved is %+v, want %+v", got, want)
		}
		f.close()
		f = start(t, dir) // and nothing moves again
		if got := f.ing.Status().Moved; len(got) != 0 || f.led.Head().ID != ledger.ID(11+n) {
			t.Errorf("after a restart: moved %+v, head %s", got, f.led.Head().ID)
		}
		f.close()
	}
}

func TestBranchedStreamSurvivesPowerCuts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		point string
		after int // times that the point is passed
	}{{"closed", 0}, {"copying", 3}, {"copied", 0}, {"purged", 0}, {"publishing", 0}, {"publishing", 1}, {"publishing", 3}, {"published", 0}} {
		t.Run(fmt.Sprint(c.point, c.after), func(t *testing.T) {
			t.Parallel()
			dir, old, actions := branched(t, 6)
			for round := range 2 { // the second start is cut off too, where it comes to that point
				passed := 0
				cut := func(point string) error {
					if passed += b2i(point == c.point); point == c.point && passed > c.after {
						return errPowerCut
					}
					return nil
				}
				led := openLedger(t, dir)
				ing, err := Open(t.Context(), Options{Dir: filepath.Join(dir, "jetstream"), MaxBytes: 64 << 20, interrupt: cut}, led)
				if err == nil && round > 0 {
					ing.Close()
				} else if !errors.Is(err, errPowerCut) {
					t.Errorf("Open, cut off at %s: %v", c.point, err)
				}
				if err := led.Close(); err != nil {
					t.Fatal(err)
				}
			}
			checkMoved(t, start(t, dir), old, actions)
		})
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A stream without the ledger's key may be anybody's: an operator decides.
func TestBranchedStreamOfUnknownOwnerIsRefused(t *testing.T) {
	t.Parallel()
	dir, _, _ := branched(t, 3)
	withStream(t, dir, func(js jetstream.JetStream) {
		s, err := js.Stream(t.Context(), "EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		cfg.Metadata = nil
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := tryStart(t, dir, Options{}); !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), ledger.ID(1).String()) {
		t.Errorf("Open: %v", err)
	}
}

// Somebody deletes the stream and makes it anew, from 1, while the store runs.
func TestStreamMadeAnewUnderTheRunningStore(t *testing.T) {
	t.Parallel()
	for _, n := range []int{4, 30} {
		f := start(t, t.TempDir())
		var old []string
		for range 10 {
			old = append(old, f.get(put(t, f)))
		}
		actions := branchOff(t, f.ing.js, n)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := f.led.Wait(ctx, ledger.ID(len(old)+n)); err != nil {
			t.Fatalf("waiting: %v, head %s", err, f.led.Head().ID)
		}
		for len(f.ing.Status().Moved) == 0 || !f.ing.ready.Load() {
			if pause(ctx, 50*time.Millisecond); ctx.Err() != nil {
				t.Fatal("nothing moved")
			}
		}
		checkMoved(t, f, old, actions)
		f.close()
	}
}
