package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"home.lab/event-store/ledger"
	"home.lab/event-store/ledger/sample"
)

const (
	callers     = 64
	bulkCallers = 4
	bulkEvents  = 1000
	lineBytes   = 560 // of a sample's line, about
	inFlight    = 4096
	dataSync    = syscall.O_DSYNC // each write is a write + fdatasync

	streamCeiling  = "JetStream publish + ordered consume"
	handlerCeiling = "chi handler that reads its body"

	pathEvents = "/events"
	pathSynced = "/synced" // of the ceiling: a line is written and synced before the answer
)

// A sampleEvent is what a publisher sends.
type sampleEvent struct {
	subject string
	body    []byte
}

func makeSamples(n int) []sampleEvent {
	g := sample.New(1)
	events := make([]sampleEvent, n)
	for i := range events {
		category, body := g.Next()
		events[i] = sampleEvent{"events." + category, body}
	}
	return events
}

// repeat calls f from several callers for a while. Each call stands for n events.
func repeat(callers int, d time.Duration, n int, f func(caller int) error) (pace, error) {
	took := make([][]time.Duration, callers)
	var g errgroup.Group
	start := time.Now()
	for c := range callers {
		g.Go(func() error {
			for time.Since(start) < d {
				began := time.Now()
				if err := f(c); err != nil {
					return err
				}
				took[c] = append(took[c], time.Since(began))
			}
			return nil
		})
	}
	err := g.Wait()
	all := slices.Sorted(slices.Values(slices.Concat(took...)))
	if err != nil || len(all) == 0 {
		return pace{}, err
	}
	return pace{rate: float64(len(all)*n) / time.Since(start).Seconds(), p50: all[len(all)/2], p99: all[len(all)*99/100]}, nil
}

// measureJetStream is publishing with acknowledgements, until the last event is committed.
func (b *bench) measureJetStream(ctx context.Context) error {
	if b.store.nats == "" {
		return nil
	}
	const name = "JetStream publish"
	store, raw, err := b.publishRounds(ctx, name, jetStreamPublish)
	b.nats, b.stream = store.rate, raw
	b.out.add(rate(name+" to commit", store, streamCeiling, raw))
	return err
}

// measureCore is publishing without acknowledgements. A commit has the same ceiling whoever published; without the
// acknowledgements the stream alone is faster, which is shown too.
func (b *bench) measureCore(ctx context.Context) error {
	if b.store.nats == "" {
		return nil
	}
	const name = "core publish"
	store, raw, err := b.publishRounds(ctx, name, corePublish)
	if err != nil {
		return err
	}
	if b.stream.rate == 0 {
		b.out.add(rate(name+" to commit", store, name+" + ordered consume", raw))
		return nil
	}
	b.out.add(rate(name+" to commit", store, streamCeiling, b.stream))
	b.out.add(rate("only "+name+" + ordered consume", raw, "", pace{}))
	return nil
}

func (b *bench) publishRounds(ctx context.Context, name string, send sender) (store, raw pace, err error) {
	return b.rounds(name, func() (pace, error) { return b.publish(ctx, b.store, send) }, func() (pace, error) { return b.publish(ctx, b.raw, send) })
}

// A sender publishes events on a connection.
type sender func(context.Context, *nats.Conn, []sampleEvent) error

// publish publishes the round's events and waits until the last one is committed.
func (b *bench) publish(ctx context.Context, t *target, send sender) (pace, error) {
	nc, err := nats.Connect(t.nats)
	if err != nil {
		return pace{}, err
	}
	defer nc.Close()
	first, err := t.lastID(ctx)
	if err != nil {
		return pace{}, err
	}
	start := time.Now()
	for sent := 0; sent < b.o.events; {
		before := sent
		n := min(b.o.events-sent, len(b.samples))
		if err := send(ctx, nc, b.samples[:n]); err != nil {
			return pace{}, err
		}
		sent += n
		// Core publishes that the server has no room for are lost: a run of samples ahead is enough.
		if before == 0 {
			continue
		}
		if err := t.wait(ctx, first+ledger.ID(before)); err != nil {
			return pace{}, err
		}
	}
	if err := t.wait(ctx, first+ledger.ID(b.o.events)); err != nil {
		return pace{}, err
	}
	return pace{rate: float64(b.o.events) / time.Since(start).Seconds()}, nil
}

// jetStreamPublish publishes with acknowledgements, many in flight.
func jetStreamPublish(ctx context.Context, nc *nats.Conn, events []sampleEvent) error {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(inFlight))
	if err != nil {
		return err
	}
	for _, e := range events {
		if _, err := js.PublishAsync(e.subject, e.body, jetstream.WithStallWait(10*time.Second)); err != nil {
			return err
		}
	}
	select {
	case <-js.PublishAsyncComplete():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Minute):
		return fmt.Errorf("%d acknowledgements did not come", js.PublishAsyncPending())
	}
}

// corePublish publishes without acknowledgements.
func corePublish(_ context.Context, nc *nats.Conn, events []sampleEvent) error {
	for _, e := range events {
		if err := nc.Publish(e.subject, e.body); err != nil {
			return err
		}
	}
	return nc.Flush()
}

// measureAppend is HTTP append by 64 callers and by one.
func (b *bench) measureAppend(ctx context.Context) error {
	store, raw, err := b.rounds("HTTP append, 64 callers",
		func() (pace, error) { return b.post(b.store, pathEvents, callers, 1) },
		func() (pace, error) { return b.post(b.raw, pathEvents, callers, 1) })
	if err != nil {
		return err
	}
	b.out.add(rate("HTTP append, 64 callers", store, handlerCeiling, raw))
	return errors.Join(b.measureLoneAppend(), ctx.Err())
}

// measureLoneAppend is HTTP append by one caller. Its ceiling is a handler that does what an append cannot do without: it
// reads the body, writes a line and syncs it. The two parts alone are shown too. They take less than the handler: in a
// loop without a pause no core goes to sleep between two of them.
func (b *bench) measureLoneAppend() error {
	var syncs, bares []pace
	store, raw, err := b.rounds("HTTP append, one caller",
		func() (pace, error) { return b.post(b.store, pathEvents, 1, 1) },
		func() (pace, error) {
			synced, err := b.syncedWrites(1)
			if err != nil {
				return pace{}, err
			}
			bare, err := b.post(b.raw, pathEvents, 1, 1)
			if err != nil {
				return pace{}, err
			}
			syncs, bares = append(syncs, synced), append(bares, bare)
			return b.post(b.raw, pathSynced, 1, 1)
		})
	if err != nil {
		return err
	}
	b.out.add(rate("HTTP append, 1 caller", store, "chi handler that also writes + fdatasyncs a line", raw))
	b.out.add(rate("only write + fdatasync, 1 event", median(syncs), "", pace{}))
	b.out.add(rate("only "+handlerCeiling+", 1 caller", median(bares), "", pace{}))
	return nil
}

// measureBulk is NDJSON in requests of 1,000 by 4 callers.
func (b *bench) measureBulk(ctx context.Context) error {
	ceiling, raw := handlerCeiling, func() (pace, error) { return b.post(b.raw, pathEvents, bulkCallers, bulkEvents) }
	if b.nats > 0 {
		ceiling, raw = "JetStream publish to commit", func() (pace, error) { return pace{rate: b.nats}, nil }
	}
	store, c, err := b.rounds("bulk NDJSON", func() (pace, error) { return b.post(b.store, pathEvents, bulkCallers, bulkEvents) }, raw)
	if err != nil {
		return err
	}
	b.out.add(rate("bulk NDJSON, 4 callers", store, ceiling, c))
	return ctx.Err()
}

// post posts events: many as NDJSON, or one a request.
func (b *bench) post(t *target, path string, callers, events int) (pace, error) {
	media := "application/json"
	if events > 1 {
		media = "application/x-ndjson"
	}
	bodies := b.bodies(events)
	at := make([]int, callers)
	return repeat(callers, b.o.time, events, func(c int) error {
		at[c]++
		_, _, err := t.call(context.Background(), http.MethodPost, path, media, bodies[(c+at[c]*callers)%len(bodies)])
		return err
	})
}

// bodies are the samples, so many to a body.
func (b *bench) bodies(events int) [][]byte {
	var bodies [][]byte
	for group := range slices.Chunk(b.samples[:len(b.samples)/events*events], events) {
		var body []byte
		for _, e := range group {
			body = append(append(body, e.body...), '\n')
		}
		if bodies = append(bodies, body); len(bodies) == 20_000 {
			break
		}
	}
	return bodies
}
