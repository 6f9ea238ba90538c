package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestEveryFlippedBitIsFound(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(260)
	f.settleSeals()
	f.logins(3)
	head := f.l.Head()
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
	names, _ := filepath.Glob(filepath.Join(dir, "events_*"))
	for _, name := range names {
		whole, _ := os.ReadFile(name)
		step := 1
		if len(whole) > 4000 {
			step = 211
		}
		for i := 0; i < len(whole); i += step {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << (i % 8)
			os.WriteFile(name, damaged, 0o600)
			r, err := VerifyDir(context.Background(), dir, VerifyOptions{Heads: []Head{head}})
			if err != nil {
				t.Fatalf("%s byte %d: %v", filepath.Base(name), i, err)
			}
			if r.Status == "valid" {
				t.Errorf("%s byte %d of %d: a flipped bit was not found", filepath.Base(name), i, len(whole))
			}
		}
		os.WriteFile(name, whole, 0o600)
	}
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(400)
	f.settleSeals()
	closeLedger(t, f.l)
	active, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	edit := func(lines [][]byte) []byte { return bytes.Join(lines, nil) }
	whole, _ := os.ReadFile(active[0])
	lines := bytes.SplitAfter(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n"))
	for name, tc := range map[string]struct {
		kind   string
		damage func()
		opts   VerifyOptions
	}{
		"a line removed":     {"broken_link", func() { os.WriteFile(active[0], edit(slices.Delete(slices.Clone(lines), 3, 4)), 0o600) }, VerifyOptions{}},
		"a line twice":       {"broken_link", func() { os.WriteFile(active[0], edit(slices.Insert(slices.Clone(lines), 3, lines[3])), 0o600) }, VerifyOptions{}},
		"an edited actor":    {"hash_mismatch", func() { os.WriteFile(active[0], bytes.Replace(whole, []byte(`"u1"`), []byte(`"u2"`), 1), 0o600) }, VerifyOptions{}},
		"a sealed file gone": {"segment_missing", func() { os.Remove(zips[0]) }, VerifyOptions{}},
		"a segment gone":     {"segment_missing", func() { os.Remove(zips[0]); os.Remove(strings.Replace(zips[0], ".jsonl.gz", ".manifest.json", 1)) }, VerifyOptions{}},
		"a manifest gone":    {"manifest_missing", func() { os.Remove(strings.Replace(zips[0], ".jsonl.gz", ".manifest.json", 1)) }, VerifyOptions{}},
		"an unknown head":    {"head_missing", func() {}, VerifyOptions{Heads: []Head{{ID: 1 << 40, Hash: GenesisHash}}}},
		"another head":       {"head_mismatch", func() {}, VerifyOptions{Heads: []Head{{ID: 7, Hash: GenesisHash}}}},
		"a floor":            {"policy_below_required", func() {}, VerifyOptions{Require: map[string]time.Duration{"security": 366 * day}}},
		"another public key": {"bad_signature", func() {
			os.Remove(filepath.Join(dir, pubFile))
			os.Remove(filepath.Join(dir, keyFile))
			k, _ := openKeys(t.TempDir())
			k.keep(dir)
		}, VerifyOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			saved := map[string][]byte{}
			all, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, p := range all {
				saved[p], _ = os.ReadFile(p)
			}
			tc.damage()
			r, err := VerifyDir(context.Background(), dir, tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == tc.kind }) {
				t.Errorf("want a finding %s, got %+v", tc.kind, r.Findings)
			}
			for p, b := range saved {
				os.WriteFile(p, b, 0o600)
			}
			mustValid(t, dir, VerifyOptions{})
		})
	}
}

// Somebody packs a sealed segment again, with one event altered: every line is
// still read, and the event is named.
func TestRepackedSegmentIsReadAndItsEditNamed(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(300)
	f.settleSeals()
	closeLedger(t, f.l)
	zips, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	var plain bytes.Buffer
	eachLine(zips[0], true, func(raw []byte, _ int64) error { plain.Write(append(raw, '\n')); return nil })
	edited := bytes.Replace(plain.Bytes(), []byte(`"n":100`), []byte(`"n":666`), 1)
	for _, tc := range []struct {
		content []byte
		kind    string
	}{{plain.Bytes(), "member_mismatch"}, {edited, "hash_mismatch"}} {
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		z.Write(tc.content)
		z.Close()
		if err := os.WriteFile(zips[0], zipped.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := VerifyDir(t.Context(), dir, VerifyOptions{})
		if err != nil || r.Status != "invalid" || r.Findings[0].Kind != tc.kind || r.Findings[0].ID == "" {
			t.Errorf("%s: %v %+v", tc.kind, err, r)
		}
		l := open(t, dir, c)
		for id := ID(1); id <= l.Head().ID; id++ {
			if _, err := l.Get(id); err != nil {
				t.Fatalf("%s: %s: %v", tc.kind, id, err)
			}
		}
		n := 0
		if err := l.Query(t.Context(), Filter{Actions: []string{"login"}}, func([]byte) error { n++; return nil }); err != nil || n != 300 {
			t.Errorf("%s: %d logins, %v", tc.kind, n, err)
		}
		closeLedger(t, l)
	}
}
