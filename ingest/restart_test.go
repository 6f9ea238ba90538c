package ingest

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

func TestRestartGoesOn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := start(t, dir)
	for range 10 {
		f.get(put(t, f))
	}
	head := f.led.Head()
	f.close()
	f = start(t, dir)
	if f.led.Head() != head {
		t.Errorf("head is %+v, was %+v", f.led.Head(), head)
	}
	if id := put(t, f); id != head.ID+1 {
		t.Errorf("the next id is %s after %s", id, head.ID)
	}
	f.get(head.ID + 1)
}

// What is in the stream and not yet in the ledger arrives after a restart.
func TestStreamAheadIsProjected(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	led := openLedger(t, dir)
	ing, err := Open(t.Context(), Options{Dir: filepath.Join(dir, "jetstream"), MaxBytes: 64 << 20}, led)
	if err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		if _, err := ing.js.PublishAsync("events.system", []byte(event), jetstream.WithStallWait(30*time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	<-ing.js.PublishAsyncComplete()
	ing.Close()
	led.Close()
	f := start(t, dir)
	f.get(6000)
}

// After a power loss the stream may lack what the ledger has.
func TestStreamBehindMovesForward(t *testing.T) {
	t.Parallel()
	for _, keep := range []uint64{0, 3} {
		dir := t.TempDir()
		f := start(t, dir)
		for range 10 {
			f.get(put(t, f))
		}
		f.ing.ready.Store(false)
		msgs := []*jetstream.RawStreamMsg{}
		s, err := f.ing.js.Stream(t.Context(), "EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		for n := uint64(1); n <= keep; n++ {
			m, err := s.GetMsg(t.Context(), n)
			if err != nil {
				t.Fatal(err)
			}
			msgs = append(msgs, m)
		}
		head := f.led.Head()
		f.close()
		cutStream(t, dir, msgs)

		f, err = tryStart(t, dir, Options{})
		if err != nil {
			t.Fatal(err)
		}
		next := head.ID + 1 + ledger.ID(keep) // stream times cannot be published again: same ids, other events, moved
		if id := put(t, f); id != next {
			t.Errorf("the next id is %s after %s", id, head.ID)
		}
		f.get(next)
	}
}

// cutStream makes the stream again with msgs only.
func cutStream(t *testing.T, dir string, msgs []*jetstream.RawStreamMsg) {
	t.Helper()
	withStream(t, dir, func(js jetstream.JetStream) {
		makeAgain(t, js)
		for _, m := range msgs {
			if _, err := js.Publish(t.Context(), m.Subject, m.Data); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// withStream runs do on the folder's embedded server, without a ledger.
func withStream(t *testing.T, dir string, do func(jetstream.JetStream)) {
	t.Helper()
	o := withDefaults(Options{Dir: filepath.Join(dir, "jetstream"), MaxBytes: 64 << 20, SyncInterval: time.Minute})
	e, err := startServer(o)
	if err != nil {
		t.Fatal(err)
	}
	defer e.stop()
	nc, closed, err := connect(o, e, &absence{}, make(chan struct{}, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { nc.Close(); <-closed }()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	do(js)
}

// A stream whose tail was lost, with the same messages before it.
func TestStreamTailLostMovesForward(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := start(t, dir)
	for range 5 {
		f.get(put(t, f))
	}
	f.stop()
	<-f.done
	f.ing.Close()
	// The ledger gets five events more than the stream has.
	head := f.led.Head()
	var more []ledger.Message
	for n := range 5 {
		more = append(more, ledger.Message{Seq: uint64(head.ID) + 1 + uint64(n), Time: time.Now(), Subject: "events.system", Data: []byte(event)})
	}
	if err := f.led.Project(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	if err := f.led.Wait(t.Context(), head.ID+5); err != nil {
		t.Fatal(err)
	}
	f.led.Close()
	f.stop = nil

	f = start(t, dir)
	if id := put(t, f); id != head.ID+6 {
		t.Errorf("the next id is %s, want %s", id, head.ID+6)
	}
	f.get(head.ID + 6)
}

// A changed configuration is chained at start-up, with no event arriving.
func TestConfigurationIsChainedAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
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
	if line := f.get(1); !strings.Contains(line, `"action":"ledger_configured"`) {
		t.Errorf("first event is %s", line)
	}
	time.Sleep(2 * ownEvery)
	if head := f.led.Head().ID; head != 1 {
		t.Errorf("chained again: head is %s", head)
	}
}
