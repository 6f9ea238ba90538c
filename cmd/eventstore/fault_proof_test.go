//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A flaw is a build that breaks the promise on purpose: one file with one text
// replaced. It lies nowhere in the tree.
type flaw struct{ file, text, instead string }

// written and durable are the two halves of a commit in ledger/commit.go.
const (
	written = `		if _, err := l.synced.file.Write(p.lines); err != nil {
			return done, fmt.Errorf("writing segment %s: %w", p.name, err)
		}
`
	durable = `		if err := datasync(l.synced.file); err != nil {
			return done, fmt.Errorf("syncing segment %s: %w", p.name, err)
		}
`
)

var flaws = map[string]flaw{
	"it acknowledges before the fsync": {"ledger/commit.go",
		written + durable, durable + written}, // the fsync comes with the next commit
	"it never syncs a folder": {"ledger/files.go",
		"errors.Join(d.Sync(), d.Close())",
		"d.Close()"},
	"it repeats a failed fsync": {"ledger/commit.go",
		"datasync(l.synced.file)",
		"func() error {\n\t\t\tif datasync(l.synced.file) == nil {\n\t\t\t\treturn nil\n\t\t\t}\n\t\t\treturn datasync(l.synced.file)\n\t\t}()"},
}

// TestOrdealCatchesBrokenBuilds: the store comes through, and none of the flawed
// ones does. Else a suite that finds nothing would say nothing.
func TestOrdealCatchesBrokenBuilds(t *testing.T) {
	if wrong := ordeal(t, ""); wrong != "" {
		t.Fatal(wrong)
	}
	for name, f := range flaws {
		t.Run(name, func(t *testing.T) {
			wrong := ordeal(t, f.build(t))
			if wrong == "" {
				t.Fatal("the flawed build came through")
			}
			t.Logf("caught: %.300s", wrong)
		})
	}
}

// build makes the flawed program. A text that is not there exactly once fails
// the test: then the flaw must be written anew.
func (f flaw) build(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	sound, err := os.ReadFile(filepath.Join(root, f.file))
	if err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(sound, []byte(f.text)); n != 1 {
		t.Fatalf("%s has %d times %q, want 1", f.file, n, f.text)
	}
	dir := t.TempDir()
	flawed, overlay, program := filepath.Join(dir, "flawed.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "eventstore")
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, f.file): flawed}})
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string][]byte{flawed: bytes.Replace(sound, []byte(f.text), []byte(f.instead), 1), overlay: list} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("go", "build", "-overlay", overlay, "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	return program
}
