package ingest

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

const streamCreateFailed jetstream.ErrorCode = 10049

func over(reset <-chan struct{}) bool {
	select {
	case <-reset:
		return true
	default:
		return false
	}
}

// makeAgain deletes the stream and makes it anew, from 1.
func makeAgain(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	cfg := s.CachedInfo().Config
	cfg.FirstSeq = 0
	if err := js.DeleteStream(t.Context(), "EVENTS"); err != nil {
		t.Fatal(err)
	}
	_, err = js.CreateStream(t.Context(), cfg)
	for range 50 { // the server may still be removing the old one's files
		var api *jetstream.APIError
		if !errors.As(err, &api) || api.ErrorCode != streamCreateFailed {
			break
		}
		time.Sleep(100 * time.Millisecond)
		_, err = js.CreateStream(t.Context(), cfg)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestStreamMadeAgainIsAReset(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	f.get(put(t, f))
	reset := f.ing.Reset()
	makeAgain(t, f.ing.js)
	soon(t, "reset", func() bool { return over(reset) })
	f.appendSoon()
	if over(f.ing.Reset()) {
		t.Error("the new stream's acknowledgements do not hold")
	}
}

// unnoticed makes the stream again while nothing watches it, and returns what
// lets the store go on.
func unnoticed(t *testing.T, f *fixture) (resume func()) {
	t.Helper()
	f.stop()
	if err := <-f.done; err != nil {
		t.Fatal(err)
	}
	f.ing.ready.Store(true)
	makeAgain(t, f.ing.js)
	return func() {
		ctx, cancel := context.WithCancel(context.Background())
		f.stop = cancel
		go func() { f.done <- f.ing.Run(ctx) }()
	}
}

// Before the store notices that the stream is another one, an acknowledgement
// names an id that the ledger has: of another event.
func TestAppendToAStreamMadeAgainUnnoticed(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	for range 10 {
		f.get(put(t, f))
	}
	reset := f.ing.Reset()
	resume := unnoticed(t, f)
	if _, _, err := f.ing.Append(t.Context(), f.draft("mine"), ""); !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "made again") {
		t.Errorf("Append: %v", err)
	}
	if !over(reset) {
		t.Error("who waits is not told")
	}
	resume()
	if line := f.get(11); !strings.Contains(line, `"mine"`) {
		t.Errorf("the event is lost; its place has %s", line)
	}
	f.appendSoon()
}

func TestBatchToAStreamMadeAgainUnnoticed(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	f.get(put(t, f))
	resume := unnoticed(t, f)
	_, _, err := f.ing.AppendBatch(t.Context(), []ledger.Draft{f.draft("a"), f.draft("b")}) // 1 and 2; the ledger's last is 1
	if !errors.Is(err, ledger.ErrUnavailable) || !strings.Contains(err.Error(), "made again") {
		t.Errorf("AppendBatch: %v", err)
	}
	resume()
	f.appendSoon()
}

// The same stream with the same history: who waits may go on waiting.
func TestReconnectIsNoReset(t *testing.T) {
	t.Parallel()
	nats := newExternal(t, "")
	f, err := tryStart(t, t.TempDir(), Options{URL: nats.url()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	f.appendSoon()
	reset := f.ing.Reset()
	nats.stop()
	soon(t, "disconnected", func() bool { return !f.ing.nc.IsConnected() })
	nats.start()
	f.appendSoon()
	if over(reset) {
		t.Error("a reconnection failed those who wait")
	}
}

// NATS comes back without what it acknowledged (power loss).
func TestLostAcknowledgementsAreAReset(t *testing.T) {
	t.Parallel()
	nats := newExternal(t, "")
	f, err := tryStart(t, t.TempDir(), Options{URL: nats.url()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	f.appendSoon()
	nats.stop()
	load := nats.save()
	nats.start()
	f.appendSoon()
	last := f.appendSoon()
	reset := f.ing.Reset()
	nats.stop()
	load()
	nats.start()
	soon(t, "reset", func() bool { return over(reset) })
	if id := f.appendSoon(); id != last+1 {
		t.Errorf("the next id is %s after %s", id, last)
	}
}

func TestWaitersAreToldOnce(t *testing.T) {
	t.Parallel()
	var log lines
	f, err := tryStart(t, t.TempDir(), Options{Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	f.get(put(t, f))
	f.appendSoon()
	makeAgain(t, f.ing.js)
	soon(t, "reset", func() bool { return strings.Contains(log.String(), "stream was reset") })
	f.appendSoon()
	time.Sleep(time.Second)
	if n := strings.Count(log.String(), "stream was reset"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
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
