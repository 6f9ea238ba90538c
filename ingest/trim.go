package ingest

import (
	"context"
	"fmt"
	"maps"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

const trimStep = 20_000 // messages that trimming removes at least

// trim removes from the stream what all stores on it have had on disk for long,
// in large steps. A store without the private key only follows and leaves it to
// the others; two that have it remove the same.
func (i *Ingest) trim(ctx context.Context, st jetstream.StreamState) error {
	if !i.led.Signs() || st.Msgs == 0 {
		return nil
	}
	keep, err := i.neededByAll(ctx)
	if err != nil || keep < st.FirstSeq+trimStep {
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
