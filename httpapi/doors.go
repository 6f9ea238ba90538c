package httpapi

import (
	"slices"
	"sync"

	"home.lab/event-store/ledger"
)

// doors knows which events came in by HTTP, and which of publishers' categories are the store's own. The chain does not
// tell doors apart: what is left came by NATS. An event counts once it is committed, so that the rest is never too small.
type doors struct {
	mu      sync.Mutex
	counts  map[door]int64 // committed
	waiting []arrival      // published, not seen committed yet; about in order of id
	counted int            // of waiting: the first, which are in counts by now
}

// A door is a way in, for one category.
type door struct{ name, category string }

const (
	doorHTTP  = "http"
	doorStore = "store"
)

// An arrival is what came in at once, of one category.
type arrival struct {
	last ledger.ID
	door
	n int64
}

// came notes the drafts of one request, whose last has the id last.
func (d *doors) came(head, last ledger.ID, drafts ...ledger.Draft) {
	if len(drafts) == 1 {
		d.add(head, arrival{last, door{doorHTTP, drafts[0].Category()}, 1})
		return
	}
	counts := map[string]int64{}
	for _, draft := range drafts {
		counts[draft.Category()]++
	}
	for category, n := range counts {
		d.add(head, arrival{last, door{doorHTTP, category}, n})
	}
}

func (d *doors) add(head ledger.ID, a arrival) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, a)
	d.settle(head)
}

// settle counts what is committed now. What is counted is removed when it is as much as what waits: with each arrival it
// would move all that wait, and they may be many where the ledger is behind.
func (d *doors) settle(head ledger.ID) {
	for ; d.counted < len(d.waiting) && d.waiting[d.counted].last <= head; d.counted++ {
		a := d.waiting[d.counted]
		d.counts[a.door] += a.n
	}
	if 2*d.counted >= len(d.waiting) {
		d.waiting, d.counted = slices.Delete(d.waiting, 0, d.counted), 0
	}
}

// by gives how many committed events of a category came in by a door.
func (d *doors) by(head ledger.ID, name, category string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(head)
	return d.counts[door{name, category}]
}
