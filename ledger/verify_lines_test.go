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
)

// TestAnotherContentHashIsFound changes the manifest's hash of the content:
// with the seal in the chain, and before it is there.
func TestAnotherContentHashIsFound(t *testing.T) {
	t.Parallel()
	for name, chained := range map[string]bool{"seal_mismatch": true, "manifest_mismatch": false} {
		dir := t.TempDir()
		c := DefaultConfig()
		c.MaxFileSize = 64 << 10
		f := &feed{t: t, l: open(t, dir, c)}
		f.own()
		f.logins(300)
		f.waitSealed()
		if chained {
			f.own()
		}
		closeLedger(t, f.l)
		mustValid(t, dir, VerifyOptions{})
		paths, _ := filepath.Glob(filepath.Join(dir, "*"+suffixManifest))
		b := allBytes(t, paths[0])
		m, err := parseManifest(b)
		if err != nil {
			t.Fatal(err)
		}
		other := strings.Repeat("ab", 32)
		if err := os.WriteFile(paths[0], bytes.Replace(b, []byte(m.SHA256), []byte(other), 1), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == name }) {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
}

// TestFindingsKeepTheirPlaces breaks lines of one large plain segment, whose
// parts are checked by several cores.
func TestFindingsKeepTheirPlaces(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, Config{})}
	var batch []Message
	for range 5000 {
		f.seq++
		batch = append(batch, login(f.seq))
	}
	project(t, f.l, batch...)
	closeLedger(t, f.l)
	path, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	lines := bytes.SplitAfter(allBytes(t, path[0]), []byte("\n"))
	for _, n := range []int{700, 2100, 4200} {
		lines[n-1] = bytes.Replace(lines[n-1], []byte(`"login"`), []byte(`"logon"`), 1)
	}
	lines[3000] = []byte("{}\n")
	if err := os.WriteFile(path[0], bytes.Join(lines, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var places []int64
	for _, f := range r.Findings {
		if f.ID != ID(f.Line).String() {
			t.Errorf("%+v", f)
		}
		places = append(places, f.Line)
	}
	if !slices.Equal(places, []int64{700, 2100, 3001, 4200}) {
		t.Errorf("%+v", r.Findings)
	}
}

// TestBytesThatAreNoLineOfASealedFileAreFound adds members as the store writes
// them whose content is no line: behind the last newline no line's hash tells.
func TestBytesThatAreNoLineOfASealedFileAreFound(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	lines := linesOf(t, zips[1])
	last := lines[len(lines)-1]
	pack := func(content []byte) []byte {
		packed, err := new(memberWriter).pack(content)
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Clone(packed)
	}
	var empty bytes.Buffer
	gzip.NewWriter(&empty).Close()
	whole, half := allBytes(t, zips[1]), len(last)/2
	for name, content := range map[string][]byte{
		"an event without its newline": slices.Concat(whole, pack(last[:len(last)-1])),
		"two bytes":                    slices.Concat(whole, pack([]byte("xx"))),
		"a member of nothing":          slices.Concat(whole, pack(nil)),
		"one in front":                 slices.Concat(pack(nil), whole),
		"nothing, packed elsewhere":    slices.Concat(whole, empty.Bytes()),
		"a line in two members": slices.Concat(pack(slices.Concat(bytes.Join(lines[:len(lines)-1], nil), last[:half])),
			pack(last[half:])),
	} {
		os.WriteFile(zips[1], content, 0o600)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil || len(r.Findings) == 0 || r.Findings[0].File != filepath.Base(zips[1]) {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
	os.WriteFile(zips[1], whole, 0o600)
	mustValid(t, dir, VerifyOptions{})
}
