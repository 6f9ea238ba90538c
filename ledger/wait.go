package ledger

import (
	"context"
	"fmt"
	"slices"
)

// A wait is somebody's for the commit of one id.
type wait struct {
	id   ID
	done chan struct{} // closed when it is committed, or the ledger failed
}

// Wait returns nil as soon as the id is committed: written and fsynced.
func (l *Ledger) Wait(ctx context.Context, id ID) error {
	for {
		l.state.Lock()
		if l.view.Load().head.ID >= id {
			l.state.Unlock()
			return nil
		}
		if err := l.err; err != nil {
			l.state.Unlock()
			return fmt.Errorf("%w: %w", ErrStopped, err)
		}
		w := wait{id, make(chan struct{})}
		l.waits = append(l.waits, w)
		l.state.Unlock()
		select {
		case <-w.done:
		case <-ctx.Done():
			return ctx.Err() // the wait is dropped when its id is committed
		}
	}
}

// waited tells whether anybody waits for a commit.
func (l *Ledger) waited() bool {
	l.state.Lock()
	defer l.state.Unlock()
	return len(l.waits) > 0
}

// release wakes those who wait for ids up to one; l.state is held. A commit
// wakes nobody else: with many callers most would have to go to sleep again.
func (l *Ledger) release(through ID) {
	l.waits = slices.DeleteFunc(l.waits, func(w wait) bool {
		if w.id <= through {
			close(w.done)
		}
		return w.id <= through
	})
}

// Notice is closed at the next commit.
func (l *Ledger) Notice() <-chan struct{} {
	l.state.Lock()
	defer l.state.Unlock()
	return l.notice
}

// Failed is closed when the ledger stopped accepting events; Err says why.
func (l *Ledger) Failed() <-chan struct{} {
	l.state.Lock()
	defer l.state.Unlock()
	return l.failed
}

// Err is why the ledger does not accept events, or nil.
func (l *Ledger) Err() error {
	l.state.Lock()
	defer l.state.Unlock()
	return l.err
}

// fail stops the ledger: waiters and Project get err.
func (l *Ledger) fail(err error) {
	l.state.Lock()
	if l.err == nil {
		l.err = err
		close(l.failed)
	}
	l.release(MaxID)
	l.state.Unlock()
	l.mu.Lock()
	l.room.Broadcast()
	l.mu.Unlock()
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
