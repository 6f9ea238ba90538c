package ingest

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// configured opens the ledger of a folder with another configuration than the
// default, and its ingest without Run.
func configured(t *testing.T, dir string, age time.Duration) (*ledger.Ledger, *Ingest) {
	t.Helper()
	config := ledger.DefaultConfig()
	config.MaxFileAge = age
	led, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Config: config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ing, err := Open(t.Context(), Options{Dir: filepath.Join(dir, "jetstream"), Listen: "127.0.0.1:0", MaxBytes: 64 << 20}, led)
	if err != nil {
		t.Fatal(err)
	}
	return led, ing
}

// Nothing that a publisher sends comes before the configuration.
func TestListenerOpensBehindTheConfiguration(t *testing.T) {
	t.Parallel()
	led, ing := configured(t, t.TempDir(), time.Hour)
	defer led.Close()
	defer ing.Close()
	if ing.Addr() == "" {
		t.Fatal("no listener")
	}
	s, err := ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := s.GetMsg(t.Context(), 1); err != nil || m.Subject != ownPrefix+"ledger_configured" {
		t.Errorf("the first message is %v, %v", m, err)
	}
}

// With a backlog the configuration comes behind it, and the listener after.
func TestListenerWaitsForTheBacklog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	led, ing := configured(t, dir, 24*time.Hour) // the default
	for range 100 {
		if _, err := ing.js.Publish(t.Context(), "events.system", []byte(event)); err != nil {
			t.Fatal(err)
		}
	}
	ing.Close()
	led.Close()

	led, ing = configured(t, dir, time.Hour)
	if ing.Addr() != "" {
		t.Error("publishers may come before the configuration")
	}
	ing.Close()
	led.Close()

	config := ledger.DefaultConfig()
	config.MaxFileAge = time.Hour
	led, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Config: config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	f, err := tryStartWith(t, dir, led, Options{})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "a listener", func() bool { return f.ing.Addr() != "" })
	id := put(t, f)
	f.get(id)
	if line := f.get(101); !strings.Contains(line, `"ledger_configured"`) || id != 102 {
		t.Errorf("behind the backlog came %s, then event %s", line, id)
	}
}

// A folder without a key must not make one of its own beside a stream that has
// its ledger; with that ledger's public key it follows.
func TestFollowerTakesThePublicKeyOnly(t *testing.T) {
	t.Parallel()
	nats := newExternal(t, "")
	leader, err := tryStart(t, t.TempDir(), Options{URL: nats.url()})
	if err != nil {
		t.Fatal(err)
	}
	defer leader.close()
	leader.appendSoon()

	dir := t.TempDir()
	_, err = tryStart(t, dir, Options{URL: nats.url()})
	if !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), "write the key into ledger.pub") || !strings.Contains(err.Error(), leader.led.PublicKey()) {
		t.Fatalf("Open: %v", err)
	}
	if names, _ := filepath.Glob(filepath.Join(dir, "ledger.*")); len(names) > 0 {
		t.Errorf("keys were made: %v", names)
	}

	if err := os.WriteFile(filepath.Join(dir, "ledger.pub"), []byte(leader.led.PublicKey()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := tryStart(t, dir, Options{URL: nats.url()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	last := leader.appendSoon()
	if f.get(last) != leader.get(last) || f.get(1) != leader.get(1) {
		t.Error("the follower has other events")
	}
	if len(f.led.OwnMessages()) > 0 {
		t.Error("a follower signs")
	}
	if w := strings.Join(f.status().Warnings, "; "); strings.Contains(w, "ledger.key") {
		t.Errorf("a follower warns: %s", w) // the leader signs
	}
}

func TestAnotherSubjectPrefixIsRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := start(t, dir)
	f.get(put(t, f))
	f.close()
	if _, err := tryStart(t, dir, Options{SubjectPrefix: "audit"}); !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), "nats.subject_prefix must stay events") {
		t.Errorf("Open: %v", err)
	}
	f = start(t, dir)
	f.get(put(t, f))
}

// A stream that was claimed before prefixes were noted down gets its prefix.
func TestStreamWithoutPrefixGetsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := start(t, dir)
	f.get(put(t, f))
	f.close()
	withStream(t, dir, func(js jetstream.JetStream) {
		s, err := js.Stream(t.Context(), "EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		cfg := s.CachedInfo().Config
		delete(cfg.Metadata, prefixMetadata)
		if _, err := js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
	})
	f = start(t, dir)
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if md := s.CachedInfo().Config.Metadata; md[prefixMetadata] != "events" || md[keyMetadata] != f.led.PublicKey() {
		t.Errorf("metadata is %v", md)
	}
}

// Two new ledgers find a new stream at the same time: it is one's.
func TestTwoNewLedgersOnOneStream(t *testing.T) {
	t.Parallel()
	nats := newExternal(t, "")
	type result struct {
		ing *Ingest
		led *ledger.Ledger
		err error
	}
	results := make(chan result)
	for range 2 {
		led := openLedger(t, t.TempDir())
		go func() {
			ing, err := Open(context.Background(), Options{URL: nats.url(), MaxBytes: 64 << 20}, led)
			if err == nil { // also when the stream was not available: Run tries again
				ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
				defer cancel()
				done := make(chan error, 1)
				go func() { done <- ing.Run(ctx) }()
				for ctx.Err() == nil && led.Head().ID == 0 && len(done) == 0 {
					ing.Append(ctx, mustDecode(led), "")
					pause(ctx, 500*time.Millisecond)
				}
				pause(ctx, 6*time.Second) // more than watchEvery
				cancel()
				err = <-done
			}
			results <- result{ing, led, err}
		}()
	}
	refused := 0
	for range 2 {
		r := <-results
		if errors.Is(r.err, ErrHistory) {
			refused++
		} else if r.err != nil {
			t.Error(r.err)
		}
		if r.ing != nil {
			r.ing.Close()
		}
		r.led.Close()
	}
	if refused != 1 {
		t.Errorf("%d of 2 were refused", refused)
	}
}

func mustDecode(led *ledger.Ledger) ledger.Draft {
	d, err := led.Decode([]byte(`{"category":"system","action":"a","actor":"b"}`))
	if err != nil {
		panic(err)
	}
	return d
}

func TestForeignStreamIsRefused(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	f := start(t, dir)
	f.get(put(t, f))
	f.close()
	led := openLedger(t, other)
	defer led.Close()
	_, err := Open(t.Context(), Options{Dir: filepath.Join(dir, "jetstream"), MaxBytes: 64 << 20}, led)
	if !errors.Is(err, ErrHistory) {
		t.Errorf("Open: %v", err)
	}
}

func TestEmptyLedgerRefusesAStreamThatBeginsLater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	withStream(t, dir, func(js jetstream.JetStream) {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, FirstSeq: 7}); err != nil {
			t.Fatal(err)
		}
	})
	if _, err := tryStart(t, dir, Options{}); !errors.Is(err, ErrHistory) || !strings.Contains(err.Error(), "copy of the data folder") {
		t.Errorf("Open: %v", err)
	}
}

func TestStreamMadeBeforehandIsClaimedAndDriftIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	withStream(t, dir, func(js jetstream.JetStream) {
		if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, MaxAge: time.Hour, Discard: jetstream.DiscardOld}); err != nil {
			t.Fatal(err)
		}
	})
	f := start(t, dir)
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if key := s.CachedInfo().Config.Metadata[keyMetadata]; key != f.led.PublicKey() {
		t.Errorf("the key is %q", key)
	}
	drift := strings.Join(f.ing.Status().Drift, "; ")
	for _, want := range []string{"max_age", "discard", "deny_delete", "subjects"} {
		if !strings.Contains(drift, want) {
			t.Errorf("drift %q lacks %s", drift, want)
		}
	}
}
