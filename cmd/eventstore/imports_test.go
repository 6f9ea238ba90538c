package main

import (
	"go/parser"
	gotoken "go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Imports go down: cmd -> {httpapi, ingest, retention} -> ledger. The three never import each other, and the ledger knows
// no NATS and no HTTP. Tests may import the real thing.
func TestImportsGoDown(t *testing.T) {
	t.Parallel()
	const module = "home.lab/event-store/"
	below := map[string][]string{"cmd": {"httpapi", "ingest", "retention", "ledger"},
		"httpapi": {"ledger"}, "ingest": {"ledger"}, "retention": {"ledger"}, "ledger": nil}
	top := func(path string) string {
		first, _, _ := strings.Cut(filepath.ToSlash(path), "/")
		return first
	}
	root, seen := filepath.Join("..", ".."), map[string]int{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && path != root && e.IsDir() && strings.HasPrefix(e.Name(), ".") { // as the go command does
			return fs.SkipDir
		}
		if err != nil || e.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(gotoken.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from := top(name)
		if _, known := below[from]; !known {
			t.Errorf("%s is in no package of the design", name)
		}
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			to, own := strings.CutPrefix(path, module)
			if to = top(to); own && to != from && !slices.Contains(below[from], to) {
				t.Errorf("%s imports %s", name, path)
			}
			if from == "ledger" && (path == "net" || strings.HasPrefix(path, "net/") || strings.Contains(path, "/nats") || strings.Contains(path, "/chi")) {
				t.Errorf("%s imports %s: the ledger knows no NATS and no HTTP", name, path)
			}
			seen[from]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for from := range below {
		if seen[from] == 0 {
			t.Errorf("no imports seen of %s", from)
		}
	}
}
