package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"home.lab/event-store/ledger"
)

// timers are stopped ones that appends waited with.
var timers = sync.Pool{New: func() any { return time.NewTimer(0) }}

// settle waits until sent is acknowledged and committed, or for as long as it makes sense: the usual append sleeps here
// once for both.
func settle(r *http.Request, sent Sent, reset <-chan struct{}, until time.Time) {
	due := timers.Get().(*time.Timer)
	due.Reset(time.Until(until))
	defer func() {
		due.Stop()
		timers.Put(due)
	}()
	select {
	case <-sent.Committed():
	case <-due.C:
	case <-reset:
	case <-r.Context().Done():
	}
}

// committed waits for id's commit: false when that takes longer than until, or the ledger stopped before it. A reset of
// the stream fails it: id may become another event's, or nobody's.
func (a *API) committed(r *http.Request, id ledger.ID, reset <-chan struct{}, until time.Time) (bool, error) {
	if a.ledger.Head().ID >= id {
		return true, nil
	}
	due := time.NewTimer(time.Until(until))
	defer due.Stop()
	for {
		done, err := a.ledger.Await(id)
		if done == nil {
			return err == nil, nil // a stopped ledger is no error: it is in the stream, and an error would invite a duplicate
		}
		select {
		case <-done:
		case <-due.C:
			a.ledger.Leave(done)
			return false, nil
		case <-reset:
			a.ledger.Leave(done)
			if a.ledger.Head().ID >= id {
				return true, nil // committed in the moment of the reset
			}
			return false, notOwn(id)
		case <-r.Context().Done():
			a.ledger.Leave(done)
			return false, fmt.Errorf("waiting for the commit of %s: %w", id, r.Context().Err())
		}
	}
}

// own gives the line of a committed event, and an error (with the line) when it is not draft: a stream that was reset
// unnoticed gives an id twice.
func (a *API) own(id ledger.ID, draft ledger.Draft) ([]byte, error) {
	line, err := a.ledger.Get(id)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, notOwn(id)
	case err != nil:
		return nil, err
	case !draft.Same(line):
		return line, notOwn(id)
	}
	return line, nil
}

func notOwn(id ledger.ID) error {
	return newProblem(http.StatusServiceUnavailable, "the stream was reset: %s is not this event's id for certain; "+
		"if the event is not lost it comes under another one: look before sending it again", id)
}
