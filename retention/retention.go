// Package retention lets events age out: it decides what is due under the
// chained policies, has the decision chained through the stream, and waits
// until the files are rewritten. What may go is the ledger's to judge: every
// replica checks a decision cell by cell, and so does verification.
package retention

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"home.lab/event-store/ledger"
)

// ErrRejected says that the ledger did not believe a decision: the stream's
// clock is behind this machine's.
var ErrRejected = errors.New("the decision was rejected")

// A Stream publishes an own message and gives the id that it gets.
type Stream interface {
	PublishOwn(ctx context.Context, m ledger.OwnMessage) (ledger.ID, error)
}

// A Keeper runs passes, one at a time.
type Keeper struct {
	ledger *ledger.Ledger
	stream Stream
	every  time.Duration
	log    *slog.Logger
	turn   sync.Mutex
}

// A Report says what a pass aged out, or would age out (DryRun).
type Report struct {
	DryRun       bool          `json:"dry_run"`
	Decisions    []string      `json:"decisions"` // ids of the events_aged_out events
	AgedOut      int64         `json:"aged_out_events"`
	BytesFreed   int64         `json:"bytes_freed"` // measured; in a dry run by the cells' share of the events
	ByCategory   ByCategory    `json:"categories"`
	Cells        []ledger.Cell `json:"cells"`
	DurationMS   int64         `json:"duration_ms"`
	TotalBytes   int64         `json:"total_size_bytes"` // afterwards
	TotalEvents  int64         `json:"total_events"`     // afterwards
	AgedOutTotal int64         `json:"aged_out_events_total"`
}

// ByCategory counts events.
type ByCategory map[string]int64

// New gives a keeper that runs a pass every so often.
func New(l *ledger.Ledger, s Stream, every time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{ledger: l, stream: s, every: every, log: log}
}

// Run runs passes until ctx ends; the first after a tenth of the time between
// two, so that a store that is restarted daily ages out too.
func (k *Keeper) Run(ctx context.Context) error {
	timer := time.NewTimer(k.every / 10)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		if _, err := k.Pass(ctx); err != nil && ctx.Err() == nil {
			k.log.Error("retention pass failed", "err", err)
		}
		timer.Reset(k.every)
	}
}

// Preview says what a pass would age out now.
func (k *Keeper) Preview() *Report {
	r := k.report(k.ledger.Due(time.Now()))
	r.DryRun = true
	for _, c := range r.Cells {
		r.BytesFreed += c.Bytes
	}
	return r
}

func (k *Keeper) report(cells []ledger.Cell) *Report {
	r := &Report{Decisions: []string{}, ByCategory: ByCategory{}, Cells: cells}
	if cells == nil {
		r.Cells = []ledger.Cell{}
	}
	for _, c := range cells {
		r.AgedOut += c.Count
		r.ByCategory[c.Category] += c.Count
	}
	s := k.ledger.Status()
	r.TotalBytes, r.TotalEvents, r.AgedOutTotal = s.TotalSizeBytes, s.TotalEvents, s.AgedOutEvents
	return r
}

// Pass ages out what is due now: first the decision is chained, then the files
// are rewritten. A pass that dies in between is finished at the next start.
func (k *Keeper) Pass(ctx context.Context) (*Report, error) {
	k.turn.Lock()
	defer k.turn.Unlock()
	began, freed := time.Now(), k.ledger.Freed()
	due := k.ledger.Due(began)
	var ids []string
	var last ledger.ID
	for rest := due; len(rest) > 0; {
		id, n, err := k.decide(ctx, rest)
		if err != nil {
			return nil, err
		}
		rest, last, ids = rest[n:], id, append(ids, id.String())
	}
	if err := k.ledger.Rewritten(ctx, last); err != nil {
		return nil, fmt.Errorf("waiting for the files to be rewritten: %w", err)
	}
	r := k.report(due)
	if ids != nil {
		r.Decisions = ids
		k.log.Info("retention pass", "aged_out_events", r.AgedOut, "cells", len(due), "bytes_freed", k.ledger.Freed()-freed)
	}
	r.BytesFreed = k.ledger.Freed() - freed
	r.DurationMS = time.Since(began).Milliseconds()
	return r, nil
}

// decide has one decision chained and gives its id and how many cells it covers.
func (k *Keeper) decide(ctx context.Context, cells []ledger.Cell) (ledger.ID, int, error) {
	m, n, err := k.ledger.Decide(cells)
	if err != nil {
		return 0, 0, fmt.Errorf("deciding: %w", err)
	}
	id, err := k.stream.PublishOwn(ctx, m)
	if err != nil {
		return 0, 0, fmt.Errorf("publishing the decision: %w", err)
	}
	if err := k.ledger.Wait(ctx, id); err != nil {
		return 0, 0, fmt.Errorf("waiting for the decision %s: %w", id, err)
	}
	for _, c := range k.ledger.Due(time.Now()) {
		for _, d := range cells[:n] {
			if c.FirstID == d.FirstID && c.Category == d.Category {
				return 0, 0, fmt.Errorf("%w: event %s says why", ErrRejected, id)
			}
		}
	}
	return id, n, nil
}
