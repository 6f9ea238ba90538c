package ledger

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestVerifyOutlivesDamagedOwnEvents flips the bits that say where the members
// of the store's own events begin and end. Verification reads these before it
// could trust the hash of their lines.
func TestVerifyOutlivesDamagedOwnEvents(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c), at: time.Since(epoch)}
	f.own()
	f.seq += 3 // a hole
	f.logins(1)
	testimony, err := f.l.Testify(ActionRefused, map[string]any{"from": []string{"a", "b"}, "count": 2})
	if err != nil {
		t.Fatal(err)
	}
	f.send(subjectOwn+testimony.Action, testimony.Data)
	f.logins(1)
	head := f.l.Head()
	closeLedger(t, f.l)
	path := filepath.Join(dir, f.l.view.Load().active.name+suffixPlain)
	whole, own := allBytes(t, path), 0
	for at, line := range linesAt(whole) {
		ln, err := parseLine(line)
		if err != nil || !ln.own() {
			continue
		}
		own++
		at += bytes.Index(line, ln.data)
		for i, b := range ln.data {
			for bit := range 8 {
				if strings.IndexByte(`{}[]",:`, b) >= 0 {
					flipWhole(t, dir, path, head, whole, at+i, bit)
				}
			}
		}
	}
	if own != 3 {
		t.Errorf("%d own events", own)
	}
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
}

// linesAt yields the lines of a plain segment and where they begin.
func linesAt(whole []byte) func(func(at int, line []byte) bool) {
	return func(yield func(int, []byte) bool) {
		for at := 0; at < len(whole); {
			n := bytes.IndexByte(whole[at:], '\n')
			if !yield(at, whole[at:at+n]) {
				return
			}
			at += n + 1
		}
	}
}

// TestNoDamageOfAnOwnEventIsSigned also cuts, doubles and inserts.
func TestNoDamageOfAnOwnEventIsSigned(t *testing.T) {
	t.Parallel()
	keys, err := openKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := keys.sign(actionConf, DefaultConfig().statement(0))
	if err != nil {
		t.Fatal(err)
	}
	if statement, ok := keys.verify(actionConf, data); !ok || string(statement) != string(DefaultConfig().statement(0)) {
		t.Fatalf("%t %s", ok, statement)
	}
	for at := range data {
		for _, c := range []byte("{}[]\",:0 \x00\xff") {
			for _, damaged := range [][]byte{
				slices.Concat(data[:at], []byte{c}, data[at+1:]),
				slices.Concat(data[:at], []byte{c}, data[at:]),
				slices.Concat(data[:at], []byte{c}),
				data[:at], data[at+1:],
				slices.Concat(data[:at+1], data[at:]),
			} {
				if _, ok := keys.verify(actionConf, damaged); ok && !bytes.Equal(damaged, data) {
					t.Fatalf("byte %d: %q", at, damaged)
				}
			}
		}
	}
}

// TestVerifyOutlivesAForgedCategory writes a line whose hash is right and whose
// category is no text.
func TestVerifyOutlivesAForgedCategory(t *testing.T) {
	t.Parallel()
	dir, path, _ := sealedOrActive(t, 3, true)
	var lines []byte
	if err := eachLine(path, true, func(raw []byte, _ int64) error {
		ln, err := parseLine(raw)
		if ln.id == 2 {
			ln.category = []byte("\xff")
		}
		lines, _, _ = ln.append(lines, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	packed, err := new(memberWriter).pack(lines)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == "manifest_mismatch" }) {
		t.Errorf("%v %+v", err, r)
	}
	// Without the manifest the lines are loaded.
	if err := os.Remove(strings.TrimSuffix(path, suffixSealed) + suffixManifest); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, open(t, dir, Config{}))
}

// TestAFloorAboveDefaultsThatNeverHeld requires more than the defaults have of a
// ledger whose first event configured it, and of one that began under them.
func TestAFloorAboveDefaultsThatNeverHeld(t *testing.T) {
	t.Parallel()
	for before, want := range map[int]int{0: 0, 1: 1} {
		dir, c := t.TempDir(), DefaultConfig()
		c.Categories["security"] = Policy{Retention: 730 * day}
		delete(c.Categories, "ai")
		f := &feed{t: t, l: open(t, dir, c)}
		f.logins(before)
		f.own()
		f.logins(3)
		closeLedger(t, f.l)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{Require: map[string]time.Duration{"security": 730 * day}})
		if err != nil || len(r.Findings) != want || len(r.Policies) != 2 {
			t.Errorf("%d events before: %v %+v", before, err, r)
		}
		r, err = VerifyDir(context.Background(), dir, VerifyOptions{Require: map[string]time.Duration{"ai": day}})
		if err != nil || len(r.Findings) != 1-want {
			t.Errorf("%d events before, of a category that is not configured: %v %+v", before, err, r)
		}
		mustValid(t, dir, VerifyOptions{})
	}
}

// TestTheReportHasThePublicKey lets an auditor compare it with the one he noted.
func TestTheReportHasThePublicKey(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, Config{})}
	f.logins(3)
	key := f.l.PublicKey()
	if r := mustVerify(t, f.l); key == "" || r.PublicKey != key {
		t.Errorf("running: %q, want %q", r.PublicKey, key)
	}
	closeLedger(t, f.l)
	if r := mustValid(t, dir, VerifyOptions{}); r.PublicKey != key {
		t.Errorf("offline: %q, want %q", r.PublicKey, key)
	}
	if err := os.Remove(filepath.Join(dir, pubFile)); err != nil {
		t.Fatal(err)
	}
	if r := mustValid(t, dir, VerifyOptions{}); r.PublicKey != "" {
		t.Errorf("without %s: %q", pubFile, r.PublicKey)
	}
}
