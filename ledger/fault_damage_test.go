package ledger

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// flipEvents is how many events the flipped ledgers hold: 10,000 in a long run.
func flipEvents() int {
	if *rounds >= 100 {
		return 10_000
	}
	return 30 * *rounds
}

// sealedOrActive makes a ledger of n events in one segment.
func sealedOrActive(t *testing.T, n int, seal bool) (dir, path string, head Head) {
	t.Helper()
	dir = t.TempDir()
	c := DefaultConfig()
	f := &feed{t: t, l: open(t, dir, c)}
	msgs := make([]Message, n)
	for i := range msgs {
		msgs[i] = Message{Seq: uint64(i) + 1, Time: epoch.Add(time.Duration(i) * time.Millisecond), Subject: "events.security",
			Data: fmt.Appendf(nil, `{"action":"login","actor":"u%d","data":{"n":%d}}`, i%7, i)}
	}
	project(t, f.l, msgs...)
	suffix := suffixPlain
	f.seq = uint64(n)
	if seal { // a day later: the segment ends
		f.at, suffix = 25*time.Hour, suffixSealed
		f.logins(1)
		f.settleSeals()
	}
	head = f.l.Head()
	closeLedger(t, f.l)
	paths, _ := filepath.Glob(filepath.Join(dir, "events_*"+suffix))
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
	return dir, paths[0], head
}

// TestEveryFlippedBitOfAnActiveSegmentIsPlaced is exhaustive. Verification folds
// over the lines, and never takes a finding back: what it finds in the flipped
// line and the next, from the state before them, it finds in the whole. A
// sample goes through the whole verification all the same.
func TestEveryFlippedBitOfAnActiveSegmentIsPlaced(t *testing.T) {
	dir, path, head := sealedOrActive(t, flipEvents(), false)
	whole := allBytes(t, path)
	lines := bytes.SplitAfter(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n"))
	lines[len(lines)-1] = append(slices.Clone(lines[len(lines)-1]), '\n')
	name := strings.TrimSuffix(filepath.Base(path), suffixPlain)
	var all sync.WaitGroup
	for part := range 2 {
		all.Go(func() {
			for i := part; i < len(lines); i += 2 {
				if bad := flipLine(name, lines, i); bad != "" {
					t.Error(bad)
					return
				}
			}
		})
	}
	all.Wait()
	flipSample(t, dir, path, head, len(whole)/150)
	for bit := range 8 { // of the last newline
		flipWhole(t, dir, path, head, whole, len(whole)-1, bit)
	}
}

// flipLine flips each bit of a line and says where that is not found in it or
// the next.
func flipLine(name string, lines [][]byte, i int) string {
	v, k, b := &verification{}, newLineChecker(), &lineBatch{}
	fresh := tallyFor(lines, i)
	two := bytes.Join(lines[i:min(i+2, len(lines))], nil)
	for at := range lines[i] {
		for bit := range 8 {
			if i == len(lines)-1 && at == len(lines[i])-1 {
				continue // the last newline: see flipWhole
			}
			two[at] ^= 1 << bit
			r := fresh(name)
			b.text, b.runs = two, b.runs[:0]
			k.checkAll(b)
			v.take(r, b)
			two[at] ^= 1 << bit
			if len(r.findings) == 0 || r.findings[0].Line < int64(i)+1 || r.findings[0].Line > int64(i)+2 {
				return fmt.Sprintf("line %d, byte %d, bit %d: %+v", i+1, at, bit, r.findings)
			}
		}
	}
	return ""
}

// tallyFor gives the state of a verification before line i, as often as wanted.
func tallyFor(lines [][]byte, i int) func(name string) *segmentResult {
	if i == 0 {
		return func(name string) *segmentResult {
			return &segmentResult{in: verifyInput{name: name}, file: name + suffixPlain}
		}
	}
	before, err := parseLine(lines[i-1][:len(lines[i-1])-1])
	if err != nil {
		panic(err)
	}
	spare := newTally("", before.id+1)
	return func(name string) *segmentResult {
		spare.ids = spare.ids[:0]
		return &segmentResult{in: verifyInput{name: name}, file: name + suffixPlain, lines: int64(i), linked: true,
			last: before.id, hash: bytes.Clone(before.hash), lastTime: before.time, tally: spare}
	}
}

// flipSample flips every step-th byte and verifies the whole.
func flipSample(t *testing.T, dir, path string, head Head, step int) {
	t.Helper()
	whole := allBytes(t, path)
	for at := 0; at < len(whole); at += max(1, step) {
		flipWhole(t, dir, path, head, whole, at, at/max(1, step)%8)
	}
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
}

func flipWhole(t *testing.T, dir, path string, head Head, whole []byte, at, bit int) {
	t.Helper()
	damaged := bytes.Clone(whole)
	damaged[at] ^= 1 << bit
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{Heads: []Head{head}})
	if err != nil {
		t.Fatalf("byte %d, bit %d: %v", at, bit, err)
	}
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.File == filepath.Base(path) && f.Line > 0 }) {
		t.Errorf("byte %d of %d, bit %d: not placed: %+v", at, len(whole), bit, r.Findings)
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEveryFlippedBitOfASealedSegmentIsPlaced is exhaustive by members: a flip
// in one makes it no sound member, which verification reports with its place
// (sampled). What a member's checksum does not cover, its last 8 bytes, all go
// through the whole verification.
func TestEveryFlippedBitOfASealedSegmentIsPlaced(t *testing.T) {
	dir, path, head := sealedOrActive(t, flipEvents(), true)
	whole := allBytes(t, path)
	for off := 0; off < len(whole); {
		n := memberHeader + int(binary.LittleEndian.Uint32(whole[off+len(memberMagic):])) + memberEnd
		member := bytes.Clone(whole[off : off+n])
		for at := range n - memberEnd {
			for bit := range 8 {
				member[at] ^= 1 << bit
				if checkMember(member) == nil {
					t.Fatalf("byte %d, bit %d: a sound member", off+at, bit)
				}
				member[at] ^= 1 << bit
			}
		}
		for at := off + n - memberEnd; at < off+n; at++ {
			for bit := range 8 {
				flipWhole(t, dir, path, head, whole, at, bit)
			}
		}
		off += n
	}
	flipSample(t, dir, path, head, len(whole)/150)
}

func TestEveryFlippedBitOfAManifestIsFound(t *testing.T) {
	dir, path, head := sealedOrActive(t, flipEvents(), true)
	path = strings.TrimSuffix(path, suffixSealed) + suffixManifest
	whole := allBytes(t, path)
	sealed, err := parseManifest(whole)
	if err != nil {
		t.Fatal(err)
	}
	for at := range whole {
		for bit := range 8 {
			whole[at] ^= 1 << bit
			m, err := parseManifest(whole)
			if err == nil {
				_, err = m.rawMap()
			}
			if err == nil && m.digest() == sealed.digest() {
				t.Errorf("byte %d, bit %d: as good as before", at, bit)
			}
			whole[at] ^= 1 << bit
		}
	}
	for at := 0; at < len(whole); at += 1 + len(whole)/100 {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1 << (at % 8)
		os.WriteFile(path, damaged, 0o600)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{Heads: []Head{head}})
		if err != nil || !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.File == filepath.Base(path) }) {
			t.Errorf("byte %d: not placed: %v %+v", at, err, r)
		}
	}
	os.WriteFile(path, whole, 0o600)
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
}
