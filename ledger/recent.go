package ledger

import "sync"

// A recent keeps what was used last, up to about limit bytes. It has two
// generations: what is used moves into the young one, and when that is half
// full it becomes the old one, whose rest is forgotten.
type recent[K comparable, V any] struct {
	limit int

	mu         sync.Mutex
	young, old map[K]sized[V]
	bytes      int // of the young
}

type sized[V any] struct {
	value V
	bytes int
}

func newRecent[K comparable, V any](limit int) *recent[K, V] {
	return &recent[K, V]{limit: limit, young: map[K]sized[V]{}}
}

func (r *recent[K, V]) get(k K) (V, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.young[k]; ok {
		return e.value, true
	}
	e, ok := r.old[k]
	if ok {
		r.put(k, e)
	}
	return e.value, ok
}

// add keeps a value that takes so many bytes with its key.
func (r *recent[K, V]) add(k K, v V, bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.young[k]; !ok {
		r.put(k, sized[V]{v, bytes})
	}
}

func (r *recent[K, V]) put(k K, e sized[V]) {
	if r.bytes > r.limit/2 {
		r.young, r.old, r.bytes = map[K]sized[V]{}, r.young, 0
	}
	r.young[k] = e
	r.bytes += e.bytes
}

// clear forgets all.
func (r *recent[K, V]) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.young, r.old, r.bytes = map[K]sized[V]{}, nil, 0
}
