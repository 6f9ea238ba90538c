package ingest

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

const (
	trimStep = 20_000 // messages that trimming removes at least,
	trimFull = 50     // unless the stream is so many percent full
)

// trim removes from the stream what all stores on it have had on disk for long,
// in large steps, and nothing that has an idempotency key which may be used
// again: the server knows those of its messages. In a stream that is half full
// room comes first. A store without the private key only follows and leaves it to
// the others; two that have it remove the same.
func (i *Ingest) trim(ctx context.Context, st jetstream.StreamState, limit int64) error {
	if !i.led.Signs() || st.Msgs == 0 {
		return nil
	}
	keep, err := i.neededByAll(ctx)
	step := uint64(1)
	if limit <= 0 || st.Bytes*100 < uint64(limit)*trimFull {
		keep, step = i.keyed.before(keep, time.Now().Add(-duplicateWindow)), trimStep
	}
	if err != nil || keep < st.FirstSeq+step {
		return err
	}
	s, err := i.js.Stream(ctx, i.o.Stream)
	if err != nil {
		return fmt.Errorf("trimming stream %s: %w", i.o.Stream, err)
	}
	if err := s.Purge(ctx, jetstream.WithPurgeSequence(keep)); err != nil {
		return fmt.Errorf("trimming stream %s: %w", i.o.Stream, err)
	}
	i.o.Logger.Info("stream trimmed", "stream", i.o.Stream, "first_id", ledger.ID(keep).String())
	return nil
}

// crowded tells whether the stream of a lone store is to be trimmed soon.
func (i *Ingest) crowded() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.alone() && i.percentFull() >= trimFull
}

// neededByAll is the first id that a store on the stream still needs; 0, no
// trimming, when the stores are not the same processes as the last time: one
// may be about to find that it shares its name, and is not in the list.
func (i *Ingest) neededByAll(ctx context.Context) (uint64, error) {
	keep := i.needs()
	if i.alone() {
		return keep, nil
	}
	replicas, err := i.listReplicas(ctx)
	if err != nil {
		return 0, err
	}
	runs := map[string]string{}
	for _, r := range replicas {
		runs[r.Name] = r.run
		if r.run != i.run { // its own is older than what it knows
			keep = min(keep, r.position)
		}
	}
	same := maps.Equal(runs, i.runs)
	if i.runs = runs; !same {
		return 0, nil
	}
	return keep, nil
}

// keyed remembers where in the stream messages with an idempotency key begin,
// second by second.
type keyed struct {
	mu    sync.Mutex
	marks []keyMark
}

type keyMark struct {
	second int64 // Unix, of the stream's time
	seq    uint64
}

// note takes a message with a key.
func (k *keyed) note(seq uint64, at time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := len(k.marks)
	if n > 0 && k.marks[n-1].second >= at.Unix() && k.marks[n-1].seq <= seq {
		return
	}
	if n > 0 && k.marks[n-1].seq >= seq { // an earlier part of the stream is compared
		k.marks = nil
	}
	for len(k.marks) > 0 && k.marks[0].second < at.Add(-2*duplicateWindow).Unix() {
		k.marks = k.marks[1:]
	}
	k.marks = append(k.marks, keyMark{at.Unix(), seq})
}

// before is keep, or less: the first message since a time that has a key.
func (k *keyed) before(keep uint64, since time.Time) uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, m := range k.marks {
		if m.second >= since.Unix() {
			return min(keep, m.seq)
		}
	}
	return keep
}
