package ledger

import (
	"bytes"
	"crypto/sha256"
	"slices"
)

// A lineRun is a line of a segment and those behind it that follow from it as
// nearly all do: each an event of a publisher, with its own hash, the hash of
// the one before, the next id, and a later time of the same hour. What these
// others are is not handed on, only what they come to.
type lineRun struct {
	checkedLine        // the first; others follow only an event
	rest        []byte // the text of the others
	n           int64  // of them
	last        ID
	time        micros                // of the last
	hash        []byte                // of the last
	sums        [indexedFields]uint64 // of the others, for the index
	leaves      int                   // of the batch, before the others' own
}

// A leaf is an event in the Merkle tree of its category.
type leaf struct {
	hash [sha256.Size]byte
	time micros
	cell int // of the batch's
}

// maxCells is how many categories the lines that follow in a batch can have.
const maxCells = 32

// checkAll takes the lines of a batch apart and holds each against its own hash.
func (k *lineChecker) checkAll(b *lineBatch) {
	var run *lineRun
	for rest := b.text; len(rest) > 0; {
		var lines []hashedLine
		lines, rest = k.hash(rest)
		for i := range lines {
			if run == nil || !k.follows(run, b, &lines[i]) {
				run = k.begin(b, &lines[i])
			}
		}
	}
}

// A hashedLine is a line that was taken apart and hashed.
type hashedLine struct {
	text     []byte // with its newline
	at       places
	ok       bool   // it has these places, and sum is that of its preimage
	preimage []byte // padded
	sum      [sha256.Size]byte
	leaf     [sha256.Size]byte // for sum, where leaves are wanted
}

// hash takes the next two lines, or the last.
func (k *lineChecker) hash(text []byte) (lines []hashedLine, rest []byte) {
	for len(lines) < len(k.pair) && len(text) > 0 {
		lines = k.pair[:len(lines)+1]
		h := &lines[len(lines)-1]
		n := bytes.IndexByte(text, '\n') + 1
		h.text, text = text[:n], text[n:]
		if raw := h.text[:n-1]; k.sealed && h.at.findHashed(raw) || h.at.find(raw) {
			h.ok, h.preimage = true, padded(h.at.preimage(raw, h.preimage))
		} else {
			h.ok = false
		}
	}
	k.pair[0].sum, k.pair[1].sum = k.hasher.sums(k.pair[0].preimage, k.pair[1].preimage)
	if k.sealed {
		k.pair[0].leaf, k.pair[1].leaf = k.hasher.leaves(&k.pair[0].sum, &k.pair[1].sum)
	}
	return lines, text
}

// begin begins a run with a line.
func (k *lineChecker) begin(b *lineBatch, h *hashedLine) *lineRun {
	b.runs = slices.Grow(b.runs, 1)[:len(b.runs)+1]
	run, n := &b.runs[len(b.runs)-1], len(h.text)
	if run.sound = false; h.ok {
		run.text, run.sum = h.text, h.sum
		run.err = k.parser.take(&h.at, h.text[:n-1], &run.line)
		run.sound = run.err == nil && isHex(run.line.hash, &run.sum)
	}
	if !run.sound {
		k.check(&run.checkedLine, h.text) // a gap, or damaged
	}
	run.rest, run.n, run.leaves, run.sums = h.text[n:n], 0, len(b.leaves), [indexedFields]uint64{}
	run.last, run.time, run.hash = run.line.id, run.line.time, run.line.hash
	return run
}

// follows adds the next line to a run; false: it does not follow.
func (k *lineChecker) follows(run *lineRun, b *lineBatch, h *hashedLine) bool {
	raw, l := h.text[:len(h.text)-1], &k.line
	if run.err != nil || run.line.gap != nil || !h.ok {
		return false
	}
	l.take(&h.at, raw)
	id, err := parseID(l.idText)
	if err != nil || id != run.last+1 || k.heads[id] != nil || !bytes.Equal(l.prev, run.hash) || l.own() {
		return false
	}
	time, err := k.parser.micros(l.timeText)
	if err != nil || time < run.time || int64(time)/microsPerHour != int64(run.time)/microsPerHour {
		return false
	}
	if !isHex(l.hash, &h.sum) || k.sealed && !b.leaf(l.category, time, &h.leaf) {
		return false
	}
	if k.index != nil {
		k.index.add(&run.sums, l, id)
	}
	run.rest, run.n, run.last, run.time, run.hash = run.rest[:len(run.rest)+len(h.text)], run.n+1, id, time, l.hash
	return true
}

// leaf adds an event's leaf; false: there are too many categories.
func (b *lineBatch) leaf(category []byte, time micros, hash *[sha256.Size]byte) bool {
	cell := slices.IndexFunc(b.cells, func(c []byte) bool { return bytes.Equal(c, category) })
	if cell < 0 {
		if cell = len(b.cells); cell == maxCells {
			return false
		}
		b.cells = append(b.cells, category)
	}
	b.leaves = append(b.leaves, leaf{*hash, time, cell})
	return true
}

// take takes the lines of a batch that were checked.
func (v *verification) take(r *segmentResult, b *lineBatch) {
	one := func(c *checkedLine) {
		v.line(r, c)
		for ; r.told < len(b.odd) && b.odd[r.told].line <= r.lines; r.told++ {
			r.foundOdd(b.odd[r.told])
		}
	}
	var k lineChecker
	for i := range b.runs {
		run := &b.runs[i]
		one(&run.checkedLine)
		if run.n == 0 || r.told == len(b.odd) && r.follow(run, b) {
			continue
		}
		var c checkedLine
		for rest := run.rest; len(rest) > 0; rest = rest[len(c.text):] {
			k.check(&c, rest[:bytes.IndexByte(rest, '\n')+1])
			one(&c)
		}
	}
}

// follow takes the lines that follow a run's first, all at once; false: they
// have to be taken one by one.
func (r *segmentResult) follow(run *lineRun, b *lineBatch) bool {
	if !r.index.within(len(run.rest)) || r.counts && (r.tally.next() != run.line.id+1 || run.last-r.tally.first >= maxIDs) {
		return false
	}
	r.index.follow(run)
	if r.counts {
		r.tally.follow(run, b)
	}
	r.lines, r.events = r.lines+run.n, r.events+run.n
	r.last, r.lastTime, r.hash = run.last, run.time, append(r.hash[:0], run.hash...)
	return true
}

// follow is add for the lines that follow a run's first.
func (t *tally) follow(run *lineRun, b *lineBatch) {
	var cells [maxCells]*cellTally
	for i := range run.n {
		l := &b.leaves[run.leaves+int(i)]
		c := cells[l.cell]
		if c == nil {
			c = t.cell(b.cells[l.cell], l.time)
			cells[l.cell] = c
		}
		c.leaves, c.count, c.last = append(c.leaves, l.hash), c.count+1, l.time
		t.ids = append(t.ids, c.index)
	}
	for _, c := range cells[:len(b.cells)] {
		if c != nil {
			c.tree.add(t.hasher, c.leaves)
			c.leaves = c.leaves[:0]
		}
	}
	t.last, t.lastTime, t.bytes = run.last, run.time, t.bytes+int64(len(run.rest))
	copy(t.lastHash[:], run.hash)
}
