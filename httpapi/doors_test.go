package httpapi

import (
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

// behind is doors with n events that came in and are not committed.
func behind(n int) *doors {
	d := &doors{counts: map[door]int64{}}
	for id := range ledger.ID(n) {
		d.add(0, arrival{id + 1, door{doorHTTP, "user"}, 1})
	}
	return d
}

// Counting what came in costs the same however far the ledger is behind.
func TestCountingUnderALongLagIsNotQuadratic(t *testing.T) {
	t.Parallel()
	took := func(n int) time.Duration {
		d := behind(n)
		began := time.Now()
		for id := range ledger.ID(n) {
			d.add(id+1, arrival{id + ledger.ID(n) + 1, door{doorHTTP, "user"}, 1})
		}
		least := time.Since(began) / time.Duration(n)
		if got := d.by(ledger.ID(2*n), doorHTTP, "user"); got != int64(2*n) {
			t.Errorf("%d of %d are counted", got, 2*n)
		}
		if len(d.waiting) != 0 {
			t.Errorf("%d still wait", len(d.waiting))
		}
		return least
	}
	few, many := took(1000), took(100_000)
	t.Logf("%v each, far behind %v", few, many)
	if many > 20*few+2*time.Microsecond {
		t.Errorf("%v each, far behind %v", few, many)
	}
}
