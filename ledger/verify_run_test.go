package ledger

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestRunsFindWhatLinesFind edits a sealed segment's lines at random, half of
// them with all hashes made to fit, and verifies them in runs and one by one.
func TestRunsFindWhatLinesFind(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 600 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.seq = uint64(f.l.Projected())
	var batch []Message
	for i := range 2000 {
		if f.seq++; i%500 == 250 {
			f.seq++ // a hole
		}
		category := []string{"user", "security", "ai", "error"}[i*i%7%4]
		batch = append(batch, Message{Seq: f.seq, Time: epoch.Add(time.Duration(f.seq) * 5 * time.Second), Subject: "events." + category,
			Data: fmt.Appendf(nil, `{"action":"a%d","actor":"u%d","data":{"n":{"m":"}"}}}`, i%5, i%9)})
	}
	project(t, f.l, batch...)
	f.at = 30 * time.Hour
	f.settleSeals()
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
	zips, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	name := strings.TrimSuffix(filepath.Base(zips[0]), suffixSealed)
	var lines [][]byte
	eachLine(zips[0], true, func(raw []byte, _ int64) error { lines = append(lines, append(bytes.Clone(raw), '\n')); return nil })
	if len(lines) < 1000 {
		t.Fatal(len(lines))
	}
	heads := map[ID][]string{700: {"x"}}
	r := rand.New(rand.NewPCG(1, uint64(*rounds)))
	runs := 0
	for n := range 60 * *rounds {
		edited := slices.Clone(lines)
		for range n % 8 {
			edited = editLine(r, edited)
		}
		if n%2 == 1 {
			edited = forged(GenesisHash, edited)
		}
		seed, zip, odd := maphash.MakeSeed(), n%3 > 0, []oddMember{{5, 1 + r.Int64N(1000)}}
		fresh := func() (*verification, *segmentResult) {
			v := &verification{dir: dir, heads: heads, report: &Report{}}
			s := &segmentResult{in: verifyInput{name: name}, file: name, zip: zip, counts: zip}
			if zip {
				s.index = v.checkIndex(name, int64(len(allBytes(t, zips[0]))))
				s.index.seed, s.index.key = seed, 7
			}
			return v, s
		}
		v, a := fresh()
		w, b := fresh()
		var one checkedLine
		k := newLineChecker()
		for _, text := range edited {
			k.check(&one, text)
			if v.line(a, &one); a.lines == odd[0].line {
				a.foundOdd(odd[0])
				a.told++
			}
		}
		k.heads, k.index, k.sealed = heads, b.index.usable(), zip
		for rest := bytes.Join(edited, nil); len(rest) > 0; {
			i := min(len(rest), 1+r.IntN(100_000))
			i += bytes.IndexByte(rest[i-1:], '\n')
			batch := &lineBatch{text: rest[:i], odd: odd}
			k.checkAll(batch)
			w.take(b, batch)
			runs += len(batch.runs)
			rest = rest[i:]
		}
		if !same(a, b) || !maps.Equal(a.seen, b.seen) {
			t.Fatalf("round %d: one by one\n%+v\n%v\nin runs\n%+v\n%v", n, a, a.index, b, b.index)
		}
	}
	if all := 60 * *rounds * len(lines); runs > all/10 {
		t.Errorf("%d runs of %d lines", runs, all)
	}
}

// same compares all that two verifications gathered.
func same(a, b *segmentResult) bool {
	if a.zip && a.tally != nil && b.tally != nil {
		m, ids := a.tally.manifest()
		n, others := b.tally.manifest()
		if !reflect.DeepEqual(m, n) || !bytes.Equal(ids, others) || a.index.lines != b.index.lines || !slices.Equal(a.index.wrong, b.index.wrong) ||
			a.index.off != b.index.off || a.index.next != b.index.next || a.index.hours != b.index.hours || a.index.timed != b.index.timed {
			return false
		}
	}
	x, y := *a, *b
	x.tally, y.tally, x.index, y.index = nil, nil, nil, nil
	return reflect.DeepEqual(x, y) && (a.tally == nil) == (b.tally == nil)
}

// editLine edits one of some lines.
func editLine(r *rand.Rand, lines [][]byte) [][]byte {
	i := r.IntN(len(lines) - 1)
	line := bytes.Clone(lines[i])
	switch r.IntN(10) {
	case 0:
		return slices.Delete(lines, i, i+1)
	case 1:
		return slices.Insert(lines, i, line)
	case 2:
		lines[i], lines[i+1] = lines[i+1], lines[i]
		return lines
	case 3:
		line[r.IntN(len(line)-1)] ^= 1 << r.IntN(8)
		line = append(bytes.ReplaceAll(line[:len(line)-1], []byte("\n"), nil), '\n')
	case 4:
		line = bytes.Replace(line, []byte(`T1`), []byte(`T0`), 1)
	case 5:
		line = bytes.Replace(line, []byte(`"category":"user"`), []byte(`"category":"ledger"`), 1)
	case 6:
		line = bytes.Replace(line, []byte(`"actor":"u1"`), []byte(`"actor":"event-store"`), 1)
	case 7:
		line = bytes.Replace(line, []byte(`:3`), []byte(`:1`), 1)
	case 8:
		line = forged(GenesisHash, [][]byte{line})[0]
	case 9:
		line = fmt.Appendf(nil, gapLayout, ID(i+1), ID(i+1), 1, GenesisHash, GenesisHash)
	}
	lines[i] = line
	return lines
}

// forged makes all hashes of some lines fit, and follow prev.
func forged(prev string, lines [][]byte) (out [][]byte) {
	for _, text := range lines {
		l, err := parseLine(text[:len(text)-1])
		switch {
		case err == nil && l.gap != nil:
			text = fmt.Appendf(nil, gapLayout, l.gap.first, l.gap.last, l.gap.count, prev, l.hash)
			prev = string(l.hash)
		case err == nil:
			l.prev = []byte(prev)
			made, _, hash := l.append(nil, nil)
			prev, text = string(hash[:]), made
		}
		out = append(out, text)
	}
	return out
}
