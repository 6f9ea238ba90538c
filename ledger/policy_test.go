package ledger

import (
	"slices"
	"testing"
	"time"
)

// TestEveryShorteningIsListed goes through every change that a retention can
// make. A category that is not configured ages nothing out: to leave it out and
// bring it back is to shorten it, unless it was never there.
func TestEveryShorteningIsListed(t *testing.T) {
	t.Parallel()
	const absent = -1
	retentions := []time.Duration{absent, time.Hour, 90 * day, 0} // 0: forever
	length := func(d time.Duration) time.Duration {
		if d <= 0 {
			return 1 << 62
		}
		return d
	}
	var walk []time.Duration // from each to each
	for _, a := range retentions {
		for _, b := range retentions {
			walk = append(walk, a, b)
		}
	}
	dir, c := t.TempDir(), DefaultConfig()
	f := &feed{t: t, l: open(t, dir, c)}
	f.logins(1)
	want := [][]string{nil} // of the defaults
	configure := func(all map[string]time.Duration) {
		next := DefaultConfig()
		for name, d := range all {
			if next.Categories[name] = (Policy{Retention: d}); d == absent {
				delete(next.Categories, name)
			}
		}
		if next.equal(c) {
			return
		}
		var shortened []string
		for _, name := range []string{"ai", "extra", "user"} {
			was, known := c.Categories[name]
			if d := all[name]; d != absent && length(d) < length(was.Retention) && (known || name != "extra") {
				shortened = append(shortened, name)
			}
		}
		c, want = next, append(want, shortened)
		closeLedger(t, f.l)
		f.l = open(t, dir, c)
		f.own()
	}
	for i, d := range walk {
		configure(map[string]time.Duration{"user": d, "ai": walk[(5*i+3)%len(walk)], "extra": absent})
	}
	configure(map[string]time.Duration{"user": 0, "ai": 0, "extra": time.Hour})
	running := mustVerify(t, f.l)
	closeLedger(t, f.l)
	for how, r := range map[string]*Report{"running": running, "offline": mustValid(t, dir, VerifyOptions{})} {
		if len(r.Policies) != len(want) {
			t.Fatalf("%s: %d policies, want %d", how, len(r.Policies), len(want))
		}
		listed := 0
		for i, p := range r.Policies {
			if listed += len(p.Shortened); !slices.Equal(p.Shortened, want[i]) {
				t.Errorf("%s: %d, event %s: shortened %q, want %q", how, i, p.ID, p.Shortened, want[i])
			}
		}
		if listed < 12 {
			t.Errorf("%s: only %d shortenings", how, listed)
		}
	}
}
