package ingest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
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

func TestAppend(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	id, dup, err := f.ing.Append(t.Context(), f.draft("one"), "key")
	if err != nil || dup {
		t.Fatal(id, dup, err)
	}
	if line := f.get(id); !strings.Contains(line, `"action":"one"`) {
		t.Errorf("%s is %s", id, line)
	}
	if again, dup, err := f.ing.Append(t.Context(), f.draft("one"), "key"); err != nil || !dup || again != id {
		t.Errorf("the same key: %s %v %v, want %s", again, dup, err, id)
	}
	for _, n := range []int{1, 2, 1000} {
		var ds []ledger.Draft
		for k := range n {
			ds = append(ds, f.draft(fmt.Sprintf("batch%d", k)))
		}
		first, last, err := f.ing.AppendBatch(t.Context(), ds)
		if err != nil || last-first+1 != ledger.ID(n) {
			t.Fatal(first, last, err)
		}
		if line := f.get(first); !strings.Contains(line, `"action":"batch0"`) {
			t.Errorf("%s is %s", first, line)
		}
		if line := f.get(last); !strings.Contains(line, fmt.Sprintf(`"action":"batch%d"`, n-1)) {
			t.Errorf("%s is %s", last, line)
		}
	}
}

func TestConcurrentAppendsGetTheirOwnEvents(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for n := range 10 {
				action := fmt.Sprintf("w%dn%d", w, n)
				d, _ := f.led.Decode([]byte(`{"category":"user","action":"` + action + `","actor":"tester"}`))
				id, _, err := f.ing.Append(context.Background(), d, "")
				if err == nil {
					err = f.led.Wait(context.Background(), id)
				}
				if line, gerr := f.led.Get(id); err != nil || gerr != nil || !bytes.Contains(line, []byte(`"`+action+`"`)) {
					t.Errorf("%s: %s %v %v", id, line, err, gerr)
				}
			}
		})
	}
	wg.Wait()
}

func TestFullStreamIsUnavailable(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	cfg := f.ing.wanted()
	cfg.MaxBytes = 1
	if _, err := f.ing.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.ing.Append(t.Context(), f.draft("x"), ""); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("Append: %v", err)
	}
	if _, _, err := f.ing.AppendBatch(t.Context(), []ledger.Draft{f.draft("x"), f.draft("y")}); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("AppendBatch: %v", err)
	}
}

// forbiddenSubjects and forbiddenSubscriptions are beyond every publisher.
var (
	forbiddenSubjects = []string{
		"$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.UPDATE.EVENTS",
		"$JS.API.STREAM.INFO.EVENTS", "$JS.API.STREAM.NAMES", "$JS.API.INFO", "$JS.API.CONSUMER.CREATE.EVENTS.c",
		"$JS.API.CONSUMER.CREATE.EVENTS", "$JS.API.STREAM.MSG.GET.EVENTS", "$JS.API.DIRECT.GET.EVENTS",
		"eventstore.ledger.segment_sealed", "eventstore.head", "_STORE.x", "_INBOX.x", "$SYS.REQ.SERVER.PING", "$SYS.REQ.ACCOUNT.STORE.CONNZ", "$SYS.REQ.USER.INFO",
		"$JS.API.STREAM.PURGE.EVENTS.x", "$JS.API.STREAM.MSG.DELETE.EVENTS", "$JS.API.STREAM.CREATE.EVIL", "$JS.ACK.x", "$JS.FC.x", "$KV.x", "anything",
	}
	forbiddenSubscriptions = []string{">", "_STORE.>", "*.>", "events.>", "eventstore.ledger.>", "eventstore.>", "$JS.>", "_R_.>", "_INBOX", "$SYS.>", "*.EVENTS", "eventstore.head.x"}
)

// A publisher may publish events and hear his acknowledgements, nothing else.
func TestPublisherMayNothingElse(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	f.get(put(t, f))
	before, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}

	for _, subject := range forbiddenSubjects {
		if err := denied(f, func(nc *nats.Conn) { nc.Publish(subject, []byte("{}")) }); err != nil {
			t.Errorf("publish %s: %v", subject, err)
		}
	}
	for _, subject := range forbiddenSubscriptions {
		if err := denied(f, func(nc *nats.Conn) { nc.SubscribeSync(subject) }); err != nil {
			t.Errorf("subscribe %s: %v", subject, err)
		}
	}
	if nc, err := nats.Connect("nats://"+f.ing.Addr(), nats.UserInfo("store", "guess")); err == nil {
		nc.Close()
		t.Error("the store's user came in with a guessed password")
	}
	after, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if a, b := before.CachedInfo(), after.CachedInfo(); a.State.LastSeq != b.State.LastSeq || a.State.Msgs != b.State.Msgs || b.State.Consumers > 1 {
		t.Errorf("the stream changed: %+v to %+v", a.State, b.State)
	}
}

// denied wants a permissions violation from do.
func denied(f *fixture, do func(*nats.Conn), login ...nats.Option) error {
	errs := make(chan error, 10)
	login = append(login, nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { errs <- err }))
	nc, err := nats.Connect("nats://"+f.ing.Addr(), login...)
	if err != nil {
		return err
	}
	defer nc.Close()
	do(nc)
	nc.Flush()
	select {
	case err := <-errs:
		if !errors.Is(err, nats.ErrPermissionViolation) {
			return err
		}
		return nil
	case <-time.After(2 * time.Second):
		return errors.New("was not denied")
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

// JetStream answers with the server's rights on the reply subject that the
// publisher chose; inside a batch the answer is empty, which for the
// stream's API is a valid request.
func TestReplySubjectBorrowsNoRights(t *testing.T) {
	t.Parallel()
	replyBorrowsNoRights(t, start(t, t.TempDir()))
	f, logins := startGuarded(t, Options{})
	replyBorrowsNoRights(t, f, logins["password"])
}

func replyBorrowsNoRights(t *testing.T, f *fixture, login ...nats.Option) {
	t.Helper()
	for range 5 {
		put(t, f, login...)
	}
	nc := f.client(login...)
	sent := uint64(0)
	for n, reply := range []string{
		"$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.STREAM.MSG.DELETE.EVENTS",
		"$JS.API.CONSUMER.CREATE.EVENTS", "eventstore.ledger.segment_sealed", "_STORE.x",
	} {
		if err := nc.PublishMsg(&nats.Msg{Subject: "events.system", Reply: reply, Data: []byte(event)}); err != nil {
			t.Fatal(err)
		}
		sent++
		batch := nats.Header{}
		batch.Set("Nats-Batch-Id", fmt.Sprint("b", n))
		batch.Set("Nats-Batch-Sequence", "1")
		if err := nc.PublishMsg(&nats.Msg{Subject: "events.system", Reply: reply, Header: batch, Data: []byte(event)}); err != nil {
			t.Fatal(err)
		}
	}
	nc.Flush()
	last := put(t, f, login...)
	time.Sleep(500 * time.Millisecond)
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatalf("the stream is gone: %v", err)
	}
	if st := s.CachedInfo().State; st.FirstSeq != 1 || st.Msgs != st.LastSeq || st.LastSeq != uint64(last) || uint64(last) != 5+sent+1 {
		t.Errorf("the stream changed: %+v, want %d messages", st, 5+sent+1)
	}
	f.get(last)
}

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

func TestStreamMadeAgainUnderTheConsumer(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	last := put(t, f)
	f.get(last)
	if err := f.ing.js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		id, _, err := f.ing.Append(t.Context(), f.draft("later"), "")
		if err == nil {
			if id != f.led.Head().ID+1 && id <= last {
				t.Errorf("id %s after %s", id, last)
			}
			f.get(id)
			return
		}
		if !errors.Is(err, ledger.ErrUnavailable) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func TestPortInUseIsAnError(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := tryStart(t, t.TempDir(), Options{Listen: l.Addr().String()}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("Open: %v", err)
	}
}

func TestNATSElsewhereNotThere(t *testing.T) {
	t.Parallel()
	f, err := tryStart(t, t.TempDir(), Options{URL: "nats://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.ing.Append(t.Context(), f.draft("x"), ""); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("Append: %v", err)
	}
	if f.ing.Status().Connected {
		t.Error("connected")
	}
}

func TestMain(m *testing.M) {
	if conf := os.Getenv(serverProcess); conf != "" {
		runServer(conf)
	}
	goleak.VerifyTestMain(m)
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

func TestNATSElsewhereComesLater(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	f, err := tryStart(t, t.TempDir(), Options{URL: fmt.Sprintf("nats://127.0.0.1:%d", port)})
	if err != nil {
		t.Fatal(err)
	}
	opts := &server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	run := func(s *server.Server) {
		s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("no server")
		}
	}
	run(srv)
	first := f.appendSoon()
	srv.Shutdown()
	srv.WaitForShutdown()
	if srv, err = server.NewServer(opts); err != nil {
		t.Fatal(err)
	}
	run(srv)
	defer func() { f.close(); srv.Shutdown(); srv.WaitForShutdown() }()
	if second := f.appendSoon(); second <= first {
		t.Errorf("id %s after %s", second, first)
	}
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

func TestServerConfigurationIsTheBase(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte("max_payload: 2048\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := tryStart(t, filepath.Join(dir, "data"), Options{ServerConfig: file})
	if err != nil {
		t.Fatal(err)
	}
	if got := f.client().MaxPayload(); got != 2048 {
		t.Errorf("max payload is %d", got)
	}
	f.get(put(t, f))
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
