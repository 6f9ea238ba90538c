package ingest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// delivered is a message as a consumer delivers it.
type delivered struct {
	jetstream.Msg
	reply string
}

func (d delivered) Reply() string   { return d.reply }
func (d delivered) Subject() string { return "events.service" }
func (d delivered) Data() []byte    { return []byte("{}") }

func (d delivered) Headers() nats.Header { return nil }
func (d delivered) Metadata() (*jetstream.MsgMetadata, error) {
	return &jetstream.MsgMetadata{Consumer: "one"}, nil
}

// TestQueueTakesOneConsumer: what another consumer delivers, made again inside
// the client, ends the queue, and nothing comes behind it.
func TestQueueTakesOneConsumer(t *testing.T) {
	q := &queue{ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	for _, reply := range []string{"$JS.ACK.EVENTS.one.1.7.1.1700000000000000001.3", "$JS.ACK.EVENTS.two.1.9.1.1700000000000000002.1", "$JS.ACK.EVENTS.one.1.8.2.1700000000000000002.2"} {
		q.receive(context.Background(), delivered{reply: reply})
	}
	msgs, pending, err := q.take()
	if len(msgs) != 1 || msgs[0].Seq != 7 || !msgs[0].Time.Equal(time.Unix(1700000000, 1)) || pending != 3 || !errors.Is(err, errReset) {
		t.Errorf("%+v, pending %d, %v", msgs, pending, err)
	}
}

// TestQueueEndsWhole: a message that found no room is the last, also when there
// is room again for those behind it.
func TestQueueEndsWhole(t *testing.T) {
	q := &queue{ready: make(chan struct{}, 1), room: make(chan struct{}, 1), bytes: batchBytes}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	q.receive(ctx, delivered{reply: "$JS.ACK.EVENTS.one.1.1.1.1.1"})
	q.take()
	q.receive(ctx, delivered{reply: "$JS.ACK.EVENTS.one.1.2.2.1.0"})
	if msgs, _, err := q.take(); len(msgs) != 0 || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", msgs, err)
	}
}

func TestNumbers(t *testing.T) {
	for text, want := range map[string]bool{"1.2.3": true, "1.2.3.x9": true, "1.2": false, "1..3": false, "1.2.": false, "": false, "1.x.3": false,
		"1.2.3x": false, "1.18446744073709551616.3": false} {
		var n [3]uint64
		if got := numbers(text, n[:]); got != want || got && n != [3]uint64{1, 2, 3} {
			t.Errorf("%q: %v %v", text, n, got)
		}
	}
}

// TestLargeMessagesAreChained: more bytes than one request is for.
func TestLargeMessagesAreChained(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	nc := f.client()
	first := f.led.Head().ID + 1
	body := `{"action":"large","actor":"tester","data":{"text":"` + strings.Repeat("x", 1_000_000) + `"}}`
	const messages = 2*pullBytes/1_000_000 - 10
	for range messages {
		if _, err := nc.Request("events.system", []byte(body), 10*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	if line := f.get(first + messages - 1); !strings.Contains(line, `"action":"large"`) {
		t.Errorf("%.200s", line)
	}
}

// TestConsumerRemoved: somebody removes the store's consumer.
func TestConsumerRemoved(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	f.get(put(t, f))
	stream, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	removed := 0
	for name := range stream.ConsumerNames(t.Context()).Name() {
		if err := stream.DeleteConsumer(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		removed++
	}
	if removed == 0 {
		t.Fatal("there was no consumer")
	}
	f.get(f.appendSoon())
}
