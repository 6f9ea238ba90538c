package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// maxSources bounds what is remembered of those who try.
const maxSources = 20

// A source is where refused logins came from.
type source struct{ door, address, reason string }

// counted are refused logins since a time.
type counted struct {
	count   int64
	since   time.Time
	sources map[source]int64
	more    int64 // refused logins from other sources than these
}

// refusals count refused logins until they are taken.
type refusals struct {
	mu   sync.Mutex
	now  counted
	some chan struct{} // capacity 1: there is something to take
}

func newRefusals() refusals { return refusals{some: make(chan struct{}, 1)} }

func (r *refusals) add(door, address, reason string) {
	r.giveBack(counted{count: 1, since: time.Now(), sources: map[source]int64{{door, address, reason}: 1}})
}

// giveBack adds what was counted.
func (r *refusals) giveBack(c counted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.now.count == 0 || c.since.Before(r.now.since) {
		r.now.since = c.since
	}
	if r.now.sources == nil {
		r.now.sources = map[source]int64{}
	}
	r.now.count += c.count
	r.now.more += c.more
	for s, n := range c.sources {
		if _, known := r.now.sources[s]; !known && len(r.now.sources) == maxSources {
			r.now.more += n
			continue
		}
		r.now.sources[s] += n
	}
	select {
	case r.some <- struct{}{}:
	default:
	}
}

func (r *refusals) take() counted {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.now
	r.now = counted{}
	return c
}

func (r *refusals) none() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now.count == 0
}

// details are what the chain says of them.
func (c counted) details() map[string]any {
	sources := []any{}
	for _, s := range c.ordered() {
		sources = append(sources, map[string]any{"door": s.door, "address": s.address, "reason": s.reason, "count": c.sources[s]})
	}
	return map[string]any{"count": c.count, "since": c.since.UTC().Format(time.RFC3339), "sources": sources, "from_elsewhere": c.more}
}

// log is what the log says of them.
func (c counted) log() string {
	var parts []string
	for _, s := range c.ordered() {
		parts = append(parts, fmt.Sprintf("%s %s: %d, %s", s.door, s.address, c.sources[s], s.reason))
	}
	return strings.Join(parts, "; ")
}

// ordered are the sources, the busiest first.
func (c counted) ordered() []source {
	return slices.SortedFunc(maps.Keys(c.sources), func(a, b source) int {
		return cmp.Or(cmp.Compare(c.sources[b], c.sources[a]), cmp.Compare(a.address, b.address), cmp.Compare(a.door, b.door), cmp.Compare(a.reason, b.reason))
	})
}
