package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"home.lab/event-store/ledger"
)

// committed waits for id's commit: false when that takes longer than the time-out, or the ledger stopped before it. A
// reset of the stream fails it: id may become another event's, or nobody's.
func (a *API) committed(r *http.Request, id ledger.ID, reset <-chan struct{}) (bool, error) {
	ctx, cancel := context.WithTimeout(r.Context(), a.commitTimeout)
	defer cancel()
	err := a.wait(ctx, id, reset)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, ledger.ErrStopped):
		return false, nil // it is in the stream: an error would invite a duplicate
	case errors.Is(err, errReset):
		return false, notOwn(id)
	}
	return false, fmt.Errorf("waiting for the commit of %s: %w", id, err)
}

var errReset = errors.New("the stream was reset")

// wait is the ledger's Wait that ends with errReset when reset is closed before the commit.
func (a *API) wait(ctx context.Context, id ledger.ID, reset <-chan struct{}) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-reset:
			cancel(errReset)
		case <-ctx.Done():
		}
	}()
	err := a.ledger.Wait(ctx, id)
	switch {
	case !errors.Is(err, context.Canceled):
		return err
	case a.ledger.Head().ID >= id:
		return nil // committed in the moment of the reset
	}
	return context.Cause(ctx)
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
