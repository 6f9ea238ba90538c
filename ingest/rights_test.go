package ingest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

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
