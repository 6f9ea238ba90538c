package ingest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A JetStream folder that the embedded server cannot use ends the start at
// once; put right, it is as any other.
func TestUnusableJetStreamFolderIsToldAtOnce(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(path string) error{
		"a file":           func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a link to no one": func(path string) error { return os.Symlink(path+".gone", path) },
		"a file in it": func(path string) error {
			return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "jetstream"), nil, 0o600))
		},
		"not writable": func(path string) error { return os.Mkdir(path, 0o500) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "not writable" && os.Geteuid() == 0 {
				t.Skip("root may write everywhere")
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "jetstream")
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err := tryStart(t, dir, Options{})
			if err == nil || !strings.Contains(err.Error(), "in "+path+": Can't start JetStream: ") {
				t.Errorf("Open: %v", err)
			}
			if took := time.Since(began); took > startTimeout/4 {
				t.Errorf("it took %s", took)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
			f := start(t, dir)
			f.get(put(t, f))
		})
	}
}
