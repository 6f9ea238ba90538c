package ingest

import (
	"context"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// queue holds what the reader has and the projection has not taken yet: at
// most one batch, so that a slow disk stops the reader.
type queue struct {
	mu      sync.Mutex
	msgs    []ledger.Message
	bytes   int
	pending uint64 // after the last of msgs
	err     error
	ready   chan struct{} // capacity 1: something is there
	room    chan struct{} // capacity 1: something was taken
}

func newQueue() *queue {
	return &queue{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// fill reads until the iterator or ctx ends.
func (q *queue) fill(ctx context.Context, it jetstream.MessagesContext) {
	for {
		m, pending, err := next(ctx, it)
		if err != nil {
			q.mu.Lock()
			q.err = fmt.Errorf("reading the stream: %w", err)
			q.mu.Unlock()
			notify(q.ready)
			return
		}
		for !q.put(m, pending) {
			select {
			case <-q.room:
			case <-ctx.Done():
				return
			}
		}
		notify(q.ready)
	}
}

// put reports whether there was room for m.
func (q *queue) put(m ledger.Message, pending uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.msgs) >= batchMessages || q.bytes >= batchBytes {
		return false
	}
	q.msgs = append(q.msgs, m)
	q.bytes += len(m.Data)
	q.pending = pending
	return true
}

func (q *queue) take() ([]ledger.Message, uint64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs := q.msgs
	q.msgs, q.bytes = nil, 0
	notify(q.room)
	return msgs, q.pending, q.err
}
