package ingest

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// storeOn starts a store of its own folder on an external NATS, with small
// segments.
func storeOn(t *testing.T, nats *external, dir string, log *lines) *fixture {
	t.Helper()
	return storeWith(t, Options{URL: nats.url(), Logger: log.logger()}, dir, 1<<20)
}

func storeWith(t *testing.T, o Options, dir string, maxFileSize int64) *fixture {
	t.Helper()
	config := ledger.DefaultConfig()
	config.MaxFileSize = maxFileSize
	led, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Config: config, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	o.NameFile = filepath.Join(dir, "replica")
	f, err := tryStartWith(t, dir, led, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// ready waits until the store takes events.
func (f *fixture) ready() *fixture {
	f.t.Helper()
	soon(f.t, "reconciled", func() bool { return f.ing.ready.Load() })
	return f
}

// copyKeys gives a new folder a ledger's keys.
func copyKeys(t *testing.T, from string, names ...string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for _, name := range names {
		b, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// burst publishes n events and waits for their acknowledgements.
func burst(t *testing.T, js jetstream.JetStream, n int) {
	t.Helper()
	for k := range n {
		if _, err := js.PublishAsync("events.system", fmt.Appendf(nil, `{"action":"burst%d","actor":"tester"}`, k), jetstream.WithStallWait(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	<-js.PublishAsyncComplete()
}

func firstSeq(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.FirstSeq
}

// trim does what a round of the watch does.
func (f *fixture) trim() {
	f.t.Helper()
	info, err := f.ing.info(f.t.Context())
	if err == nil {
		err = f.ing.trim(f.t.Context(), info.State, info.Config.MaxBytes)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func trimTwice(f *fixture) {
	f.t.Helper()
	f.trim()
	f.trim()
}

func TestTrimmingWaitsForTheReplicas(t *testing.T) {
	t.Parallel()
	nats, log := newExternal(t, ""), &lines{}
	js := nats.js()
	a := storeOn(t, nats, t.TempDir(), log).ready()
	defer a.close()
	b := storeOn(t, nats, copyKeys(t, a.dir, "ledger.pub"), log).ready()
	b.get(a.appendSoon())
	if err := b.ing.report(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.close() // at a low position
	burst(t, js, 30_000)
	a.get(a.appendSoon())
	if needs := a.ing.needs(); needs < trimStep {
		t.Fatalf("the leader needs %d", needs)
	}
	trimTwice(a)
	if first := firstSeq(t, js); first != 1 {
		t.Fatalf("the stream begins at %d: trimmed under a replica", first)
	}

	b = storeOn(t, nats, b.dir, log).ready()
	b.get(a.appendSoon())
	if err := b.ing.report(t.Context()); err != nil {
		t.Fatal(err)
	}
	trimTwice(b)
	if first := firstSeq(t, js); first != 1 {
		t.Errorf("the stream begins at %d: a follower trims", first)
	}
	a.trim()
	if first := firstSeq(t, js); first != 1 {
		t.Errorf("the stream begins at %d: trimmed although the follower is another process than before", first)
	}
	a.trim()
	if first, want := firstSeq(t, js), min(a.ing.needs(), b.ing.needs()); first != want {
		t.Errorf("the stream begins at %d, want %d", first, want)
	}
	b.get(a.appendSoon())
	if b.led.Head() != a.led.Head() {
		t.Errorf("heads %v and %v", a.led.Head(), b.led.Head())
	}
	b.close()
}

// A replica that is gone is named, and with its consumer removed the stream is
// trimmed again.
func TestStaleReplicaIsNamedAndCanBeRemoved(t *testing.T) {
	t.Parallel()
	nats, log := newExternal(t, ""), &lines{}
	js := nats.js()
	a := storeOn(t, nats, t.TempDir(), log).ready()
	defer a.close()
	first := a.appendSoon()
	if _, err := js.CreateConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{Durable: replicaPrefix + "gone", DeliverPolicy: jetstream.DeliverNewPolicy, AckPolicy: jetstream.AckNonePolicy,
		Metadata: map[string]string{positionMetadata: "1", headMetadata: first.String() + ":" + strings.Repeat("0", 64), seenMetadata: "2026-01-01T00:00:00Z", runMetadata: "x"}}); err != nil {
		t.Fatal(err)
	}
	burst(t, js, 30_000)
	a.get(a.appendSoon())
	if err := a.ing.report(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := js.Consumer(t.Context(), "EVENTS", replicaPrefix+a.ing.replicaName()); err != nil || c.CachedInfo().NumPending != 0 {
		t.Errorf("the consumer that tells the position: %v, waiting %d", err, c.CachedInfo().NumPending)
	}
	s := a.ing.Status()
	warnings := strings.Join(s.Warnings, "\n")
	if len(s.Replicas) != 2 || !strings.Contains(warnings, "nats consumer rm EVENTS replica-gone") || !strings.Contains(warnings, "another event "+first.String()) {
		t.Errorf("status: %+v", s)
	}
	trimTwice(a)
	if first := firstSeq(t, js); first != 1 {
		t.Errorf("the stream begins at %d", first)
	}
	if err := js.DeleteConsumer(t.Context(), "EVENTS", replicaPrefix+"gone"); err != nil {
		t.Fatal(err)
	}
	trimTwice(a)
	if first := firstSeq(t, js); first != a.ing.needs() {
		t.Errorf("the stream begins at %d, want %d", first, a.ing.needs())
	}
	if err := a.ing.report(t.Context()); err != nil || len(a.ing.Status().Warnings) > 0 {
		t.Errorf("warnings are still %q, %v", a.ing.Status().Warnings, err)
	}
}

// A folder that was copied whole has its original's name.
func TestCopiedFolderGetsANameOfItsOwn(t *testing.T) {
	t.Parallel()
	nats, log := newExternal(t, ""), &lines{}
	a := storeOn(t, nats, t.TempDir(), log).ready()
	defer a.close()
	b := storeOn(t, nats, copyKeys(t, a.dir, "ledger.key", "ledger.pub", "replica"), log).ready()
	defer b.close()
	if a.ing.replicaName() != b.ing.replicaName() {
		t.Fatal("the names differ already")
	}
	trimTwice(b) // b sees itself only
	for _, f := range []*fixture{a, b, a} {
		if err := f.ing.report(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if a.ing.replicaName() == b.ing.replicaName() || len(a.ing.Status().Replicas) != 2 {
		t.Errorf("replicas: %+v", a.ing.Status().Replicas)
	}
	kept, err := os.ReadFile(filepath.Join(a.dir, "replica"))
	if err != nil || strings.TrimSpace(string(kept)) != a.ing.replicaName() {
		t.Errorf("the folder has the name %q, %v", kept, err)
	}
}
