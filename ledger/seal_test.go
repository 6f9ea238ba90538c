package ledger

import (
	"context"
	"testing"
	"time"
)

func TestTheSealerGivesWayToABurstOnly(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), Config{})
	defer l.Close()
	const worked = 10 * time.Millisecond
	if got := l.restAfter(worked); got != 0 {
		t.Errorf("it rests %s while nothing comes in", got)
	}
	l.burst.Store(time.Now().Add(time.Hour).UnixNano()) // lasts, however slow the machine is
	if got := l.restAfter(worked); got != restFor*worked {
		t.Errorf("it rests %s in a burst", got)
	}
	if got := l.restAfter(time.Hour); got != longestRest {
		t.Errorf("it rests %s", got)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	l.giveWay(ended, time.Hour) // must not outlive the ledger
	v := *l.view.Load()
	for range mayWait + 1 {
		v.segs = append(v.segs, &segment{})
	}
	l.view.Store(&v)
	if got := l.restAfter(worked); got != 0 {
		t.Errorf("it rests %s while ended segments pile up", got)
	}
	v.segs = nil
	l.view.Store(&v)
}
