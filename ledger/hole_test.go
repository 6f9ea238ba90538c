package ledger

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

// A hole in the stream is told when it is chained, not again when it is loaded.
func TestAHoleIsToldInTheLogOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var log bytes.Buffer
	opts := Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))}
	for _, seqs := range [][]uint64{{1, 5, 6}, {7}} {
		l, err := Open(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		for _, seq := range seqs {
			project(t, l, login(seq))
		}
		closeLedger(t, l)
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 1 ||
		!strings.Contains(log.String(), `msg="events missing" first_id=000000000002 last_id=000000000004 count=3`) {
		t.Errorf("%d warnings:\n%s", n, log.String())
	}
	mustValid(t, dir, VerifyOptions{})
}

// A hole that the next start could not read is not chained: it would be chained
// once more then.
func TestAHoleBeyondAllMeasureStops(t *testing.T) {
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, DefaultConfig())}
	f.own()
	f.logins(3)
	head := f.l.Head()
	for range 2 {
		m := login(uint64(head.ID) + maxIDs + 2)
		if err := f.l.Project(context.Background(), []Message{m}); !errors.Is(err, errNeeds) || f.l.Err() == nil {
			t.Errorf("projected: %v, the ledger says %v", err, f.l.Err())
		}
		closeLedger(t, f.l)
		f.l = open(t, dir, DefaultConfig())
		if f.l.Head() != head {
			t.Errorf("head %v, want %v", f.l.Head(), head)
		}
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
