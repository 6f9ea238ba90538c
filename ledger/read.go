package ledger

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"
)

// Get gives the stored line of an event, without its newline. Errors are
// ErrNotFound, ErrAgedOut and ErrDamaged, or what kept the segment from being
// read.
func (l *Ledger) Get(id ID) ([]byte, error) {
	for {
		v := l.view.Load()
		s := v.segment(id)
		if s == nil {
			return nil, ErrNotFound
		}
		if raw := v.fresh(id); raw != nil {
			return raw, nil
		}
		src, err := l.open(s)
		if err != nil {
			return nil, err
		}
		raw, err := l.get(src, id)
		src.release()
		if errors.Is(err, errMoved) {
			l.doubt(src, err)
			continue
		}
		if err == nil && len(v.gone[s.first]) > 0 {
			if ln, err := parseLine(raw); err == nil && v.gone[s.first][string(ln.category)] {
				return nil, ErrAgedOut // decided, not rewritten yet
			}
		}
		return raw, err
	}
}

// fresh gives a line that is still in memory, or nil.
func (v *view) fresh(id ID) []byte {
	if len(v.tail) == 0 {
		return nil
	}
	lines := v.active.lines.Load()
	i, ok := slices.BinarySearch(lines.ids, id)
	if !ok {
		return nil
	}
	end := v.active.size
	if i+1 < len(lines.offsets) {
		end = lines.offsets[i+1]
	}
	for _, p := range slices.Backward(v.tail) { // most ask for what is new
		if start := lines.offsets[i] - p.at; start >= 0 && end-p.at <= int64(len(p.lines)) {
			return p.lines[start : end-p.at-1 : end-p.at-1]
		}
	}
	return nil
}

// get reads one line, which is kept for the next who asks.
func (l *Ledger) get(src *source, id ID) ([]byte, error) {
	if raw, ok := l.cache.line(src, id); ok {
		return raw, nil
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	b := src.find(id)
	if b < 0 {
		return nil, src.absent(0, id, buf)
	}
	_, ordered := src.hours()
	var raw []byte
	found := ErrNotFound
	err := src.each(src.block(b), buf, func(line []byte) bool {
		at, ok := idOf(line)
		if ok && at >= id {
			raw, found = asEvent(line, id)
		}
		return errors.Is(found, ErrNotFound) && !(ordered && ok && at >= id)
	})
	switch {
	case err != nil && errors.Is(found, ErrNotFound):
		return nil, err // it may be in what could not be read
	case errors.Is(found, ErrNotFound):
		return nil, src.absent(b, id, buf)
	case found != nil:
		return nil, found
	case !buf.readable(raw):
		return nil, fmt.Errorf("%w: event %s", ErrDamaged, id)
	}
	raw = bytes.Clone(raw)
	l.cache.keep(src, id, raw)
	return raw, nil
}

// absent says why an id has no line: it is of a hole, which the first line behind
// it says, or its line is gone. from is the first block that may have that line.
func (src *source) absent(from int, id ID, buf *buffer) error {
	gone := fmt.Errorf("%w: event %s has no line", ErrDamaged, id)
	for b := from; b < src.blocks(); b++ {
		behind := false
		err := src.each(src.block(b), buf, func(raw []byte) bool {
			at, ok := idOf(raw)
			if behind = ok && at > id; behind {
				if ln, err := parseLine(raw); err == nil && ln.holeFirst() <= id {
					gone = ErrNotFound
				}
			}
			return !behind
		})
		if behind || err != nil {
			return cmp.Or(err, gone)
		}
	}
	return gone
}

// segment finds the segment that accounts for an id, or nil.
func (v *view) segment(id ID) *segment {
	if id == 0 || id > v.head.ID {
		return nil
	}
	if v.active != nil && id >= v.active.first {
		return v.active
	}
	i := sort.Search(len(v.segs), func(i int) bool { return v.segs[i].last >= id })
	if i == len(v.segs) {
		return nil
	}
	return v.segs[i]
}

// idOf is the id of a line, at its fixed place; of a gap its last. false: the
// line is neither.
func idOf(raw []byte) (ID, bool) {
	const name = `{"id":"`
	if len(raw) > len(name)+12 && string(raw[:len(name)]) == name {
		id, err := parseID(raw[len(name) : len(name)+12])
		return id, err == nil
	}
	gap, err := parseGapOf(raw)
	return gap.id, err == nil
}

// asEvent gives a line when it is the event with the id. The id is at a fixed
// place of its line.
func asEvent(raw []byte, id ID) ([]byte, error) {
	if bytes.HasPrefix(raw, append(id.append([]byte(`{"id":"`)), '"')) {
		return raw, nil
	}
	if ln, err := parseGapOf(raw); err == nil && ln.gap.first <= id && id <= ln.gap.last {
		return nil, ErrAgedOut
	}
	return nil, ErrNotFound
}

func parseGapOf(raw []byte) (line, error) {
	if !bytes.HasPrefix(raw, []byte(`{"aged_out"`)) {
		return line{}, errLine
	}
	return parseGap(raw)
}

// ActiveFirst is the first id of the active segment, or the next id when there
// is none: what is below needs the stream no more.
func (l *Ledger) ActiveFirst() ID {
	v := l.view.Load()
	if v.active == nil {
		return v.head.ID + 1
	}
	return v.active.first
}

// Config is the configuration in force at the head.
func (l *Ledger) Config() Config { return l.view.Load().config }

// A Status is what the ledger knows without reading a line.
type Status struct {
	TotalEvents    int64 // readable
	AgedOutEvents  int64
	MissingIDs     int64 // that the stream lacked
	First, Last    time.Time
	Head           Head
	FileCount      int   // segment files
	TotalSizeBytes int64 // of segments and manifests on disk
	Categories     map[string]int64
	AgedOut        map[string]int64 // by category
}

// firstLeft is the time of the first event that did not age out; zero if none.
func (s *segment) firstLeft(gone map[string]bool) (first time.Time) {
	if len(gone) == 0 {
		return s.firstTime.time()
	}
	for _, c := range s.manifest.Categories {
		if at, _, err := c.times(); err == nil && !gone[c.Category] && (first.IsZero() || at.time().Before(first)) {
			first = at.time()
		}
	}
	return first
}

// Status is the state after the last commit.
func (l *Ledger) Status() Status {
	v := l.view.Load()
	s := Status{TotalEvents: v.events, AgedOutEvents: v.aged, MissingIDs: v.missing, Head: v.head,
		Last: v.head.Timestamp, Categories: v.counts, AgedOut: v.agedBy}
	for _, seg := range v.all() {
		if s.First.IsZero() {
			s.First = seg.firstLeft(v.gone[seg.first])
		}
		s.FileCount++
		if seg.sealed.Load() {
			s.TotalSizeBytes += seg.disk.Load()
		} else {
			s.TotalSizeBytes += seg.size
		}
	}
	return s
}
