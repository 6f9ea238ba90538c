package ledger

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// rewrittenFolder is a closed ledger of three segments from which all service
// events aged out. The second ends with a gap, and the third begins with one.
func rewrittenFolder(t *testing.T) (dir string, zips []string) {
	t.Helper()
	dir = t.TempDir()
	f := &feed{t: t, l: open(t, dir, faultConfig()), at: time.Since(epoch) - 40*day}
	f.own()
	f.mixed(300)
	for range 2 {
		f.send("events.security", login(f.seq+1).Data)
	}
	f.mixed(150)
	f.at = time.Since(epoch) - 10*time.Second
	f.mixed(1)
	f.settleSeals()
	if err := f.l.Rewritten(context.Background(), ageNow(t, f)); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
	zips, _ = filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	if len(zips) != 3 || gapOf(t, linesOf(t, zips[1]), -1) == nil || gapOf(t, linesOf(t, zips[2]), 0) == nil {
		t.Fatal("the segments do not meet within a gap: ", zips)
	}
	return dir, zips
}

// gapOf is the gap of a line, from the end where i is negative; nil: it is none.
func gapOf(t *testing.T, lines [][]byte, i int) *line {
	t.Helper()
	if i < 0 {
		i += len(lines)
	}
	l, err := parseLine(bytes.Clone(lines[i][:len(lines[i])-1]))
	if err != nil {
		t.Fatal(err)
	}
	if l.gap == nil {
		return nil
	}
	return &l
}

// pack writes a sealed segment's lines as the store packs them, and removes the
// indexes: they name what was there.
func pack(t *testing.T, path string, lines [][]byte) {
	t.Helper()
	packed, err := new(memberWriter).pack(bytes.Join(lines, nil))
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(path, packed, 0o600)
	os.RemoveAll(filepath.Join(filepath.Dir(path), indexFolder))
}

// TestSegmentsThatMeetWithinAGapEndAsSealed forges where two gaps meet: no
// event bears out the hash and the ids there, but what was sealed tells.
func TestSegmentsThatMeetWithinAGapEndAsSealed(t *testing.T) {
	t.Parallel()
	dir, zips := rewrittenFolder(t)
	before, behind := linesOf(t, zips[1]), linesOf(t, zips[2])
	a, b := gapOf(t, before, -1), gapOf(t, behind, 0)
	if a.gap.count != 1 {
		t.Fatal(a.gap)
	}
	want := []Finding{}
	for _, path := range zips[1:] {
		m, err := parseManifest(allBytes(t, strings.TrimSuffix(path, suffixSealed)+suffixManifest))
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, Finding{Kind: "manifest_mismatch", ID: m.FirstID, File: filepath.Base(path)})
	}
	rest, invented := before[:len(before)-1], []byte(strings.Repeat("ab", 32))
	for name, meet := range map[string][2][]byte{
		"an invented hash": {fmt.Appendf(nil, gapLayout, a.gap.first, a.gap.last, 1, a.prev, invented),
			fmt.Appendf(nil, gapLayout, b.gap.first, b.gap.last, b.gap.count, invented, b.hash)},
		"an id more in the second": {nil, fmt.Appendf(nil, gapLayout, a.gap.first, b.gap.last, b.gap.count+1, a.prev, b.hash)},
	} {
		t.Run(name, func(t *testing.T) {
			defer saved(t, dir)()
			pack(t, zips[1], append(slices.Clip(rest), meet[0]))
			pack(t, zips[2], slices.Concat([][]byte{meet[1]}, behind[1:]))
			foundExactly(t, dir, want)
		})
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestASurvivorOfAnotherCategoryIsNamed forges beside gaps: each security event
// of a rewritten segment gets a category of which nothing was sealed there, or a
// hole takes its place. No root is compared then.
func TestASurvivorOfAnotherCategoryIsNamed(t *testing.T) {
	t.Parallel()
	dir, zips := rewrittenFolder(t)
	path := zips[1] // the first holds events of the ledger's own
	for name, forge := range map[string]func(l *line){
		"of another category": func(l *line) { l.category = []byte("user") },
		"a hole": func(l *line) {
			l.category, l.action, l.actor = []byte(CategoryLedger), []byte(`"events_missing"`), []byte(`"`+ActorStore+`"`)
			l.data = fmt.Appendf(nil, `{"count":1,"first_id":"%s","last_id":"%s"}`, l.id, l.id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer saved(t, dir)()
			lines, want := linesOf(t, path), []Finding{}
			for i, text := range lines {
				l, err := parseLine(bytes.Clone(text[:len(text)-1]))
				if err != nil {
					t.Fatal(err)
				}
				if l.gap == nil {
					forge(&l)
					lines[i], _, _ = l.append(nil, nil)
					want = append(want, Finding{"survivor_mismatch", l.id.String(), filepath.Base(path), int64(i) + 1, ""})
				}
			}
			if len(want) < 10 {
				t.Fatal("few survivors: ", len(want))
			}
			head, _ := parseLine(bytes.TrimSpace(lines[0]))
			pack(t, path, forged(string(head.prev), lines))
			foundExactly(t, dir, want)
		})
	}
	mustValid(t, dir, VerifyOptions{})
}
