package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"
)

// A source is a segment whose lines are to be read, plain or sealed. It stays
// readable when the segment is sealed meanwhile; when it is rewritten, reading
// gives errMoved.
type source struct {
	seg     *segment
	plain   *plainLines // nil: sealed
	size    int64       // of the plain lines
	growing *growing    // their index
	x       *index      // of a sealed one; nil: members were found by reading
	members []block
	path    string

	users atomic.Int32 // who will read; the last one closes
	mu    sync.Mutex
	f     *os.File // opened when something has to be read
}

// open begins reading a segment of a view.
func (l *Ledger) open(s *segment) (*source, error) {
	if lines := s.lines.Load(); lines != nil && !s.sealed.Load() {
		f, err := openFile(filepath.Join(l.dir, s.name+suffixPlain))
		if err == nil {
			src := &source{seg: s, plain: lines, growing: s.growing.Load(), size: s.size, f: f}
			src.users.Store(1)
			return src, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, lost(err)
		}
		if now := l.view.Load().segment(s.first); now != nil {
			s = now // sealed since that view
		}
	}
	src := &source{seg: s, x: s.index.Load(), path: filepath.Join(l.dir, s.name+suffixSealed)}
	src.users.Store(1)
	if src.x != nil {
		src.members = src.x.members
		return src, nil
	}
	return src, s.openWithoutIndex(src)
}

// openWithoutIndex opens the .gz together with the members that it has now.
func (s *segment) openWithoutIndex(src *source) (err error) {
	s.files.Lock()
	defer s.files.Unlock()
	if s.members == nil {
		s.members, err = scanMembers(src.path, s.most())
	}
	src.members = s.members
	if err == nil {
		src.f, err = openFile(src.path)
	}
	if err != nil {
		return fmt.Errorf("segment %s: %w", s.name, lost(err))
	}
	return nil
}

// lost makes damage of a file that is gone, or is none: what is in the others is
// not.
func lost(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoFile) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

func (src *source) use() { src.users.Add(1) }

func (src *source) release() {
	if src.users.Add(-1) == 0 && src.f != nil {
		src.f.Close()
	}
}

// file gives the segment's file, which must be the one that the index is of.
func (src *source) file() (*os.File, error) {
	src.mu.Lock()
	defer src.mu.Unlock()
	if src.f != nil {
		return src.f, nil
	}
	f, err := openFile(src.path)
	if err != nil {
		return nil, lost(err)
	}
	if info, err := f.Stat(); err != nil || info.Size() != src.x.size {
		f.Close()
		return nil, errors.Join(err, errMoved)
	}
	src.f = f
	return f, nil
}

// blocks is how many blocks the segment has.
func (src *source) blocks() int {
	if src.plain == nil {
		return len(src.members)
	}
	return (len(src.plain.ids) + blockLines - 1) / blockLines
}

func (src *source) block(i int) block {
	if src.plain == nil {
		return src.members[i]
	}
	p, from := src.plain, i*blockLines
	end := src.size
	if to := from + blockLines; to < len(p.ids) {
		end = p.offsets[to]
	}
	return block{first: p.ids[from], off: p.offsets[from], n: end - p.offsets[from], rawSize: end - p.offsets[from]}
}

// find finds the block that would hold an id; -1 when none can.
func (src *source) find(id ID) int {
	if src.plain == nil {
		return sort.Search(len(src.members), func(i int) bool { return src.members[i].first > id }) - 1
	}
	i := sort.Search(len(src.plain.ids), func(i int) bool { return src.plain.ids[i] > id }) - 1
	if i < 0 {
		return -1
	}
	return i / blockLines
}

// each calls f for the lines of a block until it returns false; no more is
// inflated than that takes. Lines stay as they are until buf is used again.
// What cannot be inflated is ErrDamaged.
func (src *source) each(b block, buf *buffer, f func(raw []byte) (more bool)) error {
	buf.summed = false
	file, err := src.file()
	if err != nil {
		return err
	}
	if src.plain != nil {
		if b.n > blockLines*memberSize { // there may be a line in it that is longer than any
			return src.eachPlain(b, buf, f)
		}
		buf.lines = grown(buf.lines, b.n)
		if err := readAt(file, buf.lines, b.off); err != nil {
			return err
		}
		eachOf(buf.lines, 0, f)
		return nil
	}
	most := src.seg.most()
	buf.zipped = grown(buf.zipped, min(b.n, most))
	if err := readAt(file, buf.zipped, b.off); err != nil {
		return err
	}
	return buf.inflate(b, most, f)
}

// eachPlain is each for the events of a plain segment, and nothing between them.
func (src *source) eachPlain(b block, buf *buffer, f func(raw []byte) (more bool)) error {
	at, _ := src.plain.find(b.first)
	lines, err := src.plainLinesOf(src.plain.ids[at:min(at+blockLines, len(src.plain.ids))], buf)
	text := buf.lines[:0] // each line goes to where it is or before
	for _, raw := range lines {
		text = append(append(text, raw...), '\n')
	}
	buf.lines = text
	eachOf(text, 0, f)
	return err
}

// read gives a block's lines. lines is reused where it is large enough.
func (src *source) read(b block, lines []byte) ([]byte, error) {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	own := buf.lines
	buf.lines = lines
	err := src.each(b, buf, func([]byte) bool { return true })
	lines, buf.lines = buf.lines, own
	return lines, err
}

// linesOf gives the lines of a block that have these ascending ids; errIndex
// when one is not there. They stay as they are until buf is used again.
func (src *source) linesOf(at int, ids []ID, buf *buffer) (found [][]byte, err error) {
	if src.plain != nil {
		return src.plainLinesOf(ids, buf)
	}
	if at < 0 {
		return nil, fmt.Errorf("%w: no block has event %s", errIndex, ids[0])
	}
	want := ids
	err = src.each(src.block(at), buf, func(raw []byte) bool {
		id, ok := idOf(raw)
		if !ok || id < want[0] {
			return true
		}
		if id == want[0] {
			found, want = append(found, raw), want[1:]
		}
		return len(want) > 0 && id < want[0]
	})
	if err == nil && len(want) > 0 {
		err = fmt.Errorf("%w: event %s is not where it should be", errIndex, want[0])
	}
	return found, err
}

// nearby is how far apart two lines of a plain segment may be to be read at once.
const nearby = 8 << 10

// A span is a part of a plain segment.
type span struct{ from, to int64 }

// plainLinesOf is linesOf for a plain segment, where each line's place is known.
func (src *source) plainLinesOf(ids []ID, buf *buffer) (found [][]byte, err error) {
	spans, size, err := src.spans(ids)
	if err != nil {
		return nil, err
	}
	buf.lines = grown(buf.lines, size)
	rest := buf.lines
	for _, s := range spans {
		part := rest[:s.to-s.from]
		rest = rest[len(part):]
		if err := readAt(src.f, part, s.from); err != nil {
			return nil, err
		}
		eachOf(part, 0, func(raw []byte) bool {
			if id, ok := idOf(raw); ok && len(found) < len(ids) && id == ids[len(found)] {
				found = append(found, raw)
			}
			return true
		})
	}
	if len(found) < len(ids) {
		return nil, fmt.Errorf("%w: event %s is not where it was", ErrDamaged, ids[len(found)])
	}
	return found, nil
}

// spans are the parts of a plain segment that hold the lines of ascending ids.
func (src *source) spans(ids []ID) (spans []span, size int64, err error) {
	for _, id := range ids {
		i, ok := src.plain.find(id)
		if !ok {
			return nil, 0, fmt.Errorf("%w: event %s has no line", errIndex, id)
		}
		from, to := src.plain.offsets[i], src.size
		if i+1 < len(src.plain.ids) {
			to = src.plain.offsets[i+1]
		}
		to = min(to, from+maxLine)
		if n := len(spans); n > 0 && from-spans[n-1].to < nearby {
			size += to - spans[n-1].to
			spans[n-1].to = to
			continue
		}
		spans = append(spans, span{from, to})
		size += to - from
	}
	return spans, size, nil
}

// find finds an id's line: where it would be if no id were missing, else by
// binary search.
func (p *plainLines) find(id ID) (int, bool) {
	if len(p.ids) == 0 || id < p.ids[0] {
		return 0, false
	}
	if i := id - p.ids[0]; i < ID(len(p.ids)) && p.ids[i] == id {
		return int(i), true
	}
	return slices.BinarySearch(p.ids, id)
}
