package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestNoEventIsNoSegment: what stands behind the active segment and has no whole
// line goes at the start, and does not end it.
func TestNoEventIsNoSegment(t *testing.T) {
	t.Parallel()
	for name, content := range map[string]string{"empty": "", "torn": `{"id":"00000000`} {
		dir := t.TempDir()
		f := &feed{t: t, l: open(t, dir, Config{})}
		f.logins(10)
		closeLedger(t, f.l)
		stray := filepath.Join(dir, "events_20990101_000000.jsonl")
		if err := os.WriteFile(stray, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		f.l = open(t, dir, Config{})
		f.logins(10)
		closeLedger(t, f.l)
		if _, err := os.Stat(stray); !os.IsNotExist(err) {
			t.Errorf("%s: the file is still there", name)
		}
		files, err := filepath.Glob(filepath.Join(dir, "events_*"))
		if err != nil || len(files) != 1 {
			t.Errorf("%s: %v, %v", name, files, err)
		}
		mustValid(t, dir, VerifyOptions{})
	}
}

// TestAnEmptiedSegmentIsNamed: the segment behind it is not the one at fault.
func TestAnEmptiedSegmentIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(600)
	f.settleSeals()
	closeLedger(t, f.l)
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	if err != nil || len(paths) < 2 {
		t.Fatal(paths, err)
	}
	if err := os.Truncate(paths[1], 0); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == "damaged_file" && f.File == filepath.Base(paths[1]) }) {
		t.Errorf("%v %+v", err, r.Findings)
	}
}

// TestAGzipWithoutManifestIsNotRead where its .jsonl is there: the store and a
// verification of the folder read the same.
func TestAGzipWithoutManifestIsNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, Config{})}
	f.logins(10)
	closeLedger(t, f.l)
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(bytes.ReplaceAll(allBytes(t, paths[0]), []byte(`"login"`), []byte(`"logon"`)))
	z.Close()
	if err := os.WriteFile(paths[0]+".gz", b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	read := "only " + filepath.Base(paths[0]) + " is read"
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil || r.Status != "valid" || !slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.HasSuffix(s, read) }) {
		t.Errorf("%v %+v", err, r)
	}
	f.l = open(t, dir, Config{})
	defer closeLedger(t, f.l)
	if line, err := f.l.Get(5); err != nil || !bytes.Contains(line, []byte(`"login"`)) {
		t.Errorf("%s, %v", line, err)
	}
	if r, err := f.l.Verify(context.Background(), VerifyOptions{}); err != nil || r.Status != "valid" {
		t.Errorf("%v %+v", err, r)
	}
}

// TestAnEndedSegmentIsNotCut: it was durable whole when the next one began, so
// what looks torn is damage, and stays for who can read it.
func TestAnEndedSegmentIsNotCut(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(600)
	f.waitSealed()
	closeLedger(t, f.l)
	sealed, err := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	if err != nil || len(sealed) < 2 {
		t.Fatal(sealed, err)
	}
	path := strings.TrimSuffix(sealed[1], suffixSealed)
	var damaged []byte
	if err := eachLine(sealed[1], true, func(raw []byte, _ int64) error {
		damaged = append(append(damaged, raw...), '\n')
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	damaged[len(damaged)-1] ^= 1
	if err := errors.Join(os.WriteFile(path+suffixPlain, damaged, 0o600), os.Remove(sealed[1]), os.Remove(path+suffixManifest)); err != nil {
		t.Fatal(err)
	}
	f.l = open(t, dir, c)
	f.logins(1)
	closeLedger(t, f.l)
	if got := allBytes(t, path+suffixPlain); !bytes.Equal(got, damaged) {
		t.Errorf("%d of %d bytes are left", len(got), len(damaged))
	}
}

// TestAStrayCopyOfASegmentIsToldOnce, not for each of its lines.
func TestAStrayCopyOfASegmentIsToldOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, Config{})}
	f.logins(100)
	closeLedger(t, f.l)
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	name := strings.TrimSuffix(paths[0], suffixPlain)
	if err := os.WriteFile(name+"_copy"+suffixPlain, allBytes(t, paths[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	l, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	if n := strings.Count(log.String(), "level=ERROR"); n < 1 || n > 3 || !strings.Contains(log.String(), `line=1 id=000000000001`) ||
		!strings.Contains(log.String(), "lines=100") {
		t.Errorf("%d errors:\n%.2000s", n, log.String())
	}
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil || r.Status == "valid" {
		t.Errorf("%+v %v", r, err)
	}
	if err := os.Remove(name + "_copy" + suffixPlain); err != nil {
		t.Fatal(err)
	}
	mustValid(t, dir, VerifyOptions{})
}
