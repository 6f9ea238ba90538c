package ledger

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Behind the last fsync a disk may have written a later part of a commit and not
// an earlier one, which then reads as zeros.
func TestAHoleInATornCommitIsCutAndAZeroByteIsDamage(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	msgs := make([]Message, 40)
	for i := range msgs {
		msgs[i] = login(uint64(i) + 1)
	}
	project(t, l, msgs...)
	acknowledged, head := Head{ID: 20}, l.Head()
	raw, err := l.Get(20)
	if err != nil {
		t.Fatal(err)
	}
	ln, _ := parseLine(raw)
	acknowledged.Hash = string(ln.hash)
	closeLedger(t, l)
	path, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	whole := allBytes(t, path[0])
	at := bytes.Index(whole, []byte(`{"id":"000000000015"`)) + 100

	torn := slices.Clone(whole)
	clear(torn[at : at+sector])
	os.WriteFile(path[0], torn, 0o600)
	if r := mustValid(t, dir, VerifyOptions{Heads: []Head{acknowledged}}); r.Events != 20 || !strings.Contains(strings.Join(r.NotChecked, "\n"), "torn tail") {
		t.Errorf("%d events, not checked: %q", r.Events, r.NotChecked)
	}
	if r, err := VerifyDir(context.Background(), dir, VerifyOptions{Heads: []Head{head}}); err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != "head_missing" {
		t.Errorf("a head behind the hole: %v %+v", err, r)
	}
	l = open(t, dir, Config{})
	if got := l.Head().ID; got != 20 {
		t.Errorf("head %s, want 20", got)
	}
	project(t, l, msgs[20:]...)
	closeLedger(t, l)
	if !bytes.Equal(allBytes(t, path[0]), whole) {
		t.Error("not the same ledger again")
	}

	start := bytes.Index(whole, []byte(`{"id":"000000000015"`))
	torn = slices.Clone(whole)
	clear(torn[start : start+sector-start%sector]) // the rest of the sector that the commit begins in
	os.WriteFile(path[0], torn, 0o600)
	if r := mustValid(t, dir, VerifyOptions{Heads: []Head{acknowledged}}); r.Events != 20 {
		t.Errorf("short hole: %d events", r.Events)
	}

	for _, zeros := range []int{1, sector / 2} {
		damaged := slices.Clone(whole)
		clear(damaged[at : at+zeros])
		os.WriteFile(path[0], damaged, 0o600)
		l = open(t, dir, Config{})
		closeLedger(t, l)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{Heads: []Head{head}})
		if err != nil || len(r.Findings) == 0 || r.Findings[0].Line != 21 {
			t.Errorf("%d zeros: %v %+v", zeros, err, r)
		}
	}
	os.WriteFile(path[0], whole, 0o600)
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
}

func TestTornLastLineIsCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1), login(2))
	closeLedger(t, l)
	path, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	whole, _ := os.ReadFile(path[0])
	for cut := len(whole) - 1; cut > 0; cut -= 37 {
		os.WriteFile(path[0], whole[:cut], 0o600)
		l = open(t, dir, Config{})
		next := uint64(l.Head().ID) + 1
		for seq := next; seq <= 2; seq++ {
			project(t, l, login(seq))
		}
		closeLedger(t, l)
		path, _ = filepath.Glob(filepath.Join(dir, "*.jsonl"))
		if got, _ := os.ReadFile(path[0]); !bytes.Equal(got, whole) {
			t.Fatalf("cut at %d: not the same ledger again", cut)
		}
	}
	mustValid(t, dir, VerifyOptions{})
}
