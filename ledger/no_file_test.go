//go:build unix

package ledger

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// noFiles are what may stand in the place of a file, and none is one.
var noFiles = map[string]func(path string) error{
	"a pipe":            func(path string) error { return syscall.Mkfifo(path, 0o600) },
	"a device":          func(path string) error { return os.Symlink("/dev/zero", path) },
	"links in a circle": func(path string) error { return os.Symlink(filepath.Base(path), path) },
	"a socket": func(path string) error {
		dir, err := os.MkdirTemp("", "") // a socket's path is short
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s, err := net.Listen("unix", filepath.Join(dir, "s"))
		if err != nil {
			return err
		}
		defer s.Close()
		return os.Rename(filepath.Join(dir, "s"), path)
	},
}

// inTime fails the test when f waits for somebody.
func inTime(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Fatal(what + " hangs")
	}
}

// TestWhatIsNoFileIsNamedAndNotWaitedFor puts a pipe, a device, a socket and
// links in a circle in the place of each file of a folder.
func TestWhatIsNoFileIsNamedAndNotWaitedFor(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	active, err := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	if err != nil || len(active) != 1 {
		t.Fatal(active, err)
	}
	segment := strings.TrimSuffix(zips[1], suffixSealed)
	for kind, put := range noFiles {
		for _, path := range []string{zips[1], segment + suffixManifest, active[0], segment + suffixPlain,
			indexPath(dir, filepath.Base(segment)), filepath.Join(dir, pubFile), filepath.Join(dir, keyFile), filepath.Join(dir, "LOCK"), filepath.Join(dir, reserveFile), filepath.Join(dir, "replica"), filepath.Join(dir, "settings.json")} {
			name := filepath.Base(path)
			whole, err := os.ReadFile(path)
			here := err == nil
			if err := errors.Join(os.RemoveAll(path), put(path)); err != nil {
				t.Fatal(err)
			}
			inTime(t, name+", "+kind+": verification", func() {
				r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
				switch {
				case name == pubFile:
					if err == nil {
						t.Errorf("%s, %s: no error", name, kind)
					}
				case err != nil:
					t.Errorf("%s, %s: %v", name, kind, err)
				case path == zips[1] || path == active[0] || strings.HasSuffix(path, suffixManifest):
					if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.File == name && strings.Contains(f.Message, errNoFile.Error()) }) {
						t.Errorf("%s, %s: %+v", name, kind, r.Findings)
					}
				case strings.HasSuffix(path, indexSuffix) || path == segment+suffixPlain:
					if !slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.Contains(s, name) }) {
						t.Errorf("%s, %s: not checked: %q", name, kind, r.NotChecked)
					}
				}
			})
			inTime(t, name+", "+kind+": the start", func() {
				l, err := Open(t.Context(), Options{Dir: dir, Config: faultConfig(), Logger: quiet})
				starts := path == zips[1] || strings.HasPrefix(path, segment) || strings.HasSuffix(path, indexSuffix)
				if err == nil {
					n := 0
					if err := l.Query(t.Context(), Filter{}, func([]byte) error { n++; return nil }); err != nil || n < 600 {
						t.Errorf("%s, %s: %d events can be read: %v", name, kind, n, err)
					}
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				}
				if starts != (err == nil) {
					t.Errorf("%s, %s: start: %v", name, kind, err)
				}
			})
			os.RemoveAll(path)
			if here {
				os.WriteFile(path, whole, 0o600)
			}
		}
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestALinkToASegmentIsRead: who moved files to another disk left links.
func TestALinkToASegmentIsRead(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	for _, path := range []string{zips[1], filepath.Join(dir, indexFolder), filepath.Join(dir, keyFile)} {
		elsewhere := filepath.Join(t.TempDir(), "a")
		if err := errors.Join(os.Rename(path, elsewhere), os.Symlink(elsewhere, path)); err != nil {
			t.Fatal(err)
		}
	}
	mustValid(t, dir, VerifyOptions{})
	closeLedger(t, open(t, dir, faultConfig()))
	mustValid(t, dir, VerifyOptions{})
}
