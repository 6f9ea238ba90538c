package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// ErrHistory: the stream is not this ledger's; an operator must decide.
var ErrHistory = errors.New("stream and ledger have different histories")

// reconcile compares stream and ledger and makes the stream go on after the
// ledger's last event. Nothing may be projected and nobody let in before.
//
// In order: whose stream is it; does it hold the same events (others move
// behind the ledger's last, see move.go); is it behind; then the ledger's key
// is written into it.
func (i *Ingest) reconcile(ctx context.Context) error {
	i.ready.Store(false)
	i.atEnd.Store(false)
	select {
	case <-i.reset: // what comes from here on is a change during the comparison
	default:
	}
	if err := i.connected(); err != nil {
		return err
	}
	if err := i.settle(ctx); err != nil {
		return err
	}
	stream, info, err := i.unbranched(ctx)
	if err != nil {
		return err
	}
	sctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := i.forward(sctx, stream, info.State); err != nil {
		return err
	}
	if err := i.claim(sctx, info.Config); err != nil {
		return err
	}
	if err := i.register(sctx); err != nil {
		return err
	}
	if info, err = i.check(sctx); err != nil {
		return err
	}
	if err := i.refuse(info); err != nil { // another store was faster
		return err
	}
	i.created.Store(info.Created.UnixNano())
	i.ready.Store(true)
	return nil
}

// unbranched returns the stream once it holds nothing but the ledger's events
// under the ledger's ids. What else was there has moved behind them.
func (i *Ingest) unbranched(ctx context.Context) (jetstream.Stream, *jetstream.StreamInfo, error) {
	for range movePasses {
		stream, info, err := i.ensure(ctx)
		if err != nil {
			return nil, nil, err
		}
		if err := i.refuse(info); err != nil {
			return nil, nil, err
		}
		i.keep(info) // first: how it is may be why it cannot be read
		i.keepEpoch(info)
		if found, err := i.finishMove(ctx, stream); err != nil {
			return nil, nil, err
		} else if found {
			i.endEpoch("its messages moved")
			continue
		}
		_, _, branch, err := i.branch(ctx, info.State)
		if err != nil {
			return nil, nil, err
		}
		if branch == 0 {
			return stream, info, nil
		}
		if info.Config.Metadata[keyMetadata] == "" {
			return nil, nil, fmt.Errorf("%w: stream %s has another event %s than the ledger, and does not say that it is this ledger's",
				ErrHistory, i.o.Stream, branch)
		}
		i.endEpoch("it branches off the ledger")
		if err := i.beginMove(ctx, stream, branch); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, fmt.Errorf("stream %s branches off the ledger again and again", i.o.Stream)
}

// settle waits until everything projected is committed.
func (i *Ingest) settle(ctx context.Context) error {
	if p := i.led.Projected(); p > i.led.Head().ID {
		return i.led.Wait(ctx, p)
	}
	return nil
}

// refuse is the error for a stream that cannot be this ledger's.
func (i *Ingest) refuse(info *jetstream.StreamInfo) error {
	key, own := info.Config.Metadata[keyMetadata], i.led.PublicKey()
	if key != "" && key != own && i.led.NewKey() {
		return fmt.Errorf("%w: stream %s belongs to the ledger with the key %s, and this folder has no key: to follow that ledger "+
			"write the key into ledger.pub here; or use that ledger's data folder, or another stream", ErrHistory, i.o.Stream, key)
	}
	if key != "" && key != own {
		return fmt.Errorf("%w: stream %s belongs to the ledger with the key %s, this one has %s: use that ledger's data folder or another stream",
			ErrHistory, i.o.Stream, key, own)
	}
	if prefix := info.Config.Metadata[prefixMetadata]; prefix != "" && prefix != i.o.SubjectPrefix {
		return fmt.Errorf("%w: the publishers of stream %s use %s.<category>, this store expects %s.<category>: nats.subject_prefix must stay %s",
			ErrHistory, i.o.Stream, prefix, i.o.SubjectPrefix, prefix)
	}
	if i.led.Head().ID == 0 && info.State.FirstSeq > 1 {
		return fmt.Errorf("%w: the ledger is empty, but stream %s begins at %s: start from a copy of the data folder, or with another stream",
			ErrHistory, i.o.Stream, ledger.ID(info.State.FirstSeq))
	}
	return nil
}

// Compare projects again what the stream still holds of the ledger, ids first
// to last (none when first > last). differs is the first id whose event is not
// the ledger's, or 0.
func (i *Ingest) Compare(ctx context.Context) (first, last, differs ledger.ID, err error) {
	if !i.ready.Load() {
		return 0, 0, 0, fmt.Errorf("%w: stream %s is not reconciled with the ledger yet", ledger.ErrUnavailable, i.o.Stream)
	}
	info, err := i.info(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	return i.branch(ctx, info.State)
}

// branch is Compare for a stream in the state st.
func (i *Ingest) branch(ctx context.Context, st jetstream.StreamState) (from, to, differs ledger.ID, err error) {
	last := min(st.LastSeq, uint64(i.led.Head().ID))
	if st.Msgs == 0 || st.FirstSeq > last {
		return 1, 0, 0, nil
	}
	from, to = ledger.ID(st.FirstSeq), ledger.ID(last)
	differs, err = i.compareRange(ctx, st.FirstSeq, last)
	return from, to, differs, err
}

func (i *Ingest) compareRange(ctx context.Context, first, last uint64) (ledger.ID, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	q, err := i.follow(ctx, max(first, 1))
	if err != nil {
		return 0, err
	}
	defer q.stop()

	told, matches, damaged := time.Now(), i.comparison(), false
	still := time.NewTicker(stillEvery)
	defer still.Stop()
	var taken uint64
	for {
		select {
		case <-q.ready:
		case <-still.C: // another store may have purged what is compared
			if drained, err := q.drained(ctx, taken); err != nil {
				return 0, fmt.Errorf("comparing stream %s with the ledger: %w", i.o.Stream, err)
			} else if drained {
				return 0, nil
			}
			continue
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		still.Reset(stillEvery)
		batch, pending, err := q.take()
		taken += uint64(len(batch))
		for _, m := range batch {
			if m.Seq > last {
				return 0, nil // the stream ends in a hole
			}
			same, err := matches(m)
			if errors.Is(err, ledger.ErrDamaged) {
				if !damaged { // altered where it lies: verification's to report, no other history
					i.o.Logger.Error("stored events are damaged, run a verification", "id", ledger.ID(m.Seq).String(), "error", err)
				}
				damaged, same, err = true, true, nil
			}
			if err != nil {
				return 0, fmt.Errorf("comparing event %s with the stream: %w", ledger.ID(m.Seq), err)
			}
			if !same {
				return ledger.ID(m.Seq), nil
			}
			if m.Seq == last {
				return 0, nil
			}
			if time.Since(told) > 5*time.Second {
				told = time.Now()
				i.o.Logger.Info("comparing stream with ledger", "id", ledger.ID(m.Seq).String(), "last_id", ledger.ID(last).String())
			}
		}
		if err != nil {
			return 0, fmt.Errorf("comparing stream %s with the ledger: %w", i.o.Stream, err)
		}
		if len(batch) > 0 && pending == 0 {
			return 0, nil
		}
	}
}

// comparison tells, message by message in their order, whether the ledger has
// the same event under the same id. Of an event that aged out only the time is
// left to tell: no message is younger than an event that comes after it.
func (i *Ingest) comparison() func(ledger.Message) (bool, error) {
	compare, head := i.led.Compare(), i.led.Head()
	return func(m ledger.Message) (bool, error) {
		if m.Time.Truncate(time.Microsecond).After(head.Timestamp) {
			return false, nil
		}
		return compare.Matches(m)
	}
}

// forward moves a stream that is behind the ledger (power loss) on to the
// ledger's last id. All that it holds is in the ledger: branch said so.
func (i *Ingest) forward(ctx context.Context, s jetstream.Stream, st jetstream.StreamState) error {
	head := i.led.Head().ID
	if st.LastSeq >= uint64(head) {
		return nil
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(uint64(head)+1)); err != nil {
		return fmt.Errorf("moving stream %s forward: %w", i.o.Stream, err)
	}
	info, err := s.Info(ctx)
	if err != nil {
		return fmt.Errorf("moving stream %s forward: %w", i.o.Stream, err)
	}
	if info.State.LastSeq != uint64(head) {
		return fmt.Errorf("moving stream %s forward: its last id is %s, want %s", i.o.Stream, ledger.ID(info.State.LastSeq), head)
	}
	i.o.Logger.Warn("stream was behind the ledger, moved forward",
		"stream", i.o.Stream, "from_id", ledger.ID(st.LastSeq).String(), "to_id", head.String())
	return nil
}
