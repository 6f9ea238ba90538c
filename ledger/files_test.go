package ledger

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestWorldWritableFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	for _, mode := range []os.FileMode{0o777, 0o703, 0o777 | os.ModeSticky} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(dir, mode); err != nil { // not subject to the umask
			t.Fatal(err)
		}
		l, err := Open(t.Context(), Options{Dir: dir})
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "world-writable") || !strings.Contains(err.Error(), "chmod o-w") {
			t.Errorf("%s: %v", mode, err)
		}
		if names, _ := os.ReadDir(dir); len(names) != 0 {
			t.Errorf("%s: %d files were made", mode, len(names))
		}
	}
	if err := os.Chmod(dir, 0o775); err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	for _, mode := range []os.FileMode{0o600, 0o644} {
		l, err := Open(t.Context(), Options{Dir: dir, Logger: log})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.KeepKey(); err != nil {
			t.Fatal(err)
		}
		l.Close()
		if err := os.Chmod(filepath.Join(dir, keyFile), 0o644); err != nil {
			t.Fatal(err)
		}
		if warned := strings.Contains(text.String(), "others can read"); warned != (mode == 0o644) {
			t.Errorf("key %s: warned %v", mode, warned)
		}
	}
}
