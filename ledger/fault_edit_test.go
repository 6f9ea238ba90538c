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

// TestEveryKindOfEditIsPlaced damages a ledger of several sealed segments and
// an active one in every way that somebody with the files might, one at a time.
func TestEveryKindOfEditIsPlaced(t *testing.T) {
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, faultConfig())}
	f.own()
	f.logins(700)
	f.settleSeals()
	f.logins(5)
	head := f.l.Head()
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
	active, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	zips, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	if len(active) != 1 || len(zips) < 3 {
		t.Fatal(active, zips)
	}
	manifest := func(i int) string { return strings.TrimSuffix(zips[i], suffixSealed) + suffixManifest }
	lines := bytes.SplitAfter(allBytes(t, active[0]), []byte("\n"))
	lines = lines[:len(lines)-1]
	last := len(lines) - 1
	edit := func(lines ...[]byte) func() { return func() { os.WriteFile(active[0], bytes.Join(lines, nil), 0o600) } }
	replaced := func(i int, old, with string) func() {
		l := slices.Clone(lines)
		if l[i] = bytes.Replace(l[i], []byte(old), []byte(with), 1); bytes.Equal(l[i], lines[i]) {
			t.Fatalf("%s is not in %s", old, lines[i])
		}
		return edit(l...)
	}
	for name, tc := range map[string]struct {
		damage func()
		file   string // where it must be placed; empty: no file tells more than the chain
	}{
		"a line removed":            {edit(slices.Delete(slices.Clone(lines), 2, 3)...), active[0]},
		"the first line removed":    {edit(lines[1:]...), active[0]},
		"the last line removed":     {edit(lines[:last]...), ""},
		"a line twice":              {edit(slices.Insert(slices.Clone(lines), 2, lines[2])...), active[0]},
		"two lines swapped":         {edit(slices.Concat(lines[:1], lines[2:3], lines[1:2], lines[3:])...), active[0]},
		"a line from elsewhere":     {edit(append(slices.Clone(lines), lines[0])...), active[0]},
		"an empty line":             {edit(slices.Insert(slices.Clone(lines), 2, []byte("\n"))...), active[0]},
		"no JSON":                   {edit(slices.Insert(slices.Clone(lines), 2, []byte("hello\n"))...), active[0]},
		"an edited actor":           {replaced(2, `"actor":"u`, `"actor":"v`), active[0]},
		"an edited time":            {replaced(2, `"timestamp":"20`, `"timestamp":"21`), active[0]},
		"an edited id":              {replaced(2, `"id":"0`, `"id":"1`), active[0]},
		"an edited category":        {replaced(2, `"category":"security"`, `"category":"user"`), active[0]},
		"a member more":             {replaced(2, `"data":{`, `"data":{"a":1,`), active[0]},
		"white space":               {replaced(2, `,"actor"`, ` ,"actor"`), active[0]},
		"a carriage return":         {replaced(2, "\"}\n", "\"}\r\n"), active[0]},
		"all lines removed":         {func() { os.Truncate(active[0], 0) }, ""},
		"the active segment gone":   {func() { os.Remove(active[0]) }, ""},
		"a sealed file gone":        {func() { os.Remove(zips[1]) }, manifest(1)},
		"a segment gone":            {func() { os.Remove(zips[1]); os.Remove(manifest(1)) }, zips[2]},
		"the first segment gone":    {func() { os.Remove(zips[0]); os.Remove(manifest(0)) }, zips[1]},
		"a manifest gone":           {func() { os.Remove(manifest(1)) }, manifest(1)},
		"a segment twice":           {func() { copyTo(t, zips[1], filepath.Join(dir, "events_20990101_000000"+suffixSealed)) }, filepath.Join(dir, "events_20990101_000000"+suffixSealed)},
		"two segments swapped":      {func() { swap(t, zips[0], zips[1]) }, zips[0]},
		"two manifests swapped":     {func() { swap(t, manifest(0), manifest(1)) }, manifest(0)},
		"a segment renamed":         {func() { os.Rename(zips[1], filepath.Join(dir, "events_20200101_000000"+suffixSealed)) }, manifest(1)},
		"another first id":          {func() { patch(t, manifest(1), `"first_id":"0`, `"first_id":"1`) }, manifest(1)},
		"another count":             {func() { patch(t, manifest(1), `"count":1`, `"count":2`) }, manifest(1)},
		"another root":              {func() { patch(t, manifest(1), `"root":"`, `"root":"00`) }, manifest(1)},
		"no manifest at all":        {func() { os.WriteFile(manifest(1), []byte("{}"), 0o600) }, manifest(1)},
		"a manifest with a space":   {func() { patch(t, manifest(1), `{"`, `{ "`) }, manifest(1)},
		"a gz packed by somebody":   {func() { repack(t, zips[1]) }, zips[1]},
		"a gz with bytes behind it": {func() { appendTo(t, zips[1], "x") }, zips[1]},
		"an empty gz":               {func() { os.Truncate(zips[1], 0) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			restore := saved(t, dir)
			defer restore()
			tc.damage()
			r, err := VerifyDir(context.Background(), dir, VerifyOptions{Heads: []Head{head}})
			if err != nil {
				t.Fatal(err)
			}
			if len(r.Findings) == 0 || tc.file != "" && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.File == filepath.Base(tc.file) }) {
				t.Errorf("want a finding in %s, got %+v", filepath.Base(tc.file), r.Findings)
			}
		})
	}
	t.Run("a gz cut anywhere", func(t *testing.T) {
		whole := allBytes(t, zips[1])
		for n := 0; n < len(whole); n += 1 + len(whole)/min(500, 50**rounds) {
			os.WriteFile(zips[1], whole[:n], 0o600)
			r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
			if err != nil || len(r.Findings) == 0 {
				t.Fatalf("cut at %d of %d: %v %+v", n, len(whole), err, r)
			}
		}
		os.WriteFile(zips[1], whole, 0o600)
	})
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
}

// saved remembers a folder's files, and gives what brings them back.
func saved(t *testing.T, dir string) (restore func()) {
	t.Helper()
	files := map[string][]byte{}
	names, _ := filepath.Glob(filepath.Join(dir, "events_*"))
	for _, p := range names {
		files[p] = allBytes(t, p)
	}
	return func() {
		now, _ := filepath.Glob(filepath.Join(dir, "events_*"))
		for _, p := range now {
			os.Remove(p)
		}
		for p, b := range files {
			os.WriteFile(p, b, 0o600)
		}
	}
}

func copyTo(t *testing.T, from, to string) { os.WriteFile(to, allBytes(t, from), 0o600) }

func swap(t *testing.T, a, b string) {
	x, y := allBytes(t, a), allBytes(t, b)
	os.WriteFile(a, y, 0o600)
	os.WriteFile(b, x, 0o600)
}

func patch(t *testing.T, path, old, with string) {
	b := allBytes(t, path)
	if !bytes.Contains(b, []byte(old)) {
		t.Fatalf("%s is not in %s", old, path)
	}
	os.WriteFile(path, bytes.Replace(b, []byte(old), []byte(with), 1), 0o600)
}

func appendTo(t *testing.T, path, text string) {
	os.WriteFile(path, append(allBytes(t, path), text...), 0o600)
}

// repack packs a segment again with the standard library: the same lines.
func repack(t *testing.T, path string) {
	var raw []byte
	if err := eachLine(path, true, func(l []byte, _ int64) error { raw = append(append(raw, l...), '\n'); return nil }); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	z.Write(raw)
	z.Close()
	os.WriteFile(path, b.Bytes(), 0o600)
}
