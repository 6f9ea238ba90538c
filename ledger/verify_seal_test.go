package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// sealedFolder is a closed ledger of at least four sealed segments, all seals
// chained, and an active one.
func sealedFolder(t *testing.T) (dir string, zips []string) {
	t.Helper()
	dir = t.TempDir()
	f := &feed{t: t, l: open(t, dir, faultConfig())}
	f.own()
	f.logins(900)
	f.settleSeals()
	f.settleSeals() // the seals may have ended one more
	f.logins(5)
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
	zips, _ = filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	if len(zips) < 4 {
		t.Fatal(zips)
	}
	return dir, zips
}

// unpack puts a plain segment in the place of a sealed one.
func unpack(t *testing.T, path string) {
	t.Helper()
	os.WriteFile(strings.TrimSuffix(path, suffixSealed)+suffixPlain, bytes.Join(linesOf(t, path), nil), 0o600)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

// linesOf reads a segment's lines, each with its newline.
func linesOf(t *testing.T, path string) (lines [][]byte) {
	t.Helper()
	if err := eachLine(path, strings.HasSuffix(path, suffixSealed), func(raw []byte, _ int64) error {
		lines = append(lines, append(bytes.Clone(raw), '\n'))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return lines
}

// rewriteFrom edits an event of a segment and makes all hashes behind it fit,
// in this segment and the later ones: each stays as it is packed, and where it
// is sealed it gets a manifest that fits too.
func rewriteFrom(t *testing.T, dir, segment string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "events_*.jsonl*"))
	prev := []byte(nil)
	for _, path := range files {
		if filepath.Base(path) < segment {
			continue
		}
		name, zip := strings.CutSuffix(filepath.Base(path), suffixSealed)
		var all []byte
		var sum tally
		for i, text := range linesOf(t, path) {
			l, err := parseLine(text[:len(text)-1])
			if err != nil {
				t.Fatal(err)
			}
			if prev == nil {
				prev = bytes.Clone(l.prev)
			}
			if i == 0 {
				sum = *newTally(name, l.id)
			}
			if i == 3 && strings.HasPrefix(filepath.Base(path), segment) {
				l.actor = []byte(`"nobody"`)
			}
			from := len(all)
			l.prev = prev
			made, _, hash := l.append(all, nil)
			all, prev = made, hash[:]
			l, _ = parseLine(all[from : len(all)-1])
			bin := sha256.Sum256(l.preimage(nil))
			sum.add(&l, all[from:], prev, &bin)
		}
		if !zip {
			os.WriteFile(path, all, 0o600)
			continue
		}
		packed, err := new(memberWriter).pack(all)
		if err != nil {
			t.Fatal(err)
		}
		os.WriteFile(path, packed, 0o600)
		m, ids := sum.manifest()
		m.Map = packMap(ids)
		os.WriteFile(filepath.Join(dir, name+suffixManifest), append(m.canonical(), '\n'), 0o600)
	}
}

// TestHistoryRewrittenWithoutTheKeyIsFound has somebody with the folder edit an
// event and make all hashes fit. Only the seals in the chain tell.
func TestHistoryRewrittenWithoutTheKeyIsFound(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	second := strings.TrimSuffix(filepath.Base(zips[1]), suffixSealed)
	all := func() {
		for _, path := range zips {
			unpack(t, path)
		}
	}
	later := func() {
		for _, path := range zips[1:] {
			unpack(t, path)
		}
	}
	for name, unpack := range map[string]func(){"all unpacked": all, "the later unpacked": later, "packed again, with manifests": func() {}} {
		for _, key := range []string{"the public key there", "no public key"} {
			t.Run(name+", "+key, func(t *testing.T) {
				defer saved(t, dir)()
				unpack()
				rewriteFrom(t, dir, second)
				if key == "no public key" {
					pub := allBytes(t, filepath.Join(dir, pubFile))
					os.Remove(filepath.Join(dir, pubFile))
					defer os.WriteFile(filepath.Join(dir, pubFile), pub, 0o600)
				}
				r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
				if err != nil || !slices.ContainsFunc(r.Findings, func(f Finding) bool {
					return f.Kind == "seal_mismatch" && strings.HasPrefix(f.File, second)
				}) {
					t.Errorf("%v %+v", err, r)
				}
			})
		}
	}
	t.Run("unpacked and not edited", func(t *testing.T) {
		defer saved(t, dir)()
		all()
		mustValid(t, dir, VerifyOptions{})
	})
	mustValid(t, dir, VerifyOptions{})
}

// TestAReplicaThatSealsLateIsValid has the seals and a decision in the chain
// while the segments are plain.
func TestAReplicaThatSealsLateIsValid(t *testing.T) {
	t.Parallel()
	f, dir := agedFeed(t)
	replica := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(replica, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	aged := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), aged); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	active := f.l.view.Load().active.name + suffixPlain
	copyTo(t, filepath.Join(dir, active), filepath.Join(replica, active))
	zips, _ := filepath.Glob(filepath.Join(replica, "*"+suffixSealed))
	for _, path := range zips {
		unpack(t, path)
		os.Remove(strings.TrimSuffix(path, suffixSealed) + suffixManifest)
	}
	if r := mustValid(t, replica, VerifyOptions{}); r.Pending != f.l.Status().AgedOutEvents {
		t.Errorf("%d pending, want %d", r.Pending, f.l.Status().AgedOutEvents)
	}
	l := open(t, replica, Config{})
	waitFor(t, "the replica is sealed", func() bool {
		return !slices.ContainsFunc(l.view.Load().segs, func(s *segment) bool { return !s.sealed.Load() })
	})
	closeLedger(t, l)
	mustValid(t, replica, VerifyOptions{})
}

// TestASegmentPackedBySomebodyIsSoundAgainUnpacked: what tells a flipped bit
// names every other packing too, and the lines alone are what was sealed.
func TestASegmentPackedBySomebodyIsSoundAgainUnpacked(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	whole := allBytes(t, zips[1])
	repack(t, zips[1])
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != "member_mismatch" || r.Findings[0].File != filepath.Base(zips[1]) {
		t.Errorf("%v %+v", err, r)
	}
	unpack(t, zips[1])
	mustValid(t, dir, VerifyOptions{})
	f := &feed{t: t, l: open(t, dir, faultConfig())}
	f.waitSealed()
	closeLedger(t, f.l)
	if !bytes.Equal(allBytes(t, zips[1]), whole) {
		t.Error("not packed as it was")
	}
	mustValid(t, dir, VerifyOptions{})
}
