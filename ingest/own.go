package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"home.lab/event-store/ledger"
)

// admit opens the embedded server's listener. What publishers send comes behind
// the configuration, where that is to be chained: it is in the stream already,
// or, behind a backlog, publishOwn publishes it and calls again.
func (i *Ingest) admit(ctx context.Context) error {
	if i.emb == nil {
		return nil
	}
	if !i.led.Configured() {
		if i.backlog() > 0 {
			return nil
		}
		i.publishDue(ctx)
	}
	return i.emb.openListener(i.o.Listen)
}

// backlog is how many messages the stream had behind the projection when it was
// seen last.
func (i *Ingest) backlog() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.state.LastSeq - min(i.state.LastSeq, uint64(i.led.Projected()))
}

// publishOwn publishes the ledger's own messages while the consumer is at the
// stream's end.
func (i *Ingest) publishOwn(ctx context.Context) error {
	tick := time.NewTicker(ownEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-i.nudge:
		}
		if !i.atEnd.Load() || !i.ready.Load() {
			continue
		}
		i.publishDue(ctx)
		if i.emb != nil && !i.emb.admitted.Load() {
			if err := i.emb.openListener(i.o.Listen); err != nil {
				return err
			}
		}
	}
}

// publishDue publishes what is due and was not published a moment ago. The
// messages carry no Nats-Msg-Id: a publisher could use it first.
func (i *Ingest) publishDue(ctx context.Context) {
	for k, at := range i.sent {
		if time.Since(at) > ownRepeat {
			delete(i.sent, k)
		}
	}
	for _, m := range i.led.OwnMessages() {
		k := sha256.Sum256(append([]byte(m.Action+"\n"), m.Data...))
		if _, ok := i.sent[k]; ok {
			continue
		}
		if _, err := i.publish(ctx, &nats.Msg{Subject: ownPrefix + m.Action, Data: m.Data}); err != nil {
			if ctx.Err() == nil {
				i.o.Logger.Warn("own message not published, trying again", "action", m.Action, "error", err)
			}
			return
		}
		i.sent[k] = time.Now()
	}
}

// PublishOwn publishes an own message at once and gives the id that its event
// will have.
func (i *Ingest) PublishOwn(ctx context.Context, m ledger.OwnMessage) (ledger.ID, error) {
	if !i.ready.Load() {
		return 0, fmt.Errorf("%w: stream %s is not reconciled with the ledger yet", ledger.ErrUnavailable, i.o.Stream)
	}
	if err := i.led.Err(); err != nil { // it could not be chained, and would be said again
		return 0, fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	before := i.led.Projected()
	ack, err := i.publish(ctx, &nats.Msg{Subject: ownPrefix + m.Action, Data: m.Data})
	if err != nil {
		return 0, err
	}
	if ledger.ID(ack.Sequence) <= before {
		return 0, i.repeated(ack.Sequence)
	}
	return ledger.ID(ack.Sequence), nil
}

// publishHead tells the head after commits, a few times a second, always the
// last one.
func (i *Ingest) publishHead(ctx context.Context) error {
	var told ledger.ID
	for {
		notice := i.led.Notice()
		if h := i.led.Head(); h.ID != told && i.nc.IsConnected() {
			data, err := json.Marshal(struct {
				ID        string `json:"id"`
				Hash      string `json:"hash"`
				Timestamp string `json:"timestamp"`
			}{h.ID.String(), h.Hash, h.Timestamp.UTC().Format(headTimestamp)})
			if err == nil {
				err = i.nc.Publish(headSubject, data)
			}
			if err == nil {
				told = h.ID
			}
			pause(ctx, headEvery)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-notice:
		}
	}
}
