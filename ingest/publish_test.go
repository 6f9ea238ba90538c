package ingest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

func TestPubAcks(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	for text, want := range map[string]jetstream.PubAck{
		`{"stream":"EVENTS","seq":42}`:                                   {Stream: "EVENTS", Sequence: 42},
		`{"stream":"EVENTS", "seq": 42}`:                                 {Stream: "EVENTS", Sequence: 42},
		`{"stream":"EVENTS","seq":42,"duplicate": true}`:                 {Stream: "EVENTS", Sequence: 42, Duplicate: true},
		`{"stream":"EVENTS","domain":"hub","seq":7}`:                     {Stream: "EVENTS", Sequence: 7, Domain: "hub"},
		`{"stream":"OTHER","seq":1}`:                                     {Stream: "OTHER", Sequence: 1},
		`{"stream":"EVENTS","seq":18446744073709551615}`:                 {Stream: "EVENTS", Sequence: 1<<64 - 1},
		`{"stream":"EVENTS","seq":3,"batch":"b","count":3,"extra":null}`: {Stream: "EVENTS", Sequence: 3},
	} {
		if got, err := f.ing.pubAck([]byte(text)); err != nil || got.Stream != want.Stream || got.Sequence != want.Sequence ||
			got.Duplicate != want.Duplicate || got.Domain != want.Domain {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{``, `{}`, `null`, `{"stream":"EVENTS","seq":}`, `{"stream":"EVENTS","seq":-1}`, `{"stream":"EVENTS","seq":1`, `{"seq":1}`} {
		if got, err := f.ing.pubAck([]byte(text)); !errors.Is(err, jetstream.ErrInvalidJSAck) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	_, err := f.ing.pubAck([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"EVENTS","seq":0}`))
	if !errors.Is(unavailable(err, true), ledger.ErrUnavailable) {
		t.Errorf("a full stream: %v", err)
	}
}

// TestPubAcksNeedNoGeneralParse fails when a nats-server writes them otherwise.
func TestPubAcksNeedNoGeneralParse(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	resp, err := f.ing.nc.Request("events.system", []byte(event), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(resp.Data, f.ing.ackPrefix) {
		t.Errorf("%s does not begin with %s", resp.Data, f.ing.ackPrefix)
	}
}
