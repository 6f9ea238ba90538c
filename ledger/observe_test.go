package ledger

import (
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
)

// What is counted elsewhere is what was done: each commit with its events, bytes and fsyncs, and each rejection once.
func TestCommitsAndRejectionsAreTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var total Commit
	rejected := map[string]int{}
	dir := t.TempDir()
	l, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Committed: func(c Commit) {
		mu.Lock()
		defer mu.Unlock()
		total.Events, total.Bytes, total.Fsyncs, total.Took = total.Events+c.Events, total.Bytes+c.Bytes, total.Fsyncs+c.Fsyncs, total.Took+c.Took
	}, Rejected: func(reason string) {
		mu.Lock()
		defer mu.Unlock()
		rejected[reason]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	unknown, own := message(5, `{}`), message(6, `{}`)
	unknown.Subject, own.Subject = "events.nowhere", "eventstore.ledger.segment_sealed"
	bad := []Message{message(2, `{`), message(3, `{"actor":"a"}`), message(4, `{"actor":"`+strings.Repeat("a", 2<<20)+`"}`), unknown, own}
	project(t, l, append([]Message{login(1)}, bad...)...)
	for _, m := range bad { // a comparison projects again and rejects nothing
		if _, err := l.Compare().Matches(m); err != nil {
			t.Fatal(err)
		}
	}
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
	mu.Lock()
	defer mu.Unlock()
	size := int64(len(strings.Join(allLines(t, dir), "")) + 1) // the last newline is cut off
	if total.Events != 6 || total.Bytes != size || total.Fsyncs < 2 || total.Took <= 0 {
		t.Errorf("told of %+v, on disk are 6 events and %d bytes", total, size)
	}
	want := map[string]int{"malformed": 1, "invalid": 1, "too_large": 1, "category": 1, "own_message": 1}
	if !maps.Equal(rejected, want) {
		t.Errorf("told of rejections %v, want %v", rejected, want)
	}
}
