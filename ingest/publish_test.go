package ingest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
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

// TestHolds: what the stream has under an id, published in another form, is the
// draft's event or is not.
func TestHolds(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	id := put(t, f)
	draft := func(body string) ledger.Draft {
		d, err := f.led.Decode([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	same := `{"category":"system",` + event[1:]
	for body, want := range map[string]bool{same: true, " " + same + "\n": true,
		strings.Replace(same, "system", "user", 1): false, `{"category":"system","action":"another","actor":"tester"}`: false} {
		if got, err := f.ing.Holds(t.Context(), id, draft(body)); err != nil || got != want {
			t.Errorf("%s: %v, %v", body, got, err)
		}
	}
	if _, err := f.ing.Holds(t.Context(), id+1000, draft(same)); err == nil {
		t.Error("the stream has no such id")
	}
}
