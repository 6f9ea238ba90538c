package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// copyMessages is step 3 of a move: it copies what the ledger does not have of
// the messages first to last.
func (i *Ingest) copyMessages(ctx context.Context, s jetstream.Stream, m *move, first, last uint64) error {
	copies := uint64(0)
	part, same := int(min(maxMsgSize, i.nc.MaxPayload()))/2, i.comparison()
	return each(ctx, s, first, last, func(r *jetstream.RawStreamMsg) error {
		if err := i.beat(ctx, m); err != nil {
			return err
		}
		if strings.HasPrefix(r.Subject, ownPrefix) {
			return nil // the ledger publishes its own again when they are due
		}
		// A consumer that did not notice yet may have projected some of them.
		// What cannot be compared moves too: doubled is better than lost.
		if ok, err := same(ledger.Message{Seq: r.Sequence, Time: r.Time, Subject: r.Subject, Data: r.Data}); err != nil && !errors.Is(err, ledger.ErrDamaged) {
			return fmt.Errorf("comparing event %s with the stream: %w", ledger.ID(r.Sequence), err)
		} else if ok {
			return nil
		}
		for rest, more := r.Data, true; more; {
			n := min(part, len(rest))
			c := &nats.Msg{Subject: movedSubject, Data: rest[:n], Header: nats.Header{}}
			rest, more = rest[n:], n < len(rest)
			c.Header.Set(subjectHeader, r.Subject)
			c.Header.Set(sequenceHeader, strconv.FormatUint(r.Sequence, 10))
			if id := r.Header.Get("Nats-Msg-Id"); id != "" {
				c.Header.Set(msgIDHeader, id)
			}
			if more {
				c.Header.Set(moreHeader, "1")
			}
			if _, err := i.js.PublishMsg(ctx, c, jetstream.WithExpectStream(i.copyName()),
				jetstream.WithExpectLastSequence(copies), jetstream.WithRetryAttempts(0)); err != nil {
				return fmt.Errorf("copying message %s to stream %s: %w", ledger.ID(r.Sequence), i.copyName(), err)
			}
			copies++
			if err := i.interrupted("copying"); err != nil {
				return err
			}
		}
		return nil
	})
}

// each calls do with the stream's messages first to last, holes left out.
func each(ctx context.Context, s jetstream.Stream, first, last uint64, do func(*jetstream.RawStreamMsg) error) error {
	for seq := max(first, 1); seq <= last; seq++ {
		m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">")) // seq or the next there is
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading stream %s at %s: %w", s.CachedInfo().Config.Name, ledger.ID(seq), err)
		}
		if seq = m.Sequence; seq > last {
			return nil
		}
		if err := do(m); err != nil {
			return err
		}
	}
	return nil
}
