package ledger

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// An event in a file that cannot be read is not one that never was.
func TestUnreadableSegmentIsNoMissingEvent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := open(t, dir, DefaultConfig())
	project(t, l, login(1), login(2))
	closeLedger(t, l)
	l = open(t, dir, DefaultConfig())
	files, err := filepath.Glob(filepath.Join(dir, "events_*"+suffixPlain))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	saved := allBytes(t, files[0])
	if err := errors.Join(os.Remove(files[0]), os.Mkdir(files[0], 0o700)); err != nil { // can be opened, not read
		t.Fatal(err)
	}
	if _, err := l.Get(2); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("Get: %v", err)
	}
	if _, err := l.Get(3); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get behind the head: %v", err)
	}
	if err := errors.Join(os.Remove(files[0]), os.WriteFile(files[0], saved, 0o600)); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}
