package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"home.lab/event-store/httpapi"
	"home.lab/event-store/ingest"
	"home.lab/event-store/ledger"
)

const (
	gatherRefusals = time.Second      // after the first one, so that a burst is one event
	refusalsFirst  = time.Minute      // until the next event about them, doubled ...
	refusalsLast   = 10 * time.Minute // ... up to this while there are more
	tellTimeout    = 10 * time.Second
	tellWithin     = time.Hour   // of the event's timestamp: what is signed further from it the ledger rejects
	farewell       = time.Second // for what is still to be told when the store stops
)

// A teller has the chain say what happens to the store itself: refused logins, clean-ups by hand, changed settings.
type teller struct {
	log      *slog.Logger
	ledger   *ledger.Ledger
	in       *ingest.Ingest // set before run and the API begin; refusals are counted before that
	refusals refusals
}

func newTeller(l *ledger.Ledger, log *slog.Logger) *teller {
	return &teller{log: log, ledger: l, refusals: newRefusals()}
}

// run tells of refused logins until ctx ends: soon after the first, and then the rarer the longer it goes on.
func (t *teller) run(ctx context.Context) error {
	wait := refusalsFirst
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.refusals.some:
		}
		pause(ctx, gatherRefusals)
		t.tellRefusals(ctx)
		pause(ctx, wait)
		wait = longer(wait, t.refusals.none())
	}
}

// longer is how long the next wait is behind one in which nothing, or something, was refused.
func longer(wait time.Duration, quiet bool) time.Duration {
	if quiet {
		return refusalsFirst
	}
	return min(2*wait, refusalsLast)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// stop tells what is still to be told; the consumer must run yet.
func (t *teller) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if !t.refusals.none() {
		t.tellRefusals(ctx)
	}
}

// tellRefusals logs and tells what was counted; what could not be told is counted on.
func (t *teller) tellRefusals(ctx context.Context) {
	counted := t.refusals.take()
	if counted.count == 0 {
		return
	}
	t.log.Warn("logins refused", "count", counted.count, "since", counted.since.UTC(), "sources", counted.log())
	if err := t.tell(ctx, ledger.ActionRefused, counted.details()); err != nil {
		t.log.Warn("refused logins not told", "error", err)
		if !final(err) {
			t.refusals.giveBack(counted)
		}
	}
}

// refusedRequest and refusedLogin are called at the two doors.
func (t *teller) refusedRequest(r httpapi.RefusedLogin) { t.refusals.add("http", r.Address, r.Reason) }
func (t *teller) refusedLogin(address string) {
	t.refusals.add("nats", address, "the credentials are not known")
}

// cleanup tells of a clean-up by hand, before it begins.
func (t *teller) cleanup(ctx context.Context, by httpapi.Caller) error {
	return t.tell(ctx, ledger.ActionCleanup, map[string]any{"token": by.Token, "address": by.Address})
}

// tellUntilDone is false when ctx ended before it was told. What cannot be told is done, too.
func (t *teller) tellUntilDone(ctx context.Context, action string, details map[string]any) bool {
	var id ledger.ID
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := t.tellOnce(ctx, &id, action, details)
		if err == nil || final(err) {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.log.Warn("not told yet, trying again", "action", action, "error", err)
		pause(ctx, wait)
	}
}

// Errors of telling that no repetition will change.
var (
	errCannotSign = errors.New("this replica has no private key")
	errApart      = errors.New("the local clock and the newest event are more than an hour apart")
)

func final(err error) bool { return errors.Is(err, errCannotSign) || errors.Is(err, errApart) }

// tell has one thing chained, and returns when it is committed.
func (t *teller) tell(ctx context.Context, action string, details map[string]any) error {
	return t.tellOnce(ctx, new(ledger.ID), action, details)
}

// tellOnce is tell for who tries again: what was published, under id, is only
// waited for.
func (t *teller) tellOnce(ctx context.Context, id *ledger.ID, action string, details map[string]any) error {
	ctx, cancel := context.WithTimeout(ctx, tellTimeout)
	defer cancel()
	if !t.ledger.Signs() {
		return errCannotSign
	}
	if time.Until(t.ledger.Head().Timestamp) > tellWithin { // the next event is not before it
		return fmt.Errorf("telling %s: %w", action, errApart)
	}
	if *id == 0 {
		m, err := t.ledger.Testify(action, details)
		if err == nil {
			*id, err = t.in.PublishOwn(ctx, m)
		}
		if err != nil {
			return fmt.Errorf("telling %s: %w", action, err)
		}
	}
	if err := t.ledger.Wait(ctx, *id); err != nil {
		return fmt.Errorf("telling %s: %w", action, err)
	}
	if line, err := t.ledger.Get(*id); err == nil && !bytes.Contains(line, []byte(`"action":"`+action+`"`)) {
		return fmt.Errorf("telling %s: %w", action, errApart)
	}
	return nil
}
