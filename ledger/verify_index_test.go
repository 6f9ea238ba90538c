package ledger

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// An index with right checksums that does not say what the lines say is found,
// with the ledger open and without; the open one makes it again.
func TestVerifyFindsAnIndexThatHidesAnEvent(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(400)
	f.settleSeals()
	defer func() { closeLedger(t, f.l); mustValid(t, dir, VerifyOptions{}) }()
	if r := mustValid(t, dir, VerifyOptions{}); !slices.Contains(r.Checked, "indexes") {
		t.Errorf("checked %v", r.Checked)
	}
	s := f.l.view.Load().segs[1]
	right, err := os.ReadFile(s.index.Load().path)
	if err != nil {
		t.Fatal(err)
	}
	for name, forge := range map[string]func(x *index, g *growing){
		"an event of an actor":   func(_ *index, g *growing) { drop(g.values[fieldActor][`"u3"`].bitmap()) },
		"an actor":               func(_ *index, g *growing) { delete(g.values[fieldActor], `"u3"`) },
		"an event of a category": func(_ *index, g *growing) { drop(g.values[fieldCategory]["security"].bitmap()) },
		"an event moved": func(_ *index, g *growing) {
			b := g.values[fieldActor][`"u3"`].bitmap()
			g.values[fieldActor][`"u4"`].add(b.Minimum())
			drop(b)
		},
		"an event too many": func(_ *index, g *growing) { g.values[fieldTarget][`"host"`].add(1 << 20) },
		"two swapped": func(_ *index, g *growing) {
			g.values[fieldActor][`"u3"`], g.values[fieldActor][`"u4"`] = g.values[fieldActor][`"u4"`], g.values[fieldActor][`"u3"`]
		},
		"an hour":              func(_ *index, g *growing) { g.hours = append(g.hours, hourMark{1 << 30, 7}) },
		"an hour that is late": func(_ *index, g *growing) { g.hours[0].pos += 3 },
		"a member":             func(x *index, _ *growing) { x.members[0].first++ },
		"a member's time":      func(x *index, _ *growing) { x.members[0].at++ },
		"what is gone":         func(x *index, _ *growing) { x.gone = []string{"security"} },
	} {
		g, members := gatherAgain(t, dir, s)
		x := &index{path: s.index.Load().path, digest: s.digest, size: s.index.Load().size, members: members}
		forge(x, g)
		b, err := x.encode(g)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(x.path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		offline, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		live, err := f.l.Verify(context.Background(), VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for where, r := range map[string]*Report{"offline": offline, "live": live} {
			if r.Status != "invalid" || len(r.Findings) != 1 || r.Findings[0].Kind != "index_mismatch" || r.Findings[0].File != "index/"+s.name+indexSuffix {
				t.Errorf("%s, %s: %+v", name, where, r.Findings)
			}
		}
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			if b, _ := os.ReadFile(x.path); string(b) == string(right) && s.index.Load() != nil {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the index was not made again", name)
			}
		}
	}
}

// drop takes the first position out of a bitmap.
func drop(b *roaring.Bitmap) { b.Remove(b.Minimum()) }

// gatherAgain reads what a segment's index is made of.
func gatherAgain(t *testing.T, dir string, s *segment) (*growing, []block) {
	g := newGrowing(s.first)
	var members []block
	err := inflateAll(filepath.Join(dir, s.name+suffixSealed), s.most(), func(b block, lines []byte) error {
		members = append(members, b)
		eachOf(lines, 0, func(raw []byte) bool {
			ln, err := parseLine(raw)
			g.take(&ln, err)
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	settleMembers(members)
	return g, members
}

// A damaged or foreign index is none: no query uses it, and the chain is valid.
func TestVerifyTellsOfAnIndexThatIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(400)
	f.settleSeals()
	closeLedger(t, f.l)
	paths, _ := filepath.Glob(filepath.Join(dir, indexFolder, "*"))
	first, _ := os.ReadFile(paths[0])
	second, _ := os.ReadFile(paths[1])
	flipped := slices.Clone(first)
	flipped[len(flipped)-1] ^= 1
	for name, b := range map[string][]byte{"cut": first[:len(first)-1], "another's": second, "a flipped bit": flipped, "empty": {}} {
		if err := os.WriteFile(paths[0], b, 0o600); err != nil {
			t.Fatal(err)
		}
		r := mustValid(t, dir, VerifyOptions{})
		if !slices.ContainsFunc(r.NotChecked, func(s string) bool { return strings.HasPrefix(s, "index/"+filepath.Base(paths[0])) }) {
			t.Errorf("%s: not checked %v", name, r.NotChecked)
		}
	}
}
