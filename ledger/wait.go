package ledger

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// A wait is somebody's for the commit of one id.
type wait struct {
	id   ID
	done chan struct{} // closed when it is committed, or the ledger failed
}

// Wait returns nil as soon as the id is committed: written and fsynced.
func (l *Ledger) Wait(ctx context.Context, id ID) error {
	for {
		done, err := l.Await(id)
		if done == nil {
			return err
		}
		select {
		case <-done:
		case <-ctx.Done():
			l.Leave(done)
			return ctx.Err()
		}
	}
}

// Await is Wait for who waits for other things too. It gives a channel that is
// closed when the id is committed or the ledger stopped before that: then it is
// to be called again. A nil channel: there is nothing to wait for, and err says
// what Wait would. Who does not wait until then has to Leave.
func (l *Ledger) Await(id ID) (done <-chan struct{}, err error) {
	l.state.Lock()
	defer l.state.Unlock()
	if l.view.Load().head.ID >= id {
		return nil, nil
	}
	if err := l.err; err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStopped, err)
	}
	w := wait{id, make(chan struct{})}
	l.waits = append(l.waits, w)
	return w.done, nil
}

// Tell closes done when Await's channel would be: for somebody who waits already.
func (l *Ledger) Tell(id ID, done chan struct{}) {
	l.state.Lock()
	defer l.state.Unlock()
	if l.view.Load().head.ID >= id || l.err != nil {
		close(done)
		return
	}
	l.waits = append(l.waits, wait{id, done})
}

// Leave gives up a wait of Await or Tell: else it would stay until its id is
// committed, which may be never.
func (l *Ledger) Leave(done <-chan struct{}) {
	l.state.Lock()
	defer l.state.Unlock()
	l.waits = slices.DeleteFunc(l.waits, func(w wait) bool { return w.done == done })
}

// Stalled is for how long the commit under way has been; 0 when none is. A disk
// that does not answer gives no error.
func (l *Ledger) Stalled() time.Duration {
	began := l.committing.Load()
	if began == 0 {
		return 0
	}
	return time.Since(time.Unix(0, began))
}

// Waiting is how many wait for a commit.
func (l *Ledger) Waiting() int {
	l.state.Lock()
	defer l.state.Unlock()
	return len(l.waits)
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
