package ingest

import (
	"errors"
	"testing"

	"home.lab/event-store/ledger"
)

// TestAStoppedLedgerPublishesNothingOfItsOwn: it could not chain it, would say it
// again, and all of that would be chained once the ledger goes on.
func TestAStoppedLedgerPublishesNothingOfItsOwn(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	f.get(put(t, f))
	m, err := f.led.Testify(ledger.ActionCleanup, map[string]any{"token": "", "address": "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	s, err := f.ing.js.Stream(t.Context(), "EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.led.Close(); err != nil {
		t.Fatal(err)
	}
	f.ing.ready.Store(true)
	before := s.CachedInfo().State.LastSeq
	if _, err := f.ing.PublishOwn(t.Context(), m); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("%v", err)
	}
	if info, err := s.Info(t.Context()); err != nil || info.State.LastSeq != before {
		t.Errorf("the stream ends with %d, before with %d: %v", info.State.LastSeq, before, err)
	}
}
