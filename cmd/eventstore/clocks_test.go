package main

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

// While the newest event is far ahead of the clock, a clean-up by hand says why it does not begin, and leaves nothing in
// the chain.
func TestCleanupSaysThatTheClocksAreApart(t *testing.T) {
	t.Parallel()
	n := &node{dir: t.TempDir(), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log")}
	n.endWith(t)
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: n.dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ahead := ledger.Message{Seq: 1, Time: time.Now().Add(3 * time.Hour), Subject: "events.service", Data: []byte(`{"action":"a","actor":"b"}`)}
	if err := l.Project(t.Context(), []ledger.Message{ahead}); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	for range 2 {
		res, err := http.Post(n.url()+"/cleanup", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != 503 || !strings.Contains(string(text), "more than an hour apart") {
			t.Errorf("%s %s %v", res.Status, text, err)
		}
	}
	if out := must(t, "", "query", "--url", n.url(), "--json", "--action", "event_rejected"); strings.TrimSpace(out) != "[]" {
		t.Errorf("rejected: %s", out)
	}
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}
