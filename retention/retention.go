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
	"slices"
	"sync"
	"time"

	"home.lab/event-store/ledger"
)

// ErrRejected says that the ledger did not believe a decision: the stream's
// clock is behind this machine's.
var ErrRejected = errors.New("the decision was rejected")

const (
	patience      = 20 * time.Second // for the pass under way, and for a decision to be chained
	progressEvery = 10 * time.Second
	failedEvery   = time.Minute      // else an outage of a moment would cost a day
	fullEvery     = 10 * time.Second // between two passes on a full disk
)

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
	turn   chan struct{} // holds one
}

// A Report says what a pass aged out, or would age out (DryRun).
type Report struct {
	DryRun        bool            `json:"dry_run"`
	Decisions     []string        `json:"decisions"` // ids of the events_aged_out events
	AgedOut       int64           `json:"aged_out_events"`
	BytesFreed    int64           `json:"bytes_freed"` // on disk: the sum of Segments
	ByCategory    ByCategory      `json:"categories"`
	Cells         []ledger.Cell   `json:"cells"`
	Segments      []ledger.Saving `json:"segments"`
	Pending       []ledger.Cell   `json:"pending"` // decided, and still in the files
	PendingReason string          `json:"pending_reason,omitempty"`
	DurationMS    int64           `json:"duration_ms"`
	TotalBytes    int64           `json:"total_size_bytes"` // afterwards
	TotalEvents   int64           `json:"total_events"`     // afterwards
	AgedOutTotal  int64           `json:"aged_out_events_total"`
}

// ByCategory counts events.
type ByCategory map[string]int64

// New gives a keeper that runs a pass every so often.
func New(l *ledger.Ledger, s Stream, every time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{ledger: l, stream: s, every: every, log: log, turn: make(chan struct{}, 1)}
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
		case <-k.ledger.Filled():
			k.log.Warn("the disk is full, ageing out now")
		}
		_, err := k.Pass(ctx)
		failed := err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrFollows)
		if failed {
			k.log.Error("retention pass failed", "err", err)
		}
		timer.Reset(k.next(failed))
	}
}

// next is when the next pass is due: soon after one that failed, sooner while
// the disk is full.
func (k *Keeper) next(failed bool) time.Duration {
	switch {
	case k.ledger.Full():
		return min(k.every, fullEvery)
	case failed:
		return min(k.every, failedEvery)
	}
	return k.every
}

// Preview says what a pass would age out now and give back. It does the work of
// a pass but for the writing.
func (k *Keeper) Preview(ctx context.Context) (*Report, error) {
	if err := k.begin(ctx); err != nil {
		return nil, err
	}
	defer k.end()
	began := time.Now()
	due := k.ledger.Due(began)
	savings, err := k.ledger.Preview(ctx, due, k.progress())
	if err != nil {
		return nil, fmt.Errorf("working out what a pass would give back: %w", err)
	}
	r := k.report(due, savings, began)
	r.DryRun = true
	return r, nil
}

// progress logs how far a preview is, now and then.
func (k *Keeper) progress() func(done, total int) {
	var mu sync.Mutex
	last := time.Now()
	return func(done, total int) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) > progressEvery {
			last = time.Now()
			k.log.Info("retention preview", "segments_done", done, "segments", total)
		}
	}
}

// begin waits for the pass under way, for a while.
func (k *Keeper) begin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a retention pass is under way: %w", ctx.Err())
	}
}

func (k *Keeper) end() { <-k.turn }

func (k *Keeper) report(cells []ledger.Cell, savings []ledger.Saving, began time.Time) *Report {
	r := &Report{Decisions: []string{}, ByCategory: ByCategory{}, Cells: orNone(cells), Segments: savings}
	for _, c := range cells {
		r.AgedOut += c.Count
		r.ByCategory[c.Category] += c.Count
	}
	for _, s := range savings {
		r.BytesFreed += s.Before - s.After
	}
	pending, why := k.ledger.Pending()
	r.Pending, r.PendingReason = orNone(pending), why
	s := k.ledger.Status()
	r.TotalBytes, r.TotalEvents, r.AgedOutTotal = s.TotalSizeBytes, s.TotalEvents, s.AgedOutEvents
	r.DurationMS = time.Since(began).Milliseconds()
	return r
}

// orNone makes an empty list of nil, which JSON would call null.
func orNone(cells []ledger.Cell) []ledger.Cell {
	if cells == nil {
		return []ledger.Cell{}
	}
	return cells
}

// Pass ages out what is due now: first the decision is chained, then the files
// are rewritten, also those of an earlier pass that died or had to wait. Where
// the files have to wait, the report says what is pending.
func (k *Keeper) Pass(ctx context.Context) (*Report, error) {
	if err := k.begin(ctx); err != nil {
		return nil, err
	}
	defer k.end()
	began := time.Now()
	due := k.ledger.Due(began)
	earlier, _ := k.ledger.Pending()
	cells := slices.Concat(earlier, due)
	sizes := k.ledger.Sizes(cells)
	ids, err := k.decideAll(ctx, due)
	if errors.Is(err, ErrRejected) { // what is due by the stream's clock is less
		due = k.ledger.Due(k.ledger.Head().Timestamp)
		ids, err = k.decideAll(ctx, due)
	}
	if err != nil {
		return nil, err
	}
	err = k.ledger.Rewritten(ctx, k.ledger.Head().ID)
	if err != nil && !errors.Is(err, ledger.ErrPending) {
		return nil, fmt.Errorf("waiting for the files to be rewritten: %w", err)
	}
	for i, s := range k.ledger.Sizes(cells) {
		sizes[i].After = s.After
	}
	r := k.report(due, sizes, began)
	r.Decisions = append(r.Decisions, ids...)
	if len(sizes) > 0 {
		k.log.Info("retention pass", "aged_out_events", r.AgedOut, "cells", len(due), "bytes_freed", r.BytesFreed, "pending_cells", len(r.Pending))
	}
	return r, nil
}

// decideAll has all cells decided and gives the ids of the decisions.
func (k *Keeper) decideAll(ctx context.Context, cells []ledger.Cell) (ids []string, err error) {
	for len(cells) > 0 {
		id, n, err := k.decide(ctx, cells)
		if err != nil {
			return nil, err
		}
		cells, ids = cells[n:], append(ids, id.String())
	}
	return ids, nil
}

// decide has one decision chained and gives its id and how many cells it covers.
func (k *Keeper) decide(ctx context.Context, cells []ledger.Cell) (ledger.ID, int, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
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
