package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"

	"home.lab/event-store/ledger"
	"home.lab/event-store/ledger/sample"
)

// measureQueries asks what a person and a page ask, each by one caller.
func (b *bench) measureQueries(ctx context.Context) error {
	last, err := b.store.lastID(ctx)
	if err != nil || last == 0 {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	queries := []struct {
		name string
		path func() string
	}{
		{"get by id", func() string { return "/events/" + ledger.ID(1+random.Int64N(int64(last))).String() }},
		{"newest 50", func() string { return "/events?limit=50" }},
		{"newest 50 of a category", func() string { return "/events?limit=50&category=security" }},
		{"newest 50 of an actor", func() string { return "/events?limit=50&actor=user-alice01" }},
		{"newest 50 of a rare actor", func() string { return "/events?limit=50&actor=" + sample.RareActor }},
		{"newest 50 failures of a category", func() string { return "/events?limit=50&category=ai&result=failure" }},
	}
	for _, q := range queries {
		b.say("query: " + q.name)
		l, err := repeat(1, b.o.time/4, 1, func(int) error {
			_, _, err := b.store.call(ctx, http.MethodGet, q.path(), "", nil)
			return err
		})
		if err != nil {
			return fmt.Errorf("measuring %s: %w", q.name, err)
		}
		b.out.add(figure{Name: q.name, Value: l.rate, Unit: "queries/s", P50: milliseconds(l.p50), P99: milliseconds(l.p99)})
	}
	return nil
}
