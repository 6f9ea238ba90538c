package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	beatEvery  = 5 * time.Second
	moveStalls = time.Minute // a mover without a sign of life has ended
)

// awaited is another replica's move as it was seen last, and since when.
type awaited struct {
	seen  string
	since time.Time
}

// takeOver gives an error as long as another replica moves. When that gives no
// sign of life any more, one of those that wait takes its place: the one whose
// message comes next in the copy stream. The first mover, should it wake up,
// fails at its next copy or sign of life.
func (i *Ingest) takeOver(ctx context.Context, c jetstream.Stream, m *move) error {
	last := c.CachedInfo().State.LastSeq
	seen := fmt.Sprint(m.token, " ", m.mover, " ", m.beat, " ", m.copied, " ", last)
	if seen != i.awaited.seen {
		i.awaited = awaited{seen, time.Now()}
	}
	stalls := moveStalls
	if i.o.stall > 0 {
		stalls = i.o.stall
	}
	if time.Since(i.awaited.since) < stalls {
		return fmt.Errorf("replica %s moves the messages of stream %s, waiting for it", m.mover, i.o.Stream)
	}
	i.o.Logger.Warn("the replica that moves the stream's messages gives no sign of life, taking over", "stream", i.o.Stream, "replica", m.mover)
	claim := &nats.Msg{Subject: movedSubject, Header: nats.Header{}}
	claim.Header.Set(moverHeader, i.replicaName())
	if _, err := i.js.PublishMsg(ctx, claim, jetstream.WithExpectStream(i.copyName()), jetstream.WithExpectLastSequence(last), jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("taking over from replica %s: %w", m.mover, err)
	}
	m.mover = i.replicaName()
	return i.writeMove(ctx, m)
}

// beat gives a sign of life now and then.
func (i *Ingest) beat(ctx context.Context, m *move) error {
	if time.Since(m.beaten) < beatEvery {
		return nil
	}
	return i.signOfLife(ctx, m)
}

// signOfLife writes the move's state into the copy stream, unless the move is
// another replica's meanwhile.
func (i *Ingest) signOfLife(ctx context.Context, m *move) error {
	c, err := i.js.Stream(ctx, i.copyName())
	if err != nil {
		return fmt.Errorf("opening stream %s: %w", i.copyName(), err)
	}
	now, err := parseMove(c.CachedInfo().Config.Metadata)
	if err != nil || now.token != m.token || now.mover != m.mover {
		return fmt.Errorf("%w: replica %s moves the messages of stream %s", errReset, now.mover, i.o.Stream)
	}
	m.beat++
	return i.writeMove(ctx, m)
}

func (i *Ingest) writeMove(ctx context.Context, m *move) error {
	if _, err := i.js.UpdateStream(ctx, i.copyConfig(*m)); err != nil {
		return fmt.Errorf("updating stream %s: %w", i.copyName(), err)
	}
	m.beaten = time.Now()
	return nil
}
