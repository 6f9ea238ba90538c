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

// slowClock is a stream whose clock is behind.
type slowClock struct {
	ledger *ledger.Ledger
	seq    uint64
	behind time.Duration
}

func (s *slowClock) send(ctx context.Context, ago time.Duration, subject string, data []byte) error {
	s.seq++
	return s.ledger.Project(ctx, []ledger.Message{{Seq: s.seq, Time: time.Now().Add(-ago), Subject: subject, Data: data}})
}

func (s *slowClock) PublishOwn(ctx context.Context, m ledger.OwnMessage) (ledger.ID, error) {
	err := s.send(ctx, s.behind, "eventstore.ledger."+m.Action, m.Data)
	return ledger.ID(s.seq), err
}

// TestPassByTheClockOfTheStream: what is due by this machine's clock only waits, and does not keep back what is due by both.
func TestPassByTheClockOfTheStream(t *testing.T) {
	dir := t.TempDir()
	c := ledger.DefaultConfig()
	c.Categories["service"] = ledger.Policy{Retention: time.Hour}
	c.MaxFileAge = time.Minute
	log := slog.New(slog.DiscardHandler)
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Config: c, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	s := &slowClock{ledger: l, behind: 3 * time.Hour}
	own := func() (n int) {
		for _, m := range l.OwnMessages() {
			if _, err := s.PublishOwn(t.Context(), m); err != nil {
				t.Fatal(err)
			}
			n++
		}
		return n
	}
	own() // the configuration
	event := []byte(`{"action":"a","actor":"b"}`)
	for _, ago := range []time.Duration{2 * time.Hour, 70 * time.Minute, 31 * time.Minute} { // a segment each
		if err := s.send(t.Context(), ago, "events.service", event); err != nil {
			t.Fatal(err)
		}
	}
	s.behind = 30 * time.Minute
	sealed := 0
	until(t, "three segments are sealed", func() bool { sealed += own(); return sealed >= 3 })
	k := retention.New(l, s, time.Hour, log)
	if preview, err := k.Preview(t.Context()); err != nil || preview.AgedOut != 2 {
		t.Fatalf("due by this clock: %v %+v", err, preview)
	}
	r, err := k.Pass(t.Context())
	if err != nil || r.AgedOut != 1 || len(r.Decisions) != 1 || len(r.Pending) != 0 {
		t.Errorf("%v %+v", err, r)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if v, err := ledger.VerifyDir(t.Context(), dir, ledger.VerifyOptions{}); err != nil || v.Status != "valid" || v.AgedOut != 1 {
		t.Errorf("%v %+v", err, v)
	}
}
