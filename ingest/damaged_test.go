package ingest

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

// Over a damaged last line the store waits for its repair, and says so once.
func TestADamagedLastLineDoesNotFillTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := start(t, dir)
	for range 3 {
		f.get(put(t, f))
	}
	f.close()
	paths, err := filepath.Glob(filepath.Join(dir, "events_*.jsonl"))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	good, err := os.ReadFile(paths[0])
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[bytes.LastIndex(bad, []byte(`"tester"`))+1] = 'T'
	if err := os.WriteFile(paths[0], bad, 0o600); err != nil {
		t.Fatal(err)
	}
	var log lines
	led, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Config: ledger.DefaultConfig(), Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if f, err = tryStartWith(t, dir, led, Options{Logger: log.logger()}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // for some attempts
	for _, once := range []string{"damaged line", "ledger opened", "stored events are damaged", "ledger cannot be written"} {
		if n := strings.Count(log.String(), once); n != 1 {
			t.Errorf("%q is told %d times:\n%s", once, n, log.String())
		}
	}
	if strings.Contains(log.String(), "ledger recovered") {
		t.Error("it says that it recovered")
	}
	if err := os.WriteFile(paths[0], good, 0o600); err != nil {
		t.Fatal(err)
	}
	soon(t, "recovered", func() bool { return f.led.Err() == nil })
	f.appendSoon()
	if n := strings.Count(log.String(), "ledger recovered"); n != 1 {
		t.Errorf("recovered %d times:\n%s", n, log.String())
	}
}
