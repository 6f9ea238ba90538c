package ledger

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"
)

var fieldNames = [indexedFields]string{"category", "action", "actor", "target", "result"}

// An indexCheck compares a segment's index with its lines while these are
// verified. Of both it makes a sum per field over all pairs of value and
// position: of the products of what a hash gives for each, under a key drawn for
// this run, so that nobody can write an index whose sums only seem right.
type indexCheck struct {
	file  string
	x     *index
	size  int64 // of the .gz
	seed  maphash.Seed
	key   uint64                // for positions
	lines [indexedFields]uint64 // sums
	hours int                   // marks that were right so far
	last  hourMark
	off   int64 // in the uncompressed content
	next  int   // the member that begins next
	start int64 // where
	timed int   // members whose time was compared
	wrong []string
	spent bool // damaged or not of this file: to be made again
}

// checkIndex begins to compare a sealed segment's index, size being that of its
// .gz; nil when it has none.
func (v *verification) checkIndex(name string, size int64) *indexCheck {
	x, err := openIndex(indexPath(v.dir, name))
	c := &indexCheck{file: path.Join(indexFolder, name+indexSuffix), x: x, size: size, seed: maphash.MakeSeed(), key: rand.Uint64()}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		v.spent(c, "damaged")
	case x.unclear:
		return nil // it names no event
	}
	return c
}

// spent notes an index that cannot be used: no query does, and the store makes
// it again.
func (v *verification) spent(c *indexCheck, why string) {
	c.spent = true
	v.notChecked(c.file + ": " + why + ", so no query uses it")
}

func (v *verification) notChecked(what string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.NotChecked = append(v.report.NotChecked, what)
}

func (c *indexCheck) differs(format string, args ...any) {
	if len(c.wrong) < 3 {
		c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
	}
}

// take takes the next line, as parseLine gave it, and how long it is with its
// newline.
func (c *indexCheck) take(l *line, err error, size int) {
	if c == nil || c.spent {
		return
	}
	off := c.off
	c.off += int64(size)
	if err != nil {
		c.differs("a line is damaged")
		return
	}
	for ; c.next < len(c.x.members) && off >= c.start; c.next++ {
		if m := c.x.members[c.next]; off > c.start || m.first != l.first() {
			c.differs("no member begins with event %s", m.first)
		}
		c.start += c.x.members[c.next].rawSize
	}
	if l.gap == nil {
		c.event(l)
	}
}

func (c *indexCheck) event(l *line) {
	for ; c.timed < c.next; c.timed++ {
		if c.x.members[c.timed].at != l.time {
			c.differs("a member's first time is not that of event %s", l.id)
		}
	}
	pos := uint32(l.id - c.x.first)
	if mark := (hourMark{int64(l.time) / microsPerHour, pos}); c.hours == 0 || mark.hour != c.last.hour {
		if c.hours >= len(c.x.hours) || c.x.hours[c.hours] != mark {
			c.differs("the hour of event %s does not begin there", l.id)
		}
		c.hours, c.last = c.hours+1, mark
	}
	c.add(&c.lines, l, l.id)
}

// usable is c when there is something to compare.
func (c *indexCheck) usable() *indexCheck {
	if c == nil || c.spent {
		return nil
	}
	return c
}

// add adds an event to sums. Several goroutines may do so, each to its own.
func (c *indexCheck) add(sums *[indexedFields]uint64, l *line, id ID) {
	at := c.position(uint32(id - c.x.first))
	for f, value := range l.indexed() {
		sums[f] += maphash.Bytes(c.seed, value) * at
	}
}

// within tells whether no member begins in the next size bytes.
func (c *indexCheck) within(size int) bool {
	return c.usable() == nil || c.next == len(c.x.members) || c.off+int64(size) <= c.start
}

// follow takes the lines that follow a run's first, within a member.
func (c *indexCheck) follow(run *lineRun) {
	if c.usable() == nil {
		return
	}
	c.off += int64(len(run.rest))
	for f, sum := range run.sums {
		c.lines[f] += sum
	}
}

// position is a position's hash: the finalizer of SplitMix64 behind a key.
func (c *indexCheck) position(pos uint32) uint64 {
	x := c.key + uint64(pos)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// compareIndex compares what was gathered, once all lines were taken.
func (v *verification) compareIndex(r *segmentResult) error {
	c := r.index
	if c == nil || c.spent || r.manifest == nil || r.tally == nil || len(r.findings) > 0 {
		return nil // lines that are not right come first
	}
	if c.x.digest != r.manifest.digest() || c.x.first.String() != r.manifest.FirstID || c.x.size != c.size {
		v.spent(c, "not of this file")
		return nil
	}
	v.indexes.Add(1)
	if err := c.end(r); errors.Is(err, errIndex) || errors.Is(err, errMoved) {
		v.spent(c, "damaged")
	} else if err != nil {
		return err
	}
	if len(c.wrong) > 0 {
		r.find(Finding{Kind: "index_mismatch", ID: r.manifest.FirstID, File: c.file,
			Message: fmt.Sprintf("%s is not that of its lines: %s", c.file, strings.Join(c.wrong, ", "))})
	}
	return nil
}

// dropWrong drops the indexes that a verification found wrong; the sealer makes
// them again.
func (l *Ledger) dropWrong(v *verification, segs []*segment) {
	for _, r := range v.results {
		if r.index == nil || len(r.index.wrong) == 0 && !r.index.spent {
			continue
		}
		if i := slices.IndexFunc(segs, func(s *segment) bool { return s.name == r.in.name }); i >= 0 {
			segs[i].index.Store(nil)
			l.log.Warn("index dropped", "segment", segs[i].name, "err", "verification found it wrong")
			wake(l.sealing)
		}
	}
}

func (c *indexCheck) end(r *segmentResult) error {
	if c.next < len(c.x.members) || c.hours < len(c.x.hours) || c.start != c.off {
		c.differs("it tells of more or less than there is")
	}
	for ; c.timed < len(c.x.members); c.timed++ {
		if c.x.members[c.timed].at != noTime {
			c.differs("a member without events has a time")
		}
	}
	for _, name := range c.x.gone {
		if r.tally.cells[name] != nil {
			c.differs("the %s events are still there", name)
		}
	}
	in := indexReader{index: c.x, ahead: []byte{}}
	defer in.close()
	for f := range indexedFields {
		sum, err := c.sum(&in, f)
		if err != nil {
			return err
		}
		if sum != c.lines[f] {
			c.differs("not every %s is where the lines have it", fieldNames[f])
		}
	}
	return nil
}

// sum is what a field's dictionary in the index adds up to. A value twice could
// hide what its second bitmap has.
func (c *indexCheck) sum(in *indexReader, field int) (sum uint64, err error) {
	last, first := "", true
	var bm roaring.Bitmap
	var positions positions
	for _, d := range in.dicts[field] {
		entries, err := in.entries(d)
		if err != nil {
			return 0, err
		}
		for _, e := range entries {
			if !first && e.value <= last {
				c.differs("%s %s is not in its place", fieldNames[field], quoteShort(e.value))
			}
			last, first = e.value, false
			value := maphash.String(c.seed, e.value)
			if e.n == 0 {
				sum += value * c.position(e.only)
				continue
			}
			b, err := in.part(e.off, e.n, e.sum)
			if err != nil {
				return 0, err
			}
			if n, err := bm.FromBuffer(b); err != nil || n != e.n { // b holds until bm was read
				return 0, errIndex
			}
			ascend := positions.each(&bm, func(some []uint32) {
				for _, pos := range some {
					sum += value * c.position(pos)
				}
			})
			if !ascend {
				return 0, errIndex
			}
		}
	}
	return sum, nil
}
