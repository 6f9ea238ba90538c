package ledger

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// mustVerify verifies a running ledger.
func mustVerify(t *testing.T, l *Ledger) *Report {
	t.Helper()
	r, err := l.Verify(context.Background(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestARunningLedgerMissesItsCutTail cuts the active segment's file, or puts
// another one in its place, behind the running ledger's back.
func TestARunningLedgerMissesItsCutTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, Config{})}
	f.logins(5)
	files, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	whole := allBytes(t, files[0])
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for name, c := range map[string]struct {
		kind, id string
		content  []byte
	}{
		"three lines cut off": {"tail_missing", "000000000003", bytes.Join(lines[:2], nil)},
		"cut within a line":   {"tail_missing", "000000000005", whole[:len(whole)-20]},
		"all cut off":         {"tail_missing", "000000000001", nil},
		"another last event":  {"head_mismatch", "000000000005", bytes.Join(forged(slices.Concat(lines[:4], [][]byte{bytes.Replace(lines[4], []byte("host"), []byte("hose"), 1)})), nil)},
	} {
		os.WriteFile(files[0], c.content, 0o600)
		r := mustVerify(t, f.l)
		if len(r.Findings) != 1 || r.Findings[0].Kind != c.kind || r.Findings[0].ID != c.id || r.Findings[0].File != filepath.Base(files[0]) {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
	os.WriteFile(files[0], whole, 0o600)
	if r := mustVerify(t, f.l); r.Status != "valid" {
		t.Errorf("%+v", r.Findings)
	}

	// As an editor does it: the ledger goes on with the file that has no name now.
	os.WriteFile(files[0]+"~", whole, 0o600)
	os.Rename(files[0]+"~", files[0])
	f.logins(2)
	if r := mustVerify(t, f.l); len(r.Findings) != 1 || r.Findings[0].Kind != "tail_missing" || r.Findings[0].ID != "000000000006" {
		t.Errorf("replaced: %+v", r.Findings)
	}
	os.Remove(files[0])
	if r := mustVerify(t, f.l); !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Kind == "segment_missing" && f.File == filepath.Base(files[0])
	}) {
		t.Errorf("removed: %+v", r.Findings)
	}
	os.WriteFile(files[0], whole, 0o600)
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
