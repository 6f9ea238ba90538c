package ledger

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
)

// TestNothingIsChainedBehindATouchedTail: while the store runs somebody cuts the
// active file, writes into it or puts another in its place. What is acknowledged
// next must be there after a restart, and what is gone comes again.
func TestNothingIsChainedBehindATouchedTail(t *testing.T) {
	for name, c := range map[string]struct {
		touch func(path string, content []byte) error
		back  ID // what Recover goes back to
	}{
		"cut within a line": {func(path string, b []byte) error { return os.Truncate(path, int64(len(b)-100)) }, 2},
		"cut to nothing":    {func(path string, _ []byte) error { return os.Truncate(path, 0) }, 0},
		"removed":           {func(path string, _ []byte) error { return os.Remove(path) }, 0},
		"replaced":          {func(path string, b []byte) error { return put(path, b) }, 3},
		"replaced by less":  {func(path string, b []byte) error { return put(path, b[:len(b)/2]) }, 1},
		"written into":      {func(path string, b []byte) error { return add(path, []byte("{\"id\"")) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir, Config{})
			project(t, l, login(1), login(2), login(3))
			want := allBytes(t, onlyPlain(t, dir))
			if err := c.touch(onlyPlain(t, dir), want); err != nil {
				t.Fatal(err)
			}
			if err := l.Project(context.Background(), []Message{login(4)}); err != nil {
				t.Fatal(err)
			}
			if err := l.Wait(context.Background(), 4); err == nil {
				t.Fatal("an event was committed behind a touched tail")
			}
			if err := l.Recover(context.Background()); err != nil {
				t.Fatal(err)
			}
			if got := l.Projected(); got != c.back {
				t.Fatalf("recovered to %s, want %s", got, c.back)
			}
			for seq := uint64(c.back) + 1; seq <= 4; seq++ {
				project(t, l, login(seq))
			}
			closeLedger(t, l)
			if r := mustValid(t, dir, VerifyOptions{}); r.Events != 4 {
				t.Errorf("%d events", r.Events)
			}
			if got := allBytes(t, onlyPlain(t, dir)); !bytes.HasPrefix(got, want) {
				t.Error("what came again is not what was there")
			}
		})
	}
}

// TestALineThatSomebodyAddedIsKept: nothing is chained behind it, and it is not
// cut away.
func TestALineThatSomebodyAddedIsKept(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1), login(2))
	path := onlyPlain(t, dir)
	want := append(allBytes(t, path), []byte("somebody's line\n")...)
	if err := put(path, want); err != nil {
		t.Fatal(err)
	}
	if err := l.Project(context.Background(), []Message{login(3)}); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(context.Background(), 3); err == nil {
		t.Fatal("an event was committed behind somebody's line")
	}
	if err := l.Recover(context.Background()); err == nil {
		t.Error("the ledger goes on behind somebody's line")
	}
	if got := allBytes(t, path); !bytes.Equal(got, want) {
		t.Errorf("the file is now %q", got)
	}
	if err := os.Truncate(path, int64(len(want)-len("somebody's line\n"))); err != nil {
		t.Fatal(err)
	}
	if err := l.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	project(t, l, login(3))
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}

func onlyPlain(t *testing.T, dir string) string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	return paths[0]
}

// put replaces a file as editors do.
func put(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func add(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(b)
	return err
}
