package main

import (
	"bytes"
	"flag"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

var update = flag.Bool("update", false, "write deploy/man and deploy/completions")

// manDate stands in the man pages: they change with the commands, not with the day on which somebody makes them.
var manDate = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)

// TestManualIsCurrent compares deploy/man and deploy/completions with the commands. After a change of those:
//
//	go test ./cmd/eventstore -run TestManualIsCurrent -update
func TestManualIsCurrent(t *testing.T) {
	t.Setenv("TMPDIR", "") // the default of a flag
	for _, variable := range os.Environ() {
		if name, _, _ := strings.Cut(variable, "="); strings.HasPrefix(name, "EVENT_STORE_") {
			t.Setenv(name, "")
		}
	}
	for dir, want := range map[string]map[string][]byte{"man": manPages(t), "completions": completions(t)} {
		dir := filepath.Join("..", "..", "deploy", dir)
		if *update {
			write(t, dir, want)
		}
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
			if b, err := os.ReadFile(filepath.Join(dir, e.Name())); err != nil || !bytes.Equal(b, want[e.Name()]) {
				t.Errorf("%s/%s is not current: %v; run this test with -update", dir, e.Name(), err)
			}
		}
		if made := slices.Sorted(maps.Keys(want)); !slices.Equal(names, made) {
			t.Errorf("%s has %q, made are %q; run this test with -update", dir, names, made)
		}
	}
}

func manPages(t *testing.T) map[string][]byte {
	t.Helper()
	root := rootCommand()
	root.DisableAutoGenTag = true
	dir := t.TempDir()
	if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Date: &manDate, Source: "Event Store", Manual: "Event Store"}, dir); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	pages := map[string][]byte{}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		pages[e.Name()] = b
	}
	return pages
}

func completions(t *testing.T) map[string][]byte {
	t.Helper()
	root := rootCommand()
	scripts := map[string][]byte{}
	for name, gen := range map[string]func(*cobra.Command, io.Writer) error{
		"eventstore.bash": func(c *cobra.Command, w io.Writer) error { return c.GenBashCompletionV2(w, true) },
		"_eventstore":     func(c *cobra.Command, w io.Writer) error { return c.GenZshCompletion(w) },
		"eventstore.fish": func(c *cobra.Command, w io.Writer) error { return c.GenFishCompletion(w, true) },
	} {
		var b bytes.Buffer
		if err := gen(root, &b); err != nil {
			t.Fatal(err)
		}
		scripts[name] = b.Bytes()
	}
	return scripts
}

func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
