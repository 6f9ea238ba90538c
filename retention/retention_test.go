package retention_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"home.lab/event-store/ingest"
	"home.lab/event-store/ledger"
	"home.lab/event-store/retention"
)

// TestPass runs the real thing: an embedded server, a retention of two
// seconds, small segments.
func TestPass(t *testing.T) {
	log, dir := slog.New(slog.DiscardHandler), t.TempDir()
	c := ledger.DefaultConfig()
	c.Categories["service"] = ledger.Policy{Retention: 2 * time.Second}
	c.MaxFileAge = time.Second
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Config: c, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	in, err := ingest.Open(t.Context(), ingest.Options{Dir: t.TempDir(), Logger: log}, l)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- in.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		in.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		r, err := ledger.VerifyDir(context.Background(), dir, ledger.VerifyOptions{})
		if err != nil || r.Status != "valid" || r.AgedOut == 0 {
			t.Errorf("%v %+v", err, r)
		}
	}()
	until(t, "the configuration is chained", l.Configured)
	send := func(n int) (last ledger.ID) {
		for _, category := range []string{"service", "security"} {
			d, err := l.Decode([]byte(`{"category":"` + category + `","action":"a","actor":"b"}`))
			if err != nil {
				t.Fatal(err)
			}
			for range n {
				if last, _, err = in.Append(t.Context(), d, ""); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := l.Wait(t.Context(), last); err != nil {
			t.Fatal(err)
		}
		return last
	}
	first := send(50)
	k := retention.New(l, in, time.Hour, log)
	if r, err := k.Pass(t.Context()); err != nil || r.AgedOut != 0 || len(r.Decisions) != 0 {
		t.Fatalf("nothing is due: %v %+v", err, r)
	}
	time.Sleep(2100 * time.Millisecond)
	send(1) // ends the segment
	var preview *retention.Report
	until(t, "the segment is due", func() bool {
		preview, err = k.Preview(t.Context())
		return err == nil && preview.AgedOut == 50
	})
	r, err := k.Pass(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if preview.BytesFreed != r.BytesFreed || !slices.Equal(preview.Segments, r.Segments) || len(r.Pending) != 0 {
		t.Errorf("previewed %+v, got %+v", preview, r)
	}
	if r.AgedOut != 50 || r.ByCategory["service"] != 50 || len(r.Decisions) != 1 || r.AgedOutTotal != 50 || r.BytesFreed <= 0 {
		t.Errorf("%+v", r)
	}
	if _, err := l.Get(first); err != nil {
		t.Errorf("a security event: %v", err)
	}
	if v, err := l.Verify(t.Context(), ledger.VerifyOptions{}); err != nil || v.Status != "valid" || v.AgedOut != 50 {
		t.Errorf("%v %+v", err, v)
	}
	if r, err := k.Pass(t.Context()); err != nil || r.AgedOut != 0 {
		t.Errorf("a second pass: %v %+v", err, r)
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("time is up: %s", what)
		}
	}
}
