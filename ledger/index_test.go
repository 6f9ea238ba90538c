package ledger

import (
	"bytes"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
)

// indexOf makes the index of a few events in a file of its own.
func indexOf(t *testing.T, n int) (path string, whole []byte) {
	g := newGrowing(100)
	for i := range n {
		quoted := func(s string) []byte { return quote(nil, s+string(rune('a'+i%7))) }
		target := quoted("host")
		if i == 5 {
			target = quote(nil, "only here")
		}
		g.add(&line{id: ID(100 + 2*i), time: micros(i) * microsPerHour / 3, category: []byte{'a' + byte(i%3)},
			action: quoted("act"), actor: quoted("user"), target: target, result: jsonSuccess})
	}
	x := &index{path: filepath.Join(t.TempDir(), "x"+indexSuffix), digest: "d", size: 70, gone: []string{"gone"},
		members: []block{{first: 100, n: 50, rawSize: 400, at: 3}, {first: 140, off: 50, n: 20, rawSize: 90, at: 5}}}
	whole, err := x.encode(g)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(x.path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	return x.path, whole
}

// readAll reads every part of an index's file.
func readAll(path string) (*index, map[string]*roaring.Bitmap, error) {
	x, err := openIndex(path)
	if err != nil {
		return nil, nil, err
	}
	all := map[string]*roaring.Bitmap{}
	r := indexReader{index: x, kept: newCache().bitmaps}
	defer r.close()
	for f := range indexedFields {
		names, err := r.values(f)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range names {
			bm, err := r.find(f, name)
			if err != nil {
				return nil, nil, err
			}
			all[string(rune('0'+f))+name] = bm
		}
	}
	return x, all, nil
}

func TestIndexGivesWhatWasPutIntoIt(t *testing.T) {
	path, _ := indexOf(t, 21)
	x, all, err := readAll(path)
	if err != nil {
		t.Fatal(err)
	}
	if x.digest != "d" || x.first != 100 || len(x.members) != 2 || x.members[1] != (block{first: 140, off: 50, n: 20, rawSize: 90, at: 5}) ||
		len(x.gone) != 1 || len(x.hours) != 7 || x.hours[6] != (hourMark{6, 36}) {
		t.Errorf("head %+v", x)
	}
	if got := all[`3"only here"`]; got == nil || !got.Equals(roaring.BitmapOf(10)) {
		t.Errorf("a value of one event: %v", got)
	}
	if got := all[`2"userb"`]; len(all) != 3+7+7+8+1 || got == nil || !got.Equals(roaring.BitmapOf(2, 16, 30)) {
		t.Errorf("bitmaps %v", all)
	}
}

func TestEveryFlippedBitOfAnIndexIsNoticed(t *testing.T) {
	path, whole := indexOf(t, 64)
	for i := range whole {
		damaged := bytes.Clone(whole)
		damaged[i] ^= 1 << (i % 8)
		os.WriteFile(path, damaged, 0o600)
		if _, _, err := readAll(path); !errors.Is(err, errIndex) && !errors.Is(err, errMoved) {
			t.Fatalf("byte %d of %d: %v", i, len(whole), err)
		}
		os.WriteFile(path, whole[:i], 0o600)
		if _, _, err := readAll(path); !errors.Is(err, errIndex) {
			t.Fatalf("cut at byte %d of %d: %v", i, len(whole), err)
		}
	}
}

// Opening a ledger without indexes makes them, tells how far it is, and leaves
// files for the owner only.
func TestOpeningMakesTheIndexesThatAreNotThere(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(400)
	f.settleSeals()
	closeLedger(t, f.l)
	before := indexes(t, dir)
	if err := os.RemoveAll(filepath.Join(dir, indexFolder)); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	l, err := Open(t.Context(), Options{Dir: dir, Config: c, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	told := regexp.MustCompile(`msg="making indexes" bytes_done=(\d+) bytes_total=(\d+)`).FindAllStringSubmatch(log.String(), -1)
	if len(told) == 0 || told[len(told)-1][1] != told[len(told)-1][2] {
		t.Errorf("the log tells %q", told)
	}
	for _, s := range l.view.Load().segs {
		if s.sealed.Load() && s.index.Load() == nil {
			t.Errorf("segment %s has no index", s.name)
		}
	}
	if !bytes.Equal(indexes(t, dir), before) {
		t.Error("the indexes are not what they were")
	}
	filepath.WalkDir(filepath.Join(dir, indexFolder), func(path string, e fs.DirEntry, _ error) error {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		return nil
	})
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}
