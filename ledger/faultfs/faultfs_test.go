//go:build linux

package faultfs

import (
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
)

func mounted(t *testing.T, journal bool) (*FS, string) {
	if why := Unavailable(); why != "" {
		t.Skip(why)
	}
	f := New(1)
	f.Journal = journal
	dir := t.TempDir()
	if err := f.Mount(dir); err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() { f.Unmount() })
	return f, dir
}

func write(t *testing.T, path, text string, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if sync && f.Sync() != nil {
		t.Fatal("fsync failed")
	}
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

func content(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.(*os.PathError).Err.Error()
	}
	return string(b)
}

func TestOnlyWhatWasSyncedSurvives(t *testing.T) {
	for name, tc := range map[string]struct {
		journal bool
		loss    Loss
		want    map[string]string
	}{
		"strict": {false, Lost, map[string]string{"named": "synced", "unnamed": "no such file or directory", "unsynced": ""}},
		"ext4":   {true, Lost, map[string]string{"named": "synced", "unnamed": "synced", "unsynced": ""}},
		"kept":   {false, Kept, map[string]string{"named": "synced+more", "unnamed": "synced", "unsynced": "text"}},
	} {
		f, dir := mounted(t, tc.journal)
		write(t, filepath.Join(dir, "unsynced"), "text", false)
		write(t, filepath.Join(dir, "named"), "synced", true)
		syncDir(t, dir)
		write(t, filepath.Join(dir, "named"), "+more", false)
		write(t, filepath.Join(dir, "unnamed"), "synced", true)
		f.PowerOff()
		if _, err := os.Create(filepath.Join(dir, "late")); !errors.Is(err, syscall.EIO) {
			t.Errorf("%s: without power: %v", name, err)
		}
		if _, _, err := f.PowerOn(tc.loss); err != nil {
			t.Fatal(err)
		}
		for file, want := range tc.want {
			if got := content(filepath.Join(dir, file)); got != want {
				t.Errorf("%s: %s holds %q, want %q", name, file, got, want)
			}
		}
	}
}

func TestARepeatedFsyncMakesNothingDurable(t *testing.T) {
	f, dir := mounted(t, true)
	path := filepath.Join(dir, "file")
	write(t, path, "before", true)
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	file.WriteString("+lost")
	f.SetFault(func(c Call) Outcome {
		if c.Op == "fsync" && c.N == 1 {
			return Outcome{Err: syscall.EIO}
		}
		return Outcome{}
	})
	if err := file.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := file.Sync(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	if _, _, err := f.PowerOn(Lost); err != nil {
		t.Fatal(err)
	}
	if got := content(path); got != "before" {
		t.Errorf("%q", got)
	}
}

func TestFullAndShort(t *testing.T) {
	f, dir := mounted(t, true)
	f.SetLimit(8)
	write(t, filepath.Join(dir, "a"), "12345678", true)
	if err := os.WriteFile(filepath.Join(dir, "b"), []byte("x"), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("full: %v", err)
	}
	os.Remove(filepath.Join(dir, "a"))
	var short atomic.Bool
	f.SetFault(func(c Call) Outcome {
		if c.Op == "write" && short.CompareAndSwap(false, true) {
			return Outcome{Short: 2}
		}
		return Outcome{}
	})
	write(t, filepath.Join(dir, "b"), "1234", true) // os.File writes the rest
	if got := content(filepath.Join(dir, "b")); got != "1234" || !short.Load() {
		t.Errorf("%q", got)
	}
}
