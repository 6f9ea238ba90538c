package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"home.lab/event-store/ledger"
)

const maxVerifyBody = 1 << 20 // bytes

// verify is POST /verify. Without a body it joins the verification that runs, if any.
func (a *API) verify(w http.ResponseWriter, r *http.Request) error {
	opts, plain, err := verifyOptions(w, r)
	if err != nil {
		return err
	}
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Time{}) // it takes as long as the ledger is large
	var report *ledger.Report
	if plain {
		report, err = a.verifier.verify(r.Context())
	} else {
		report, err = a.verifier.special(r.Context(), opts)
	}
	switch {
	case errors.Is(err, ledger.ErrStopped):
		return err
	case err != nil && r.Context().Err() == nil:
		a.log.Error("verification failed", "error", err)
		return &problem{Title: "Verification failed", Status: http.StatusInternalServerError, Detail: err.Error()}
	case err != nil:
		return err
	}
	control.SetWriteDeadline(time.Now().Add(stallTimeout))
	writeJSON(w, "application/json", http.StatusOK, report)
	return nil
}

// verification is GET /verify: the running verification and the last.
func (a *API) verification(w http.ResponseWriter, _ *http.Request) error {
	writeJSON(w, "application/json", http.StatusOK, a.verifier.state())
	return nil
}

// verifier runs one verification at a time for all who ask.
type verifier struct {
	ledger *ledger.Ledger
	stream Stream
	turn   chan struct{}  // holds one: special verifications run one after the other
	group  sync.WaitGroup // running verifications

	mu      sync.Mutex // for all below
	stopped bool
	run     *run               // nil when none runs
	cancel  context.CancelFunc // ends the special verification that has the turn; nil when none has
	last    *ledger.Report
	lastErr error     // of the last verification, if it could not read
	lastAt  time.Time // when the last verification began
}

// run is one verification. It ends when all who wait for it have left.
type run struct {
	began   time.Time
	cancel  context.CancelFunc
	waiters int // guarded by verifier.mu
	done    chan struct{}

	mu       sync.Mutex
	progress ledger.VerifyProgress

	report *ledger.Report // set before done is closed
	err    error
}

func newVerifier(l *ledger.Ledger, s Stream) *verifier {
	return &verifier{ledger: l, stream: s, turn: make(chan struct{}, 1)}
}

// whole verifies the ledger and then compares it with the stream. A stream that is not there is not checked, which the
// report says.
func (v *verifier) whole(ctx context.Context, o ledger.VerifyOptions) (*ledger.Report, error) {
	began := time.Now()
	report, err := v.ledger.Verify(ctx, o)
	if err != nil {
		return nil, err
	}
	first, last, differs, err := v.stream.Compare(ctx)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err == nil {
		report.Compared(first, last, differs)
	}
	report.DurationMS = time.Since(began).Milliseconds()
	return report, nil
}

// verify gives the report of the verification that runs now, or of a new one.
func (v *verifier) verify(ctx context.Context) (*ledger.Report, error) {
	c, err := v.join(ctx)
	if err != nil {
		return nil, err
	}
	defer v.leave(c)
	select {
	case <-c.done:
		return c.report, c.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// special verifies with options of the caller's own, for him alone. What it finds out about the chain itself counts.
func (v *verifier) special(ctx context.Context, o ledger.VerifyOptions) (*ledger.Report, error) {
	select {
	case v.turn <- struct{}{}:
		defer func() { <-v.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	ctx, err := v.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer v.group.Done()
	began := time.Now()
	report, err := v.whole(ctx, o)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.cancel()
	v.cancel = nil
	switch {
	case err != nil && v.stopped:
		return nil, ledger.ErrStopped
	case err != nil:
		return nil, err
	}
	if chain, known := report.OfChain(); known {
		v.note(chain, began)
	}
	return report, nil
}

// begin makes a special verification one that stop ends and waits for.
func (v *verifier) begin(ctx context.Context) (context.Context, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stopped {
		return nil, ledger.ErrStopped
	}
	ctx, v.cancel = context.WithCancel(ctx)
	v.group.Add(1)
	return ctx, nil
}

// join makes the caller a waiter of the running verification, and begins one when none runs.
func (v *verifier) join(ctx context.Context) (*run, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.stopped {
		return nil, ledger.ErrStopped
	}
	if v.run == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		v.run = &run{began: time.Now(), cancel: cancel, done: make(chan struct{})}
		v.group.Add(1)
		go v.execute(ctx, v.run)
	}
	v.run.waiters++
	return v.run, nil
}

// leave ends a verification that nobody waits for.
func (v *verifier) leave(c *run) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if c.waiters--; c.waiters > 0 {
		return
	}
	c.cancel()
	if v.run == c {
		v.run = nil
	}
}

func (v *verifier) execute(ctx context.Context, c *run) {
	defer v.group.Done()
	c.report, c.err = v.check(ctx, c)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.run == c {
		v.run = nil
	}
	switch {
	case c.err == nil:
		v.note(c.report, c.began)
	case ctx.Err() == nil:
		v.lastErr = c.err
	case v.stopped:
		c.err = ledger.ErrStopped
	}
	close(c.done)
}

// note keeps the report of the verification that began last. mu is held.
func (v *verifier) note(r *ledger.Report, began time.Time) {
	if !began.Before(v.lastAt) {
		v.last, v.lastErr, v.lastAt = r, nil, began
	}
}

// check verifies. A damaged ledger must not be able to end the program that serves what is left of it.
func (v *verifier) check(ctx context.Context, c *run) (report *ledger.Report, err error) {
	defer func() {
		if p := recover(); p != nil {
			report, err = nil, fmt.Errorf("verifying panicked: %v", p)
		}
	}()
	return v.whole(ctx, ledger.VerifyOptions{Progress: c.advance})
}

// stop ends what runs, waits for its end, and lets nothing new begin.
func (v *verifier) stop() {
	v.mu.Lock()
	v.stopped = true
	if v.run != nil {
		v.run.cancel()
	}
	if v.cancel != nil {
		v.cancel()
	}
	v.mu.Unlock()
	v.group.Wait()
}

// advance is called by several goroutines: an older word may come after a newer one.
func (c *run) advance(p ledger.VerifyProgress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p.SegmentsDone = max(p.SegmentsDone, c.progress.SegmentsDone)
	p.BytesDone = max(p.BytesDone, c.progress.BytesDone)
	c.progress = p
}

type verifierState struct {
	Running   bool                   `json:"running"`
	StartedAt *timestamp             `json:"started_at"` // of the running one
	Progress  *ledger.VerifyProgress `json:"progress"`   // of the running one
	Last      *ledger.Report         `json:"last"`
	LastAt    *timestamp             `json:"verified_at"` // when the last began
	LastError string                 `json:"last_error,omitempty"`
}

func (v *verifier) state() verifierState {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := verifierState{Last: v.last, LastAt: timestampOf(v.lastAt)}
	if v.lastErr != nil {
		s.LastError = v.lastErr.Error()
	}
	if v.run != nil {
		v.run.mu.Lock()
		defer v.run.mu.Unlock()
		p := v.run.progress
		s.Running, s.StartedAt, s.Progress = true, timestampOf(v.run.began), &p
	}
	return s
}
