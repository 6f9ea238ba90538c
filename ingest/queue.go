package ingest

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// queue holds what a consumer delivered and nobody has taken yet: at most one
// batch, so that a slow disk stops the consumer.
type queue struct {
	mu        sync.Mutex
	msgs      []ledger.Message
	bytes     int
	pending   uint64 // after the last of msgs
	consumer  string // how the reply subjects of its messages begin
	keyed     *keyed
	err       error         // why nothing comes any more
	ready     chan struct{} // capacity 1: something is there
	room      chan struct{} // capacity 1: something was taken
	consuming jetstream.ConsumeContext
	opened    jetstream.Consumer
}

// follow opens an ordered consumer that begins at the sequence first. What it
// delivers is in the queue until ctx ends; then the queue is to be stopped.
func (i *Ingest) follow(ctx context.Context, first uint64) (*queue, error) {
	sctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	c, err := i.js.OrderedConsumer(sctx, i.o.Stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:   first,
		// A consumer that is made again ends the queue, so that stream and ledger
		// are compared before the next.
		MaxResetAttempts: 1,
	})
	if err != nil {
		return nil, fmt.Errorf("opening a consumer on stream %s: %w", i.o.Stream, err)
	}
	q := &queue{ready: make(chan struct{}, 1), room: make(chan struct{}, 1), opened: c, keyed: &i.keyed}
	q.consuming, err = c.Consume(func(m jetstream.Msg) { q.receive(ctx, m) },
		jetstream.PullMaxMessagesWithBytesLimit(batchMessages, pullBytes),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) { q.end(err) }))
	if err != nil {
		return nil, fmt.Errorf("opening a consumer on stream %s: %w", i.o.Stream, err)
	}
	return q, nil
}

func (q *queue) stop() { q.consuming.Stop() }

// drained asks the server whether the consumer has nothing for who took so many
// messages: what it was to deliver may have been purged since.
func (q *queue) drained(ctx context.Context, taken uint64) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	info, err := q.opened.Info(ctx)
	if err != nil {
		return false, fmt.Errorf("asking for the consumer: %w", err)
	}
	return info.NumPending == 0 && info.Delivered.Consumer == taken, nil
}

// receive waits until there is room for a message.
func (q *queue) receive(ctx context.Context, m jetstream.Msg) {
	for !q.put(m) {
		select {
		case <-q.room:
		case <-ctx.Done():
			q.end(ctx.Err())
		}
	}
	notify(q.ready)
}

// put reports whether the message is dealt with: it is in the queue, or the
// queue has ended. A hole that the consumer made must not look like one of the
// stream's, so behind one message that is not taken there is none.
func (q *queue) put(msg jetstream.Msg) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return true
	}
	if len(q.msgs) >= batchMessages || q.bytes >= batchBytes {
		return false
	}
	m, pending, err := q.read(msg)
	if err != nil {
		q.err = err
		return true
	}
	if h := msg.Headers(); h != nil && h.Get(jetstream.MsgIDHeader) != "" {
		q.keyed.note(m.Seq, m.Time)
	}
	q.msgs = append(q.msgs, m)
	q.bytes += len(m.Data)
	q.pending = pending
	return true
}

// end lets nothing more in. Who takes gets what is there, and err.
func (q *queue) end(err error) {
	q.mu.Lock()
	if q.err == nil {
		q.err = fmt.Errorf("reading the stream: %w", err)
	}
	q.mu.Unlock()
	notify(q.ready)
}

func (q *queue) take() ([]ledger.Message, uint64, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	msgs := q.msgs
	q.msgs, q.bytes = nil, 0
	notify(q.room)
	return msgs, q.pending, q.err
}

// read gives a message as the ledger takes it, and how many the stream has
// behind it. The reply subject says where it stands: behind the consumer's name
// the times it was delivered, its sequences in the stream and in the consumer,
// its time and the number of those that follow.
func (q *queue) read(m jetstream.Msg) (ledger.Message, uint64, error) {
	if q.consumer == "" {
		meta, err := m.Metadata()
		if err != nil {
			return ledger.Message{}, 0, fmt.Errorf("message on %s: %w", m.Subject(), err)
		}
		before, _, _ := strings.Cut(m.Reply(), "."+meta.Consumer+".")
		q.consumer = before + "." + meta.Consumer + "."
	}
	place, ok := strings.CutPrefix(m.Reply(), q.consumer)
	if !ok {
		return ledger.Message{}, 0, fmt.Errorf("%w: the consumer was made again", errReset)
	}
	var n [5]uint64
	if !numbers(place, n[:]) {
		return ledger.Message{}, 0, fmt.Errorf("message on %s: malformed reply subject %q", m.Subject(), m.Reply())
	}
	return ledger.Message{Seq: n[1], Time: time.Unix(0, int64(n[3])), Subject: m.Subject(), Data: m.Data()}, n[4], nil
}

// numbers reads decimal numbers with dots between them; what follows behind
// another dot is left alone.
func numbers(text string, into []uint64) bool {
	for i := range into {
		digits := 0
		for ; digits < len(text) && text[digits]-'0' <= 9; digits++ {
			into[i] = 10*into[i] + uint64(text[digits]-'0')
		}
		if digits == 0 || digits > 19 || digits < len(text) && text[digits] != '.' {
			return false
		}
		if digits == len(text) {
			return i == len(into)-1
		}
		text = text[digits+1:]
	}
	return true
}
