package ledger

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestTheStreamsClockGoesBack: message times jump back and forth by seconds,
// days and years, over seals and restarts. Timestamps never fall, the chain is
// sound, and every message is still recognised as its own event.
func TestTheStreamsClockGoesBack(t *testing.T) {
	for round := range *rounds {
		dir, rng := t.TempDir(), rand.New(rand.NewPCG(uint64(round), 5))
		f := &feed{t: t, at: 400 * day}
		jumps := []time.Duration{time.Second, time.Minute, 25 * time.Hour, 30 * day, 399 * day}
		for range 4 {
			f.l = open(t, dir, faultConfig())
			for range 60 {
				back := min(jumps[rng.IntN(len(jumps))], f.at)
				f.at -= back
				f.send("events.user", fmt.Appendf(nil, `{"action":"a","actor":"b","data":{"back":"%s"}}`, back))
				if rng.IntN(2) == 0 {
					f.at += back
				}
			}
			f.settleSeals()
			compare := f.l.Compare()
			for _, m := range f.log {
				if ok, err := compare.Matches(m); err != nil || !ok {
					t.Fatalf("round %d: message %d of %s is not its own event: %v", round, m.Seq, m.Time, err)
				}
			}
			if r, err := f.l.Verify(context.Background(), VerifyOptions{}); err != nil || r.Status != "valid" {
				t.Fatalf("round %d: %v %+v", round, err, r)
			}
			closeLedger(t, f.l)
		}
		mustValid(t, dir, VerifyOptions{})
	}
}
