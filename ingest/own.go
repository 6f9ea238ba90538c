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

// publishOwn publishes the ledger's own messages while the consumer is at the
// stream's end. They carry no Nats-Msg-Id: a publisher could use it first.
func (i *Ingest) publishOwn(ctx context.Context) error {
	sent := map[[sha256.Size]byte]time.Time{}
	tick := time.NewTicker(ownEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-i.nudge:
		}
		for k, at := range sent {
			if time.Since(at) > ownRepeat {
				delete(sent, k)
			}
		}
		if !i.atEnd.Load() || !i.ready.Load() {
			continue
		}
		for _, m := range i.led.OwnMessages() {
			k := sha256.Sum256(append([]byte(m.Action+"\n"), m.Data...))
			if _, ok := sent[k]; ok {
				continue
			}
			if _, err := i.publish(ctx, &nats.Msg{Subject: ownPrefix + m.Action, Data: m.Data}); err != nil {
				if ctx.Err() == nil {
					i.o.Logger.Warn("own message not published, trying again", "action", m.Action, "error", err)
				}
				break
			}
			sent[k] = time.Now()
		}
	}
}

// PublishOwn publishes an own message at once and gives the id that its event
// will have.
func (i *Ingest) PublishOwn(ctx context.Context, m ledger.OwnMessage) (ledger.ID, error) {
	if !i.ready.Load() {
		return 0, fmt.Errorf("%w: stream %s is not reconciled with the ledger yet", ledger.ErrUnavailable, i.o.Stream)
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
