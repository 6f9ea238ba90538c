package ingest

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// A Sent is a message on its way: published, to be acknowledged by the stream,
// to be committed.
type Sent struct {
	i      *Ingest
	reply  string        // the subject of its acknowledgement
	before ledger.ID     // projected when it was published
	wake   chan struct{} // closed once: when it is acknowledged, or not before it is committed

	// Under the lock of acks.
	commit bool // wake at the commit
	acked  bool
	ack    jetstream.PubAck
	err    error // it is not acknowledged
}

// acks are the messages that the stream has not acknowledged yet. One
// subscription hears all acknowledgements and registers at once who waits for
// the commit: a request for each would wake him twice.
type acks struct {
	inbox string // reply subjects are this and a number

	mu   sync.Mutex
	last uint64
	open map[string]*Sent // by reply subject
}

// hearAcks begins to hear acknowledgements, until the connection ends.
func (i *Ingest) hearAcks() error {
	i.acks.inbox, i.acks.open = i.nc.NewInbox()+".", map[string]*Sent{}
	_, err := i.nc.Subscribe(i.acks.inbox+"*", i.hearAck)
	return err
}

// send publishes m once and does not wait.
func (i *Ingest) send(m *nats.Msg) *Sent {
	s := i.awaitAck()
	m.Reply = s.reply
	if err := i.nc.PublishMsg(m); err != nil {
		i.answered(s.reply, jetstream.PubAck{}, unavailable(err, true))
	}
	return s
}

// refused is a message that was not published.
func (i *Ingest) refused(err error) *Sent {
	s := &Sent{i: i, wake: make(chan struct{}), acked: true, err: err}
	close(s.wake)
	return s
}

// awaitAck begins to await the acknowledgement of a message.
func (i *Ingest) awaitAck() *Sent {
	s := &Sent{i: i, before: i.led.Projected(), wake: make(chan struct{})}
	i.acks.mu.Lock()
	defer i.acks.mu.Unlock()
	i.acks.last++
	s.reply = i.acks.inbox + strconv.FormatUint(i.acks.last, 36)
	i.acks.open[s.reply] = s
	return s
}

// hearAck takes the answer to one message. What comes after its time-out is
// nobody's.
func (i *Ingest) hearAck(m *nats.Msg) {
	ack, err := i.readAck(m)
	i.answered(m.Subject, ack, err)
}

func (i *Ingest) readAck(m *nats.Msg) (jetstream.PubAck, error) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		return jetstream.PubAck{}, unavailable(nats.ErrNoResponders, true)
	}
	ack, err := i.pubAck(m.Data)
	switch {
	case err != nil:
		return ack, unavailable(err, true)
	case ack.Stream != i.o.Stream:
		return ack, fmt.Errorf("%w: stream %s took it", ledger.ErrUnavailable, ack.Stream)
	}
	return ack, nil
}

// answered notes the answer to a message, and wakes who waits for it or has the
// ledger wake him.
func (i *Ingest) answered(reply string, ack jetstream.PubAck, err error) {
	i.acks.mu.Lock()
	defer i.acks.mu.Unlock()
	s := i.acks.open[reply]
	if s == nil {
		return
	}
	delete(i.acks.open, reply)
	s.acked, s.ack, s.err = true, ack, err
	if err == nil {
		i.acknowledged(ack.Sequence)
	}
	if s.commit && err == nil {
		i.led.Tell(ledger.ID(ack.Sequence), s.wake)
		return
	}
	close(s.wake)
}

// Committed gives a channel that is closed when the message is acknowledged and
// committed, or will not be as things are. It may be closed before the commit.
func (s *Sent) Committed() <-chan struct{} {
	s.i.acks.mu.Lock()
	defer s.i.acks.mu.Unlock()
	s.commit = true
	return s.wake
}

// Ack waits for the acknowledgement, not beyond a time, and gives the id that
// the stream gave; duplicate says that the idempotency key was known and the id
// is the first event's. An error that Is ledger.ErrUnavailable says whether the
// event may have got into the stream.
func (s *Sent) Ack(until time.Time) (id ledger.ID, duplicate bool, err error) {
	if s.settled() {
		return s.id(context.Background())
	}
	ctx, cancel := context.WithDeadline(context.Background(), until)
	defer cancel()
	return s.id(ctx)
}

func (s *Sent) id(ctx context.Context) (id ledger.ID, duplicate bool, err error) {
	ack, err := s.wait(ctx)
	if err != nil {
		return 0, false, err
	}
	if !ack.Duplicate && ledger.ID(ack.Sequence) <= s.before {
		return 0, false, s.i.repeated(ack.Sequence)
	}
	return ledger.ID(ack.Sequence), ack.Duplicate, nil
}

// wait returns the acknowledgement, or gives it up when ctx ends.
func (s *Sent) wait(ctx context.Context) (jetstream.PubAck, error) {
	if !s.settled() {
		select {
		case <-s.wake:
		case <-ctx.Done():
			s.i.answered(s.reply, jetstream.PubAck{}, unavailable(ctx.Err(), true))
		}
	}
	return s.ack, s.err
}

// settled says whether the answer is there. From now on nobody waits for the
// commit here: if the answer is not there, who waits is woken by it.
func (s *Sent) settled() bool {
	s.i.acks.mu.Lock()
	defer s.i.acks.mu.Unlock()
	if s.commit && s.acked && s.err == nil {
		select {
		case <-s.wake:
		default:
			s.i.led.Leave(s.wake)
		}
	}
	s.commit = false
	return s.acked
}
