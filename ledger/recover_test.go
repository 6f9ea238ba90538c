package ledger

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFailedWriteStopsAndRecovers(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1))
	for seq := uint64(2); seq < 5; seq++ {
		l.synced.file.Close() // the next write fails
		notice := l.Notice()
		if err := l.Project(context.Background(), []Message{login(seq)}); err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(context.Background(), ID(seq)); !errors.Is(err, ErrStopped) {
			t.Fatalf("a waiter of a failed commit got %v", err)
		}
		if err := l.Project(context.Background(), []Message{login(seq + 1)}); err == nil {
			t.Fatal("a failed ledger takes messages")
		}
		if _, err := l.Get(1); err != nil {
			t.Errorf("reads go on: %v", err)
		}
		if err := l.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-notice:
		default:
			t.Fatal("who waits for the next commit was forgotten")
		}
		if got := l.Projected(); got != ID(seq-1) {
			t.Fatalf("recovered to %s, want %d", got, seq-1)
		}
		project(t, l, login(seq))
	}
	closeLedger(t, l)
	if r := mustValid(t, dir, VerifyOptions{}); r.Events != 4 {
		t.Errorf("%d events", r.Events)
	}
}

func TestUnwrittenBytesOfAFailedCommitAreCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1))
	path, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	f, _ := os.OpenFile(path[0], os.O_WRONLY|os.O_APPEND, 0)
	f.Write(allBytes(t, path[0])) // as if a write had gone through and its fsync had failed
	f.Close()
	l.fail(errors.New("fsync failed"))
	if err := l.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	project(t, l, login(2))
	closeLedger(t, l)
	if r := mustValid(t, dir, VerifyOptions{}); r.Events != 2 {
		t.Errorf("%d events", r.Events)
	}
}

func allBytes(t *testing.T, path string) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stopsAfter is a context that ends after it was asked n times.
type stopsAfter struct {
	context.Context
	n int
}

func (c *stopsAfter) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return nil
}

func TestCloseAfterACancelledProjectCommitsWhatWasProjected(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	var msgs []Message
	for seq := range uint64(3 * projectAtOnce) {
		msgs = append(msgs, login(seq+1))
	}
	err := l.Project(&stopsAfter{context.Background(), 2}, msgs)
	if !errors.Is(err, context.Canceled) || l.Projected() != 2*projectAtOnce {
		t.Fatalf("%v, projected %s", err, l.Projected())
	}
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Close waits for a commit that nobody makes")
	}
	if r := mustValid(t, dir, VerifyOptions{}); r.Events != 2*projectAtOnce {
		t.Errorf("%d events", r.Events)
	}
}

// A damaged last line is told once, and loaded again when somebody changed the
// file, not before.
func TestADamagedLastLineIsToldOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1), login(2))
	closeLedger(t, l)
	paths, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	good := allBytes(t, paths[0])
	bad := bytes.Clone(good)
	bad[bytes.LastIndex(bad, []byte(`"u2"`))+1] = 'v'
	os.WriteFile(paths[0], bad, 0o600)
	var log bytes.Buffer
	l, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := l.Recover(t.Context()); err == nil || !strings.Contains(err.Error(), "line 2 is damaged") {
			t.Fatalf("recovered: %v", err)
		}
		if err := l.Project(t.Context(), []Message{login(3)}); err == nil {
			t.Fatal("chained to a damaged line")
		}
	}
	os.WriteFile(paths[0], good, 0o600)
	if err := l.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	project(t, l, login(3))
	closeLedger(t, l)
	for what, want := range map[string]int{"damaged line": 1, "ledger opened": 2} {
		if n := strings.Count(log.String(), what); n != want {
			t.Errorf("%q is told %d times:\n%s", what, n, log.String())
		}
	}
	mustValid(t, dir, VerifyOptions{})
}
