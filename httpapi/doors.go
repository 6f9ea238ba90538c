package httpapi

import (
	"sync"

	"home.lab/event-store/ledger"
)

// doors knows which events came in by HTTP. The chain does not say it: what is left, apart from the store's own, came by
// NATS. An event counts once it is committed, so that the rest is never too small.
type doors struct {
	mu      sync.Mutex
	http    map[string]int64 // committed, by category
	waiting []arrival        // published, not seen committed yet; about in order of id
}

// An arrival is what one request published.
type arrival struct {
	last   ledger.ID
	counts map[string]int64 // by category
}

// came notes the drafts of one request, whose last has the id last.
func (d *doors) came(head, last ledger.ID, drafts ...ledger.Draft) {
	counts := make(map[string]int64, 1)
	for _, draft := range drafts {
		counts[draft.Category()]++
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.waiting = append(d.waiting, arrival{last, counts})
	d.settle(head)
}

// settle counts what is committed now.
func (d *doors) settle(head ledger.ID) {
	for len(d.waiting) > 0 && d.waiting[0].last <= head {
		for category, n := range d.waiting[0].counts {
			d.http[category] += n
		}
		d.waiting = d.waiting[1:]
	}
}

// byHTTP gives how many committed events of a category came in by HTTP.
func (d *doors) byHTTP(head ledger.ID, category string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.settle(head)
	return d.http[category]
}
