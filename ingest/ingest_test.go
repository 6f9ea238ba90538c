package ingest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"home.lab/event-store/ledger"
)

const event = `{"action":"test","actor":"tester"}`

// fixture is a running ingest on a folder.
type fixture struct {
	t    *testing.T
	dir  string
	led  *ledger.Ledger
	ing  *Ingest
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, dir string) *fixture {
	t.Helper()
	f, err := tryStart(t, dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func tryStart(t *testing.T, dir string, o Options) (*fixture, error) {
	t.Helper()
	return tryStartWith(t, dir, openLedger(t, dir), o)
}

func tryStartWith(t *testing.T, dir string, led *ledger.Ledger, o Options) (*fixture, error) {
	t.Helper()
	o.Dir, o.MaxBytes = filepath.Join(dir, "jetstream"), cmp.Or(o.MaxBytes, 64<<20)
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	o.SyncInterval = time.Minute // no test cuts the power of the machine
	ing, err := Open(t.Context(), o, led)
	if err != nil {
		led.Close()
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &fixture{t, dir, led, ing, cancel, make(chan error, 1)}
	go func() { f.done <- ing.Run(ctx) }()
	t.Cleanup(f.close)
	return f, nil
}

func openLedger(t *testing.T, dir string) *ledger.Ledger {
	t.Helper()
	led, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Config: ledger.DefaultConfig(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return led
}

// close verifies the whole ledger and stops everything.
func (f *fixture) close() {
	if f.stop == nil {
		return
	}
	f.stop()
	f.stop = nil
	if err := <-f.done; err != nil {
		f.t.Errorf("Run: %v", err)
	}
	r, err := f.led.Verify(context.Background(), ledger.VerifyOptions{})
	if err != nil || r.Status != "valid" {
		f.t.Errorf("Verify: %+v %v", r, err)
	}
	f.ing.Close()
	f.led.Close()
}

// client is a publisher.
func (f *fixture) client(opts ...nats.Option) *nats.Conn {
	f.t.Helper()
	nc, err := nats.Connect("nats://"+f.ing.Addr(), opts...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(nc.Close)
	return nc
}

// get waits for the event with the id.
func (f *fixture) get(id ledger.ID) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f.led.Wait(ctx, id); err != nil {
		f.t.Fatalf("waiting for %s: %v", id, err)
	}
	line, err := f.led.Get(id)
	if err != nil {
		f.t.Fatalf("event %s: %v", id, err)
	}
	return string(line)
}

func (f *fixture) draft(action string) ledger.Draft {
	f.t.Helper()
	d, err := f.led.Decode([]byte(`{"category":"system","action":"` + action + `","actor":"tester"}`))
	if err != nil {
		f.t.Fatal(err)
	}
	return d
}

func TestPlainPublishIsChained(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	nc := f.client()
	heads, err := nc.SubscribeSync(headSubject)
	if err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("events.system", []byte(event)); err != nil {
		t.Fatal(err)
	}
	if err := nc.Publish("events.system", []byte("no json")); err != nil {
		t.Fatal(err)
	}
	if line := f.get(1); !strings.Contains(line, `"action":"test"`) {
		t.Errorf("first event is %s", line)
	}
	if line := f.get(2); !strings.Contains(line, `"action":"event_rejected"`) {
		t.Errorf("second event is %s", line)
	}
	var head struct{ ID, Hash, Timestamp string }
	for head.ID != f.led.Head().ID.String() {
		m, err := heads.NextMsg(5 * time.Second)
		if err != nil {
			t.Fatalf("no head %s, the last was %+v: %v", f.led.Head().ID, head, err)
		}
		if err := json.Unmarshal(m.Data, &head); err != nil {
			t.Fatal(err)
		}
	}
	if head.Hash != f.led.Head().Hash {
		t.Errorf("head is %+v, want %+v", head, f.led.Head())
	}
}

func TestClientsOfNatsGoGetTheirIDs(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	nc := f.client()
	old, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	a, err := old.Publish("events.system", []byte(`{"action":"old","actor":"tester"}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := js.Publish(t.Context(), "events.system", []byte(`{"action":"new","actor":"tester"}`))
	if err != nil {
		t.Fatal(err)
	}
	futures := []jetstream.PubAckFuture{}
	for n := range 2000 {
		p, err := js.PublishAsync("events.system", fmt.Appendf(nil, `{"action":"async%d","actor":"tester"}`, n), jetstream.WithStallWait(30*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		futures = append(futures, p)
	}
	for n, p := range futures {
		select {
		case ack := <-p.Ok():
			if line := f.get(ledger.ID(ack.Sequence)); !strings.Contains(line, fmt.Sprintf(`"action":"async%d"`, n)) {
				t.Fatalf("async %d is %s", n, line)
			}
		case err := <-p.Err():
			t.Fatal(err)
		case <-time.After(10 * time.Second):
			t.Fatalf("no acknowledgement for %d", n)
		}
	}
	if line := f.get(ledger.ID(a.Sequence)); !strings.Contains(line, `"action":"old"`) {
		t.Errorf("%d is %s", a.Sequence, line)
	}
	if line := f.get(ledger.ID(b.Sequence)); !strings.Contains(line, `"action":"new"`) {
		t.Errorf("%d is %s", b.Sequence, line)
	}
	again, err := js.Publish(t.Context(), "events.system", []byte(event), jetstream.WithMsgID("k"))
	if err != nil {
		t.Fatal(err)
	}
	dup, err := js.Publish(t.Context(), "events.system", []byte(event), jetstream.WithMsgID("k"))
	if err != nil || !dup.Duplicate || dup.Sequence != again.Sequence {
		t.Errorf("duplicate: %+v %v, first %+v", dup, err, again)
	}
}

// put publishes one event as a publisher and returns its id.
func put(t *testing.T, f *fixture, login ...nats.Option) ledger.ID {
	t.Helper()
	js, err := jetstream.New(f.client(login...))
	if err != nil {
		t.Fatal(err)
	}
	ack, err := js.Publish(t.Context(), "events.system", []byte(event))
	if err != nil {
		t.Fatal(err)
	}
	return ledger.ID(ack.Sequence)
}

func TestMain(m *testing.M) {
	if conf := os.Getenv(serverProcess); conf != "" {
		runServer(conf)
	}
	goleak.VerifyTestMain(m)
}

// A burst without acknowledgements must not be lost in the server's queue.
func TestBurstOfCorePublishesArrives(t *testing.T) {
	t.Parallel()
	f, err := tryStart(t, t.TempDir(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	const n = 150_000
	nc := f.client()
	began := time.Now()
	for range n {
		if err := nc.Publish("events.system", []byte(event)); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	published := time.Since(began)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := f.led.Wait(ctx, n); err != nil {
		t.Fatalf("head is %s: %v", f.led.Head().ID, err)
	}
	t.Logf("published in %v, chained in %v", published, time.Since(began))
}

// appendSoon appends until NATS is there.
func (f *fixture) appendSoon() ledger.ID {
	f.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		id, _, err := f.ing.Append(context.Background(), f.draft("later"), "")
		if err == nil {
			f.get(id)
			return id
		}
		if !errors.Is(err, ledger.ErrUnavailable) || time.Now().After(deadline) {
			f.t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// A publisher's own atomic batch passes the import too.
func TestPublishersBatchIsChained(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	nc := f.client()
	for n := 1; n <= 3; n++ {
		m := &nats.Msg{Subject: "events.system", Header: nats.Header{}, Data: []byte(event)}
		m.Header.Set("Nats-Batch-Id", "mine")
		m.Header.Set("Nats-Batch-Sequence", fmt.Sprint(n))
		if n == 3 {
			m.Header.Set("Nats-Batch-Commit", "1")
		}
		r, err := nc.RequestMsg(m, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if n == 3 && !bytes.Contains(r.Data, []byte(`"seq":3`)) {
			t.Errorf("commit answered %s", r.Data)
		}
	}
	f.get(3)
}
