package ingest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// publishAgain publishes what c holds and s does not have yet.
func (i *Ingest) publishAgain(ctx context.Context, s, c jetstream.Stream, m *move, same bool) error {
	from := uint64(1)
	if same {
		from = m.head + 1
	}
	done, err := i.published(ctx, s, from, m)
	if err != nil {
		return err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", i.copyName(), err)
	}
	var moved []Moved
	var data []byte
	err = each(ctx, c, 1, info.State.LastSeq, func(r *jetstream.RawStreamMsg) error {
		if err := i.beat(ctx, m); err != nil || r.Header.Get(moverHeader) != "" {
			return err
		}
		data = append(data, r.Data...)
		if r.Header.Get(moreHeader) != "" {
			return nil
		}
		old, err := strconv.ParseUint(r.Header.Get(sequenceHeader), 10, 64)
		if err != nil {
			return fmt.Errorf("message %d of stream %s: %w", r.Sequence, i.copyName(), err)
		}
		again := &nats.Msg{Subject: r.Header.Get(subjectHeader), Data: data, Header: nats.Header{}}
		data = nil
		if len(again.Data)+markRoom <= int(min(maxMsgSize, i.nc.MaxPayload())) {
			again.Header.Set(movedHeader, m.token+" "+strconv.FormatUint(old, 10))
		}
		seq, ok := done.take(again)
		if !ok {
			ack, err := i.publish(ctx, again)
			if err != nil {
				return fmt.Errorf("moving event %s: %w", ledger.ID(old), err)
			}
			seq = ack.Sequence
			if err := i.interrupted("publishing"); err != nil {
				return err
			}
		}
		moved = addMoved(moved, ledger.ID(old), ledger.ID(seq))
		return nil
	})
	if err != nil {
		return err
	}
	i.tellMoved(moved)
	return nil
}

// done is what was published again: sequences by mark or, for messages without
// room for one, by content.
type done map[string][]uint64

func (d done) take(m *nats.Msg) (seq uint64, ok bool) {
	k := doneKey(m.Header, m.Subject, m.Data)
	if len(d[k]) == 0 {
		return 0, false
	}
	seq, d[k] = d[k][0], d[k][1:]
	return seq, true
}

func doneKey(h nats.Header, subject string, data []byte) string {
	if mark := h.Get(movedHeader); mark != "" {
		return mark
	}
	sum := sha256.Sum256(append([]byte(subject+"\n"), data...))
	return string(sum[:])
}

// published finds what s has of the move m, at from and behind.
func (i *Ingest) published(ctx context.Context, s jetstream.Stream, from uint64, m *move) (done, error) {
	info, err := i.info(ctx)
	if err != nil {
		return nil, err
	}
	d, room := done{}, int(min(maxMsgSize, i.nc.MaxPayload()))-markRoom
	err = each(ctx, s, from, info.State.LastSeq, func(r *jetstream.RawStreamMsg) error {
		if err := i.beat(ctx, m); err != nil {
			return err
		}
		if strings.HasPrefix(r.Header.Get(movedHeader), m.token+" ") || len(r.Header) == 0 && len(r.Data) > room {
			k := doneKey(r.Header, r.Subject, r.Data)
			d[k] = append(d[k], r.Sequence)
		}
		return nil
	})
	return d, err
}

func addMoved(runs []Moved, from, to ledger.ID) []Moved {
	if n := len(runs) - 1; n >= 0 && runs[n].FromLast == (from-1).String() && runs[n].ToLast == (to-1).String() {
		runs[n].FromLast, runs[n].ToLast = from.String(), to.String()
		return runs
	}
	return append(runs, Moved{from.String(), from.String(), to.String(), to.String()})
}

func (i *Ingest) tellMoved(moved []Moved) {
	for _, r := range moved {
		i.o.Logger.Warn("events moved behind the ledger's last", "stream", i.o.Stream,
			"from_first", r.FromFirst, "from_last", r.FromLast, "to_first", r.ToFirst, "to_last", r.ToLast)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.moved = append(i.moved, moved...)
}
