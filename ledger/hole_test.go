package ledger

import (
	"context"
	"errors"
	"testing"
)

// A hole that the next start could not read is not chained: it would be chained
// once more then.
func TestAHoleBeyondAllMeasureStops(t *testing.T) {
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, DefaultConfig())}
	f.own()
	f.logins(3)
	head := f.l.Head()
	for range 2 {
		m := login(uint64(head.ID) + maxIDs + 2)
		if err := f.l.Project(context.Background(), []Message{m}); !errors.Is(err, errNeeds) || f.l.Err() == nil {
			t.Errorf("projected: %v, the ledger says %v", err, f.l.Err())
		}
		closeLedger(t, f.l)
		f.l = open(t, dir, DefaultConfig())
		if f.l.Head() != head {
			t.Errorf("head %v, want %v", f.l.Head(), head)
		}
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
