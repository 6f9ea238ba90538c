package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"sort"

	"github.com/RoaringBitmap/roaring/v2"
)

// A lookup asks an index, in its file or growing. Bitmaps must not be changed.
type lookup struct {
	find   func(field int, value string) (*roaring.Bitmap, error) // nil: no event has the value
	values func(field int) ([]string, error)
}

// ask calls f with the source's index, for the call only.
func (src *source) ask(c *cache, f func(lookup) error) error {
	if g := src.growing; g != nil {
		return g.ask(f)
	}
	r := indexReader{index: src.x, kept: c.bitmaps}
	defer r.close()
	return f(lookup{r.find, r.values})
}

// hours are the marks of the source's index; false when it has none that can
// be asked: then the lines have to be read.
func (src *source) hours() ([]hourMark, bool) {
	switch {
	case src.growing != nil:
		return src.growing.marks()
	case src.x != nil && !src.x.unclear:
		return src.x.hours, true
	}
	return nil, false
}

// ask is lookup in memory.
func (g *growing) ask(f func(lookup) error) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return f(lookup{
		find: func(field int, value string) (*roaring.Bitmap, error) { return g.values[field][value].bitmap(), nil },
		values: func(field int) (names []string, _ error) {
			for v := range g.values[field] {
				names = append(names, v)
			}
			return names, nil
		},
	})
}

// marks gives the hours so far; false when the lines are not in order.
func (g *growing) marks() ([]hourMark, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.hours, !g.unclear
}

// An indexReader reads what an index's head leaves in the file. It opens the
// file when something has to be read.
type indexReader struct {
	*index
	kept *recent[bitmapKey, *roaring.Bitmap]
	f    *os.File

	ahead   []byte // of the file, read already; nil: nothing is read ahead
	aheadAt int64
}

// aheadBytes is how much of an index is read at once by who reads all of it.
const aheadBytes = 64 << 10

// A bitmapKey names a bitmap that was read.
type bitmapKey struct {
	x     *index
	field int
	value string
}

// An entry is a value of a dictionary and where its bitmap is.
type entry struct {
	value string
	off   int64
	n     int64 // 0: one position, which stands in only
	sum   uint32
	only  uint32
}

func (r *indexReader) close() {
	if r.f != nil {
		r.f.Close()
	}
}

// file opens the index's file, which must not be another one by now.
func (r *indexReader) file() (*os.File, error) {
	if r.f != nil {
		return r.f, nil
	}
	f, err := openFile(r.path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	if _, sum, err := readPreface(f); err != nil || sum != r.sum {
		f.Close()
		return nil, errMoved
	}
	r.f = f
	return f, nil
}

func (r *indexReader) find(field int, value string) (*roaring.Bitmap, error) {
	key := bitmapKey{r.index, field, value}
	if bm, ok := r.kept.get(key); ok {
		return bm, nil
	}
	bm, n, err := r.read(field, value)
	if err != nil {
		return nil, err
	}
	r.kept.add(key, bm, n+len(value)+200)
	return bm, nil
}

// read finds a value's bitmap in the file, and its length there.
func (r *indexReader) read(field int, value string) (*roaring.Bitmap, int, error) {
	blocks := r.dicts[field]
	i := sort.Search(len(blocks), func(i int) bool { return blocks[i].first > value }) - 1
	if i < 0 {
		return nil, 0, nil
	}
	entries, err := r.entries(blocks[i])
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		if e.value == value {
			bm, err := r.bitmap(e)
			return bm, int(e.n), err
		}
	}
	return nil, 0, nil
}

func (r *indexReader) values(field int) (names []string, err error) {
	for _, d := range r.dicts[field] {
		entries, err := r.entries(d)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			names = append(names, e.value)
		}
	}
	return names, nil
}

// entries reads a block of a dictionary.
func (r *indexReader) entries(d dictBlock) ([]entry, error) {
	b, err := r.part(d.off, d.n, d.sum)
	if err != nil {
		return nil, err
	}
	h := headReader{b: b}
	var entries []entry
	for off := d.off + d.n; len(h.b) > 0; {
		e := entry{value: h.str(), off: off, n: h.num()}
		if e.n == 0 {
			e.only = uint32(h.num())
		} else if len(h.b) >= 4 {
			e.sum, h.b = binary.LittleEndian.Uint32(h.b), h.b[4:]
		} else {
			h.bad = true
		}
		if h.bad {
			return nil, errIndex
		}
		entries = append(entries, e)
		off += e.n
	}
	if len(entries) == 0 || entries[0].value != d.first {
		return nil, errIndex
	}
	return entries, nil
}

func (r *indexReader) bitmap(e entry) (*roaring.Bitmap, error) {
	if e.n == 0 {
		return roaring.BitmapOf(e.only), nil
	}
	b, err := r.part(e.off, e.n, e.sum)
	if err != nil {
		return nil, err
	}
	bm := roaring.New()
	if n, err := bm.ReadFrom(bytes.NewReader(b)); err != nil || n != e.n {
		return nil, errIndex
	}
	var p positions
	if !p.each(bm, func([]uint32) {}) {
		return nil, errIndex
	}
	return bm, nil
}

// positions goes through bitmaps one after the other.
type positions struct {
	in   roaring.ManyIntIterator
	some [256]uint32
}

// each calls f with the positions of a bitmap, some at a time. It ends with
// false where they do not ascend, each there once: what a bitmap is that was
// read from damaged or forged bytes, nobody knows. (Validate compares each run
// with each other one, which takes the square of their number.)
func (p *positions) each(bm *roaring.Bitmap, f func([]uint32)) bool {
	next, n := uint64(0), uint64(0)
	for p.in.Initialize(bm); ; {
		got := p.in.NextMany(p.some[:])
		if got == 0 {
			return n == bm.GetCardinality()
		}
		n += uint64(got)
		for _, pos := range p.some[:got] {
			if uint64(pos) < next {
				return false
			}
			next = uint64(pos) + 1
		}
		f(p.some[:got])
	}
}

// part reads n bytes that have a checksum. From a reader that reads ahead they
// are valid until the next call.
func (r *indexReader) part(off, n int64, sum uint32) ([]byte, error) {
	f, err := r.file()
	if err != nil {
		return nil, err
	}
	if n < 0 || n > maxPart {
		return nil, errIndex
	}
	var b []byte
	if at := off - r.aheadAt; at >= 0 && n <= int64(len(r.ahead))-at {
		b = r.ahead[at : at+n : at+n]
	} else if r.ahead != nil {
		b, err = r.readAhead(f, off, n)
	} else {
		b = make([]byte, n)
		_, err = f.ReadAt(b, off)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errIndex, err)
	}
	if crc32.Checksum(b, castagnoli) != sum {
		return nil, errIndex
	}
	return b, nil
}

// readAhead reads n bytes and what follows them.
func (r *indexReader) readAhead(f *os.File, off, n int64) ([]byte, error) {
	r.ahead, r.aheadAt = grown(r.ahead, max(n, aheadBytes)), off
	got, err := f.ReadAt(r.ahead, off)
	if r.ahead = r.ahead[:got]; int64(got) < n {
		return nil, err
	}
	return r.ahead[:n:n], nil
}
