package ledger

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"
)

// TestADamagedManifestDoesNotStopTheStore flips every bit of a manifest's ids:
// the store starts, goes on, and verification finds the flip.
func TestADamagedManifestDoesNotStopTheStore(t *testing.T) {
	t.Parallel()
	dir, path, head := sealedOrActive(t, 20, true)
	path = strings.TrimSuffix(path, suffixSealed) + suffixManifest
	whole := allBytes(t, path)
	for _, name := range []string{`"first_id":"`, `"last_id":"`} {
		from := bytes.Index(whole, []byte(name)) + len(name)
		for at := from; at < from+12; at++ {
			for bit := range 8 {
				damaged := bytes.Clone(whole)
				damaged[at] ^= 1 << bit
				if err := os.WriteFile(path, damaged, 0o600); err != nil {
					t.Fatal(err)
				}
				l, err := Open(t.Context(), Options{Dir: dir, Config: DefaultConfig(), Logger: slog.New(slog.DiscardHandler)})
				if err != nil {
					t.Fatalf("%q: %v", damaged[from:from+12], err)
				}
				if l.Head() != head {
					t.Errorf("%q: head %v, want %v", damaged[from:from+12], l.Head(), head)
				}
				closeLedger(t, l)
				r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
				if err != nil || len(r.Findings) == 0 {
					t.Errorf("%q: %v, no finding", damaged[from:from+12], err)
				}
			}
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, Config{})
	defer closeLedger(t, l)
	project(t, l, Message{Seq: uint64(head.ID) + 1, Time: epoch.Add(26 * time.Hour), Subject: "events.security", Data: []byte(`{"action":"a","actor":"b"}`)})
	mustValid(t, dir, VerifyOptions{})
}
