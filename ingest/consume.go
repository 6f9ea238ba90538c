package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"home.lab/event-store/ledger"
)

const (
	batchMessages = 4096
	batchBytes    = 8 << 20
	pullBytes     = 16 << 20 // of one pull; the next may come before it ended

	watchEvery    = 5 * time.Second        // the stream's creation time
	observeEvery  = time.Second            // what Status tells
	driftEvery    = time.Minute            // the stream's settings
	ownEvery      = time.Second            // the ledger's own messages
	ownRepeat     = 30 * time.Second       // before the same message is published again
	stillEvery    = 500 * time.Millisecond // without a message that is compared
	headEvery     = 200 * time.Millisecond
	backoffFirst  = 200 * time.Millisecond
	backoffLast   = 2 * time.Second
	headTimestamp = "2006-01-02T15:04:05.000000Z"
)

// errReset ends one consumer's life: compare again, then a new one.
var errReset = errors.New("stream or connection changed")

// Run projects the stream into the ledger until ctx ends (then it returns nil)
// or the stream turns out not to be the ledger's (an error that Is ErrHistory).
// Everything else it outlives: it compares again and begins a new consumer.
func (i *Ingest) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return i.consume(ctx) })
	g.Go(func() error { return i.publishOwn(ctx) })
	g.Go(func() error { return i.publishHead(ctx) })
	g.Go(func() error { return i.revive(ctx) })
	g.Go(func() error { return i.observe(ctx) })
	g.Go(func() error { return i.reportReplica(ctx) })
	err := g.Wait()
	i.ready.Store(false)
	return err
}

// consume runs one consumer after the other.
func (i *Ingest) consume(ctx context.Context) error {
	wait, told := backoffFirst, ""
	for ctx.Err() == nil {
		began := time.Now()
		err := i.resume(ctx)
		if err == nil {
			err = i.project(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrHistory):
			i.ready.Store(false)
			return err
		}
		if time.Since(began) > 10*time.Second || errors.Is(err, errReset) {
			wait, told = backoffFirst, ""
		}
		i.setStopped(err)
		if !errors.Is(err, errAway) && err.Error() != told { // that is told; and one reason again and again, once
			i.o.Logger.Warn("consumer stopped, starting again", "error", err)
			told = err.Error()
		}
		pause(ctx, wait)
		wait = min(2*wait, backoffLast)
	}
	return nil
}

// resume makes ledger and stream fit for a consumer: a failed ledger recovers,
// a stream that was not compared since the last change is compared.
func (i *Ingest) resume(ctx context.Context) error {
	select {
	case <-i.led.Failed():
		if err := i.recover(ctx); err != nil {
			return err
		}
		i.ready.Store(false)
	default:
	}
	select {
	case <-i.reset: // reconnected since the last comparison
		i.ready.Store(false)
	default:
	}
	if i.ready.Load() {
		return nil
	}
	return i.reconcile(ctx)
}

// recover tries until the ledger can be written again.
func (i *Ingest) recover(ctx context.Context) error {
	wait, told := backoffFirst, ""
	for {
		err := i.led.Recover(ctx)
		if err == nil {
			i.o.Logger.Info("ledger recovered", "id", i.led.Head().ID.String())
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, ledger.ErrStopped) {
			return fmt.Errorf("recovering the ledger: %w", err)
		}
		if err.Error() != told {
			told = err.Error()
			i.o.Logger.Warn("ledger cannot be written, trying again", "error", err)
		}
		pause(ctx, wait)
		wait = min(2*wait, backoffLast)
	}
}

// project is one consumer's life: it returns when the stream, the connection
// or the ledger is no longer what it was at the beginning.
func (i *Ingest) project(parent context.Context) (err error) {
	ctx, cancel := context.WithCancel(parent)
	var readers sync.WaitGroup
	defer readers.Wait()
	defer cancel()
	defer func() {
		if err == nil {
			return
		}
		if parent.Err() != nil && i.alone() && i.ready.Load() {
			i.watch(context.WithoutCancel(parent), true) // what is trimmed now need not be compared at the start
		}
		i.atEnd.Store(false)
		i.ready.Store(false) // compare before the next commit
	}()

	info, err := i.info(ctx)
	if err != nil {
		return err
	}
	i.reached = false
	i.setEnd(info.State.LastSeq <= uint64(i.led.Projected()))
	q, err := i.follow(ctx, uint64(i.led.Projected())+1)
	if err != nil {
		return err
	}
	defer q.stop()
	i.setStopped(nil)

	watch := time.NewTicker(watchEvery)
	defer watch.Stop()
	watched := make(chan error, 1)
	watching := false
	checked := time.Now()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-i.led.Failed():
			return fmt.Errorf("writing the ledger: %w", i.led.Err())
		case <-i.reset:
			return fmt.Errorf("%w: reconnected", errReset)
		case <-watch.C:
			if watching {
				continue
			}
			watching = true
			full := time.Since(checked) >= driftEvery || i.crowded()
			if full {
				checked = time.Now()
			}
			readers.Go(func() { watched <- i.watch(ctx, full) })
		case err := <-watched:
			watching = false
			if err != nil {
				return err
			}
		case <-q.ready:
			if err := i.projectBatch(ctx, q); err != nil {
				return err
			}
		}
	}
}

// setStopped keeps for Status why no consumer runs; nil: one does.
func (i *Ingest) setStopped(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = ""
	if err != nil {
		i.stopped = err.Error()
	}
}

// projectBatch hands what has arrived to the ledger.
func (i *Ingest) projectBatch(ctx context.Context, q *queue) error {
	batch, pending, err := q.take()
	if len(batch) > 0 {
		if last := uint64(i.led.Projected()); batch[0].Seq <= last {
			return fmt.Errorf("%w: the stream delivered %s after %s", errReset, ledger.ID(batch[0].Seq), ledger.ID(last))
		}
		if i.atEnd.Load() { // it came live, not from a backlog
			i.skew.Store(int64(time.Since(batch[len(batch)-1].Time)))
		}
		i.atEnd.Store(false)
		if err := i.led.Project(ctx, batch); err != nil {
			return fmt.Errorf("projecting: %w", err)
		}
		i.setEnd(pending == 0)
	}
	return err
}

// setEnd notes whether the consumer is at the stream's end. The first time is
// told at once to who publishes what is due then; later his ticker is enough,
// and an event is spared a wake-up.
func (i *Ingest) setEnd(end bool) {
	i.atEnd.Store(end)
	if end && !i.reached {
		i.reached = true
		notify(i.nudge)
	}
}

func (i *Ingest) info(ctx context.Context) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := i.js.Stream(ctx, i.o.Stream)
	if err != nil {
		return nil, fmt.Errorf("asking for stream %s: %w", i.o.Stream, err)
	}
	return s.CachedInfo(), nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
