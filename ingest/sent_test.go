package ingest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestSentWakesOnceCommitted(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	first := f.appendSoon()
	s := f.ing.awaitAck()
	wake := s.Committed()
	f.ing.answered(s.reply, jetstream.PubAck{Stream: "EVENTS", Sequence: uint64(first) + 1}, nil)
	if closed(wake) {
		t.Error("woken by the acknowledgement")
	}
	id, _, err := f.ing.Append(t.Context(), f.draft("next"), "")
	if err != nil || id != first+1 {
		t.Fatal(id, err)
	}
	select {
	case <-wake:
	case <-time.After(time.Minute):
		t.Fatal("not woken by the commit")
	}
	if id, duplicate, err := s.Ack(time.Time{}); id != first+1 || duplicate || err != nil || f.led.Head().ID < id {
		t.Errorf("acknowledged as %s, %v, %v", id, duplicate, err)
	}
}

func TestSentIsAcknowledgedWithoutCommit(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	first := f.appendSoon()
	s := f.ing.awaitAck()
	s.Committed()
	time.AfterFunc(50*time.Millisecond, func() {
		f.ing.answered(s.reply, jetstream.PubAck{Stream: "EVENTS", Sequence: uint64(first) + 1000}, nil)
	})
	if id, _, err := s.Ack(time.Now().Add(time.Minute)); id != first+1000 || err != nil {
		t.Errorf("acknowledged as %s, %v", id, err)
	}
}

// An event that is acknowledged and whose commit takes longer than somebody
// waits is not waited for any more, by the ledger neither.
func TestAWaitForACommitThatIsGivenUpDoesNotStay(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	first := f.appendSoon()
	before := f.led.Waiting()
	s := f.ing.awaitAck()
	s.Committed()
	f.ing.answered(s.reply, jetstream.PubAck{Stream: "EVENTS", Sequence: uint64(first) + 1000}, nil)
	if n := f.led.Waiting(); n != before+1 {
		t.Fatalf("%d wait for a commit, want %d", n, before+1)
	}
	if id, _, err := s.Ack(time.Time{}); id != first+1000 || err != nil {
		t.Errorf("acknowledged as %s, %v", id, err)
	}
	if n := f.led.Waiting(); n != before {
		t.Errorf("%d wait for a commit, want %d", n, before)
	}
}

func TestSentWithoutAnswer(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	heard := make(chan *nats.Msg, 1)
	if _, err := f.ing.nc.ChanSubscribe("silent", heard); err != nil {
		t.Fatal(err)
	}
	s := f.ing.send(&nats.Msg{Subject: "silent"})
	wake := s.Committed()
	if _, _, err := s.Ack(time.Now().Add(50 * time.Millisecond)); !errors.Is(err, ledger.ErrUnavailable) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no answer: %v", err)
	}
	if !closed(wake) || len(f.ing.acks.open) > 0 {
		t.Error("it is waited for still")
	}
	if err := (<-heard).Respond([]byte(`{"stream":"EVENTS","seq":1}`)); err != nil { // too late
		t.Fatal(err)
	}
	f.appendSoon()
	if _, _, err := s.Ack(time.Now().Add(time.Minute)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a late answer: %v", err)
	}
}

func TestSentToNobody(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	s := f.ing.send(&nats.Msg{Subject: "nobody"})
	<-s.Committed()
	if _, _, err := s.Ack(time.Time{}); !errors.Is(err, nats.ErrNoResponders) || !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("no responders: %v", err)
	}
	s = f.ing.send(&nats.Msg{Subject: "x", Data: make([]byte, 2<<20)})
	<-s.Committed()
	var invalid *ledger.InvalidError
	if _, _, err := s.Ack(time.Time{}); !errors.As(err, &invalid) || !invalid.TooLarge {
		t.Errorf("larger than the server takes: %v", err)
	}
}

func TestSentToAnotherStream(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	if _, err := f.ing.js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "OTHER", Subjects: []string{"other"}}); err != nil {
		t.Fatal(err)
	}
	s := f.ing.send(&nats.Msg{Subject: "other"})
	<-s.Committed()
	if _, _, err := s.Ack(time.Time{}); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("another stream's acknowledgement: %v", err)
	}
}
