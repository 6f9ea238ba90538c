package ingest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"home.lab/event-store/ledger"
)

const (
	publishTimeout = 5 * time.Second
	maxBatch       = 1000
)

// Send publishes one event and does not wait. key, when not empty, is the
// idempotency key (Nats-Msg-Id). Nothing is retried.
func (i *Ingest) Send(d ledger.Draft, key string) *Sent {
	if !i.ready.Load() {
		return i.refused(fmt.Errorf("%w: stream %s is not reconciled with the ledger yet", ledger.ErrUnavailable, i.o.Stream))
	}
	m := &nats.Msg{Subject: i.subject(d), Data: d.Canonical()}
	if key != "" {
		m.Header = nats.Header{jetstream.MsgIDHeader: {key}}
	}
	return i.send(m)
}

// Append is Send, and waits for the acknowledgement as Ack does.
func (i *Ingest) Append(ctx context.Context, d ledger.Draft, key string) (id ledger.ID, duplicate bool, err error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	return i.Send(d, key).id(ctx)
}

// Holds tells whether the stream's message with an id that is not committed yet
// is the draft's event.
func (i *Ingest) Holds(ctx context.Context, id ledger.ID, d ledger.Draft) (bool, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	s, err := i.js.Stream(ctx, i.o.Stream)
	if err != nil {
		return false, unavailable(err, false)
	}
	m, err := s.GetMsg(ctx, uint64(id))
	if err != nil {
		return false, fmt.Errorf("%w: reading message %s: %w", ledger.ErrUnavailable, id, err)
	}
	return i.led.Becomes(ledger.Message{Seq: m.Sequence, Time: m.Time, Subject: m.Subject, Data: m.Data}, d), nil
}

// AppendBatch publishes up to 1,000 events, all or none, and returns the first
// and last id. It uses JetStream's atomic batch (NATS ADR-50): the headers
// Nats-Batch-Id and Nats-Batch-Sequence, Nats-Batch-Commit on the last message.
// The error says which draft is at fault where one is: it has a Draft() int.
func (i *Ingest) AppendBatch(ctx context.Context, ds []ledger.Draft) (first, last ledger.ID, err error) {
	if len(ds) == 0 || len(ds) > maxBatch {
		return 0, 0, fmt.Errorf("a batch has 1 to %d events, not %d", maxBatch, len(ds))
	}
	if !i.ready.Load() {
		return 0, 0, fmt.Errorf("%w: stream %s is not reconciled with the ledger yet", ledger.ErrUnavailable, i.o.Stream)
	}
	if len(ds) == 1 { // it is whole by itself; the server makes files for each batch
		first, _, err = i.Append(ctx, ds[0], "")
		if invalid := new(ledger.InvalidError); errors.As(err, &invalid) {
			err = draftError{0, err}
		}
		return first, first, err
	}
	msgs, err := i.batch(ds)
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	before := i.led.Projected()
	for n, m := range msgs {
		m.Data = ds[n].Canonical()
		if n == len(ds)-1 {
			ack, err := i.publish(ctx, m)
			if err != nil {
				return 0, 0, err
			}
			last = ledger.ID(ack.Sequence)
			if first = last - ledger.ID(len(ds)) + 1; first <= before {
				return 0, 0, i.repeated(uint64(first))
			}
			return first, last, nil
		}
		if n > 0 {
			if err := i.nc.PublishMsg(m); err != nil {
				return 0, 0, unavailable(err, false)
			}
			m.Data = nil // all of them at a time may be much
			continue
		}
		if err := i.beginBatch(ctx, m); err != nil {
			return 0, 0, err
		}
	}
	panic("unreachable: the last message returns")
}

// batch gives the messages of a batch, still without their data. None may be
// larger than the stream takes: a batch that begins and does not end is kept
// by the server for a while, and there may be few of them.
func (i *Ingest) batch(ds []ledger.Draft) ([]*nats.Msg, error) {
	id, room := nuid.Next(), int(min(maxMsgSize, i.nc.MaxPayload()))
	msgs := make([]*nats.Msg, len(ds))
	for n, d := range ds {
		m := &nats.Msg{Subject: i.subject(d), Header: nats.Header{}}
		m.Header.Set("Nats-Batch-Id", id)
		m.Header.Set("Nats-Batch-Sequence", strconv.Itoa(n+1))
		if n == len(ds)-1 {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		if m.Size()-len(m.Subject)+d.Size() > room {
			return nil, draftError{n, tooLarge()}
		}
		msgs[n] = m
	}
	return msgs, nil
}

// A draftError is why a batch cannot be published because of one draft.
type draftError struct {
	draft int // from 0
	error
}

func (e draftError) Draft() int    { return e.draft }
func (e draftError) Unwrap() error { return e.error }

// beginBatch publishes a batch's first message and waits until the stream has
// taken it up (its answer is then empty).
func (i *Ingest) beginBatch(ctx context.Context, m *nats.Msg) error {
	resp, err := i.nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return unavailable(err, false) // without the commit nothing is stored
	}
	if len(resp.Data) == 0 {
		return nil
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(resp.Data, &answer); err != nil || answer.Error == nil {
		return fmt.Errorf("beginning a batch: unexpected answer %q", resp.Data)
	}
	return unavailable(answer.Error, false)
}

// subject is where an event of d's category is published.
func (i *Ingest) subject(d ledger.Draft) string {
	return i.o.SubjectPrefix + "." + d.Category()
}

// publish publishes m once and waits for the stream's acknowledgement.
func (i *Ingest) publish(ctx context.Context, m *nats.Msg) (jetstream.PubAck, error) {
	ctx, cancel := withTimeout(ctx)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return jetstream.PubAck{}, unavailable(err, false)
	}
	return i.send(m).wait(ctx)
}

// pubAck reads a PubAck. Nearly all have two members, which need no general
// parse: at 17,000 appends a second that took 5 % of the time.
func (i *Ingest) pubAck(data []byte) (jetstream.PubAck, error) {
	if n, ok := bytes.CutPrefix(data, i.ackPrefix); ok {
		if n, ok = bytes.CutSuffix(n, []byte("}")); ok {
			if seq, err := strconv.ParseUint(string(n), 10, 64); err == nil {
				return jetstream.PubAck{Stream: i.o.Stream, Sequence: seq}, nil
			}
		}
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.PubAck
	}
	switch err := json.Unmarshal(data, &answer); {
	case err != nil || answer.Error == nil && answer.Stream == "":
		return answer.PubAck, jetstream.ErrInvalidJSAck
	case answer.Error != nil:
		return answer.PubAck, answer.Error
	}
	return answer.PubAck, nil
}

// withTimeout gives ctx a deadline where it has none.
func withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, publishTimeout)
}

// tooLarge is for an event that is just below 1 MiB, but not with its headers.
func tooLarge() error {
	return &ledger.InvalidError{TooLarge: true, Fields: []ledger.FieldError{{Message: "the event with its headers is larger than the stream takes (1 MiB)"}}}
}

// unavailable wraps errors that mean that NATS or the stream did not take the
// message. sent: a lost acknowledgement leaves open whether it is stored.
func unavailable(err error, sent bool) error {
	var api *jetstream.APIError
	if errors.As(err, &api) {
		switch {
		case api.ErrorCode == 10054: // larger than max_msg_size
			return tooLarge()
		case api.Code == 503, api.Code == 429, api.ErrorCode == 10077, // the stream is full
			api.ErrorCode == 10047, api.ErrorCode == 10002, // storage; the account's limits
			api.ErrorCode == 10109: // sealed
			return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
		}
		return fmt.Errorf("publishing: %w", err)
	}
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return tooLarge()
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrNoStreamResponse),
		errors.Is(err, nats.ErrConnectionReconnecting), errors.Is(err, nats.ErrReconnectBufExceeded):
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrNoServers):
		if sent {
			return fmt.Errorf("%w: no acknowledgement, the outcome is unknown: %w", ledger.ErrUnavailable, err)
		}
		return fmt.Errorf("%w: %w", ledger.ErrUnavailable, err)
	}
	return fmt.Errorf("publishing: %w", err)
}
