package ingest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Somebody rewrites an event beneath the running store, and all hashes behind it: only the stream tells which one it was.
func TestARewrittenEventDiffersFromTheStream(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir()).ready()
	burst(t, f.ing.js, 3000)
	f.get(f.appendSoon())
	head := f.led.Head().ID
	if first, last, differs, err := f.ing.Compare(t.Context()); err != nil || first != 1 || last != head || differs != 0 {
		t.Errorf("%s to %s, differs %s, %v", first, last, differs, err)
	}
	names, _ := filepath.Glob(filepath.Join(f.dir, "events_*.jsonl"))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(strings.TrimSuffix(string(whole), "\n"), "\n")
	lines[99] = strings.Replace(lines[99], `"actor":"tester"`, `"actor":"nobody"`, 1)
	if err := os.WriteFile(names[0], rehashed(t, lines[98:], lines[:98]), 0o600); err != nil {
		t.Fatal(err)
	}
	if first, last, differs, err := f.ing.Compare(t.Context()); err != nil || first != 1 || last != head || differs != 100 {
		t.Errorf("%s to %s, differs %s, %v; want 000000000064", first, last, differs, err)
	}
	if err := os.WriteFile(names[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rehashed makes the hashes of lines fit, behind others that stay.
func rehashed(t *testing.T, lines, before []string) []byte {
	t.Helper()
	out, prev := strings.Join(before, ""), ""
	for _, line := range lines {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		old, was := e["hash"].(string), e["previous_hash"].(string)
		delete(e, "hash")
		if prev != "" {
			e["previous_hash"] = prev
		}
		canonical, err := json.Marshal(e) // these have no member whose form differs
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(canonical)
		hash := hex.EncodeToString(sum[:])
		if prev != "" {
			line = strings.Replace(line, was, prev, 1)
		}
		out, prev = out+strings.Replace(line, old, hash, 1), hash
	}
	return []byte(out)
}
