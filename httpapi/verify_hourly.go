package httpapi

import (
	"context"
	"time"
)

const (
	verifyEvery = time.Hour
	lookEvery   = 200 * time.Millisecond // whether the stream's events are projected
)

// Run verifies the ledger at once and then every hour until ctx ends: that is where chain_valid comes from. What it finds
// before the stream's events are projected is looked at again when they are: they may bring back what the files lack. It
// returns nil, and only when no verification runs any more; those who ask later get ledger.ErrStopped.
func (a *API) Run(ctx context.Context) error {
	defer a.verifier.stop()
	tick := time.NewTicker(a.verifyEvery)
	defer tick.Stop()
	for caughtUp := false; ; {
		caughtUp = caughtUp || a.caughtUp()
		report, err := a.verifier.verify(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			a.log.Error("verification failed", "error", err)
		case report.Status != "valid":
			a.log.Error("chain broken", "error", report.Error, "findings", len(report.Findings))
		}
		if !a.due(ctx, tick.C, !caughtUp && err == nil && report.Status != "valid") {
			return nil
		}
	}
}

// due waits for the next verification's time: the hour, or when the ingest has caught up, where the last one is to be
// done again. false: ctx ended.
func (a *API) due(ctx context.Context, hour <-chan time.Time, again bool) bool {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	if !again {
		look.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case <-hour:
			return true
		case <-look.C:
			if a.caughtUp() {
				return true
			}
		}
	}
}

// caughtUp tells whether the stream was seen to hold nothing that is not projected.
func (a *API) caughtUp() bool {
	s := a.stream.StreamStatus()
	return s.Connected && s.Lag == 0
}
