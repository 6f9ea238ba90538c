package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestForgeriesBesideAGap has somebody rewrite a sealed segment after ageing
// out, with every hash made to fit.
func TestForgeriesBesideAGap(t *testing.T) {
	f, dir := agedFeed(t)
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	whole, _ := os.ReadFile(zips[0])
	var lines [][]byte
	eachLine(zips[0], true, func(raw []byte, _ int64) error { lines = append(lines, bytes.Clone(raw)); return nil })
	at := slices.IndexFunc(lines, func(b []byte) bool { return bytes.Contains(b, []byte(`"category":"security"`)) })
	forge := func(t *testing.T, kind string, lines [][]byte) {
		var z bytes.Buffer
		w := newZipper(&z)
		for _, raw := range lines {
			w.add(append(bytes.Clone(raw), '\n'))
		}
		w.flush()
		os.WriteFile(zips[0], z.Bytes(), 0o600)
		defer os.WriteFile(zips[0], whole, 0o600)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == kind }) {
			t.Errorf("want %s, got %+v", kind, r.Findings)
		}
	}
	t.Run("a survivor rewritten", func(t *testing.T) {
		forged := slices.Clone(lines)
		ln, _ := parseLine(bytes.Replace(lines[at], []byte(`"login"`), []byte(`"loser"`), 1))
		raw, _, hash := ln.append(nil, nil)
		forged[at] = bytes.TrimSuffix(raw, []byte("\n"))
		after := bytes.Clone(forged[at+1]) // a gap: its previous_hash binds nothing
		copy(after[bytes.Index(after, []byte(`"previous_hash":"`))+17:], hash[:])
		forged[at+1] = after
		forge(t, "root_mismatch", forged)
	})
	t.Run("a survivor hidden in a gap", func(t *testing.T) {
		a, _ := parseLine(lines[at-1])
		b, _ := parseLine(lines[at+1])
		if a.gap == nil || b.gap == nil {
			t.Fatal("the survivor stands between two gaps")
		}
		text := `{"aged_out":{"first_id":"` + a.gap.first.String() + `","last_id":"` + b.gap.last.String() + `","count":5},"previous_hash":"` +
			string(a.prev) + `","hash":"` + string(b.hash) + `"}`
		forge(t, "gap_unjustified", slices.Concat(lines[:at-1], [][]byte{[]byte(text)}, lines[at+2:]))
	})
	t.Run("a gap in two", func(t *testing.T) {
		whole, _ := parseLine(lines[at-1])
		g := *whole.gap
		if g.count < 2 {
			t.Fatal(g)
		}
		invented := strings.Repeat("ab", 32)
		a := fmt.Appendf(nil, gapLayout, g.first, g.first, 1, whole.prev, invented)
		b := fmt.Appendf(nil, gapLayout, g.first+1, g.last, g.count-1, invented, whole.hash)
		forge(t, "malformed_gap", slices.Concat(lines[:at-1], [][]byte{bytes.TrimSpace(a), bytes.TrimSpace(b)}, lines[at:]))
	})
	if !strings.Contains(string(lines[at-1]), "aged_out") {
		t.Error("no gap before the survivor")
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestEveryByteOfAGapCounts changes each byte of a gap line in turn: none may
// stay unnoticed.
func TestEveryByteOfAGapCounts(t *testing.T) {
	f, dir := agedFeed(t)
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	lines := allLines(t, dir)
	at := slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, `{"aged_out"`) })
	if at < 0 {
		t.Fatal("no gap")
	}
	gapLine := strings.TrimSuffix(lines[at], "\n")
	whole, _ := os.ReadFile(zips[0])
	for i := range gapLine {
		forged := []byte(gapLine)
		forged[i]++
		var z bytes.Buffer
		w := newZipper(&z)
		eachLine(zips[0], true, func(raw []byte, _ int64) error {
			if string(raw) == gapLine {
				raw = forged
			}
			return w.add(append(bytes.Clone(raw), '\n'))
		})
		w.flush()
		os.WriteFile(zips[0], z.Bytes(), 0o600)
		if r, err := VerifyDir(context.Background(), dir, VerifyOptions{}); err != nil || r.Status == "valid" {
			t.Errorf("byte %d: %v, valid: %s", i, err, forged)
		}
		os.WriteFile(zips[0], whole, 0o600)
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestGapsMerge ages a segment out in two decisions: the gaps of the first
// become one with those of the second, and what nothing is left of is one line.
// A replica without the private key ends with the same lines.
func TestGapsMerge(t *testing.T) {
	dir, now := t.TempDir(), time.Now()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	c.Categories["security"] = Policy{Retention: 35 * day}
	f := &feed{t: t, l: open(t, dir, c)}
	f.at = now.Sub(epoch) - 40*day
	f.own()
	f.mixed(450)
	f.at = now.Sub(epoch) - 10*time.Second
	f.mixed(1)
	f.settleSeals()
	var last ID
	for _, category := range []string{"service", "security"} {
		due := slices.DeleteFunc(f.l.Due(epoch.Add(f.at)), func(c Cell) bool { return c.Category != category })
		if last = f.decide(due); rejectedAt(t, f.l, last) {
			t.Fatal("the decision was rejected")
		}
		if err := f.l.Rewritten(context.Background(), last); err != nil {
			t.Fatal(err)
		}
		if r, err := f.l.Verify(context.Background(), VerifyOptions{}); err != nil || r.Status != "valid" {
			t.Fatal(err, r)
		}
	}
	for i, s := range f.l.view.Load().segs {
		var lines []string
		eachLine(filepath.Join(dir, s.name+suffixSealed), true, func(raw []byte, _ int64) error { lines = append(lines, string(raw)); return nil })
		want := 1
		if i == 0 {
			want = 2 // ledger_configured is left
		}
		if len(lines) != want || !strings.Contains(lines[want-1], `"last_id":"`+s.last.String()+`"`) {
			t.Errorf("segment %d: %q", i, lines)
		}
	}
	s := f.l.Status()
	if s.AgedOutEvents < 440 || s.First.Before(epoch.Add(f.at-41*day)) || s.TotalEvents != s.Categories["ledger"]+s.Categories["service"]+s.Categories["security"] {
		t.Errorf("%+v", s)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})

	replica := t.TempDir()
	public, err := os.ReadFile(filepath.Join(dir, pubFile))
	if err == nil {
		err = os.WriteFile(filepath.Join(replica, pubFile), public, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	l := open(t, replica, c)
	project(t, l, f.log...)
	waitFor(t, "the replica has aged out", func() bool { return l.Rewritten(context.Background(), last) == nil && sealedAll(l) })
	if _, _, err := l.Decide(nil); !errors.Is(err, ErrFollows) {
		t.Errorf("a replica decides: %v", err)
	}
	closeLedger(t, l)
	if !slices.Equal(allLines(t, replica), allLines(t, dir)) {
		t.Error("the replica has other lines")
	}
	mustValid(t, replica, VerifyOptions{})
}

func sealedAll(l *Ledger) bool {
	cells, _ := l.Pending()
	return len(cells) == 0 && !slices.ContainsFunc(l.view.Load().segs, func(s *segment) bool { return !s.sealed.Load() })
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("time is up: %s", what)
		}
	}
}

// TestGapThatNoDecisionCovers has somebody age a segment out by himself: its
// events are old enough by the policy, and nothing chained says that they go.
func TestGapThatNoDecisionCovers(t *testing.T) {
	f, dir := agedFeed(t)
	due := f.l.Due(epoch.Add(f.at))
	id := f.decide(due[:1])
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
	path := filepath.Join(dir, due[1].Segment+suffixSealed)
	forge := func(category string) {
		whole, _ := os.ReadFile(path)
		defer os.WriteFile(path, whole, 0o600)
		var out bytes.Buffer
		if err := withoutCells(path, map[string]bool{category: true}, newZipper(&out), newGrowing(1)); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(path, out.Bytes(), 0o600)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil || r.Status != "invalid" {
			t.Fatal(err, r)
		}
		if i := slices.IndexFunc(r.Findings, func(f Finding) bool { return f.Kind == "gap_unjustified" }); i < 0 ||
			r.Findings[i].File != filepath.Base(path) || r.Findings[i].ID == "" || !strings.Contains(r.Findings[i].Message, category) {
			t.Errorf("%s: %+v", category, r.Findings)
		}
	}
	forge("service")
	forge("security")
	mustValid(t, dir, VerifyOptions{})
}

// TestAHeadThatAgedOutIsNoFinding asks for the heads that somebody noted before
// their events aged out.
func TestAHeadThatAgedOutIsNoFinding(t *testing.T) {
	t.Parallel()
	f, dir := agedFeed(t)
	var heads []Head
	for id := ID(1); id <= 10; id++ {
		raw, err := f.l.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		ln, _ := parseLine(raw)
		heads = append(heads, Head{ID: id, Hash: string(ln.hash)})
	}
	if err := f.l.Rewritten(context.Background(), ageNow(t, f)); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	const aged, last = 4, 5 // of a gap of two, between survivors
	r := mustValid(t, dir, VerifyOptions{Heads: heads})
	if c, ok := r.OfChain(); !ok || slices.ContainsFunc(c.NotChecked, func(s string) bool { return strings.HasPrefix(s, notCheckedHead) }) || slices.Contains(c.Checked, "heads") {
		t.Errorf("of the chain alone: checked %q, not %q", c.Checked, c.NotChecked)
	}
	if !slices.Contains(r.NotChecked, "the head "+heads[aged].ID.String()+":"+heads[aged].Hash+": it aged out") || !slices.Contains(r.Checked, "heads") {
		t.Errorf("%q, not %q", r.Checked, r.NotChecked)
	}
	if strings.Contains(strings.Join(r.NotChecked, "\n"), heads[last].Hash) {
		t.Errorf("the last of a gap: not %q", r.NotChecked)
	}
	other := VerifyOptions{Heads: []Head{{ID: heads[last].ID, Hash: GenesisHash}}}
	if r, err := VerifyDir(context.Background(), dir, other); err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != "head_mismatch" {
		t.Errorf("another hash at a gap's end: %v %+v", err, r)
	}
	if c, ok := r.OfChain(); !ok || strings.Contains(strings.Join(c.NotChecked, "\n"), "head") {
		t.Errorf("of the chain: not %q", c.NotChecked)
	}
	if r := mustValid(t, dir, VerifyOptions{Heads: heads[aged : aged+1]}); slices.Contains(r.Checked, "heads") {
		t.Errorf("%q", r.Checked)
	}
}
