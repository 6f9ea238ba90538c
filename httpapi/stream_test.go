package httpapi

import (
	"context"
	"sync"
	"time"

	"home.lab/event-store/ledger"
)

// fakeStream gives ids as a stream does and projects at once, unless held.
type fakeStream struct {
	mu     sync.Mutex
	ledger *ledger.Ledger
	seq    uint64
	keys   map[string]ledger.ID
	held   []ledger.Message // published, not projected
	hold   bool
	err    error
	status StreamStatus
	reset  chan struct{}

	first, last, differs ledger.ID // of Compare; last 0: nothing is compared
}

func (s *fakeStream) Send(d ledger.Draft, key string) Sent {
	sent := &fakeSent{ledger: s.ledger, wake: make(chan struct{})}
	if sent.id, sent.duplicate, sent.err = s.append(d, key); sent.err != nil {
		close(sent.wake)
		return sent
	}
	s.ledger.Tell(sent.id, sent.wake)
	return sent
}

func (s *fakeStream) append(d ledger.Draft, key string) (ledger.ID, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, false, s.err
	}
	if id, ok := s.keys[key]; ok && key != "" {
		return id, true, nil
	}
	id, _, err := s.publish([]ledger.Draft{d})
	s.keys[key] = id
	return id, false, err
}

// fakeSent is acknowledged at once.
type fakeSent struct {
	ledger    *ledger.Ledger
	id        ledger.ID
	duplicate bool
	err       error
	wake      chan struct{}
}

func (s *fakeSent) Committed() <-chan struct{} { return s.wake }

func (s *fakeSent) Ack(time.Time) (ledger.ID, bool, error) {
	s.ledger.Leave(s.wake)
	return s.id, s.duplicate, s.err
}

func (s *fakeStream) AppendBatch(ctx context.Context, ds []ledger.Draft) (first, last ledger.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, 0, s.err
	}
	return s.publish(ds)
}

func (s *fakeStream) publish(ds []ledger.Draft) (first, last ledger.ID, err error) {
	first = ledger.ID(s.seq + 1)
	for _, d := range ds {
		s.seq++
		s.held = append(s.held, ledger.Message{Seq: s.seq, Time: time.Now(), Subject: "events." + d.Category(), Data: d.Canonical()})
	}
	if s.hold {
		return first, ledger.ID(s.seq), nil
	}
	ms := s.held
	s.held = nil
	return first, ledger.ID(s.seq), s.ledger.Project(context.Background(), ms)
}

func (s *fakeStream) Holds(_ context.Context, id ledger.ID, d ledger.Draft) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.held {
		if m.Seq == uint64(id) {
			return s.ledger.Becomes(m, d), s.err
		}
	}
	return false, ledger.ErrUnavailable
}

func (s *fakeStream) Reset() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reset
}

func (s *fakeStream) Compare(context.Context) (first, last, differs ledger.ID, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(s.first, 1), s.last, s.differs, nil
}

func (s *fakeStream) StreamStatus() StreamStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// set changes the stream under its lock.
func (s *fakeStream) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}
