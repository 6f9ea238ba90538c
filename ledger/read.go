package ledger

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Get gives the stored line of an event, without its newline. Errors are
// ErrNotFound and ErrAgedOut, or what kept the segment from being read.
func (l *Ledger) Get(id ID) ([]byte, error) {
	v := l.view.Load()
	s := v.segment(id)
	if s == nil {
		return nil, ErrNotFound
	}
	src, err := s.open(l.dir)
	if err != nil {
		return nil, err
	}
	defer src.f.Close()
	b := src.block(id)
	if b < 0 {
		return nil, ErrNotFound
	}
	lines, err := src.read(src.blocks[b], nil)
	if err != nil {
		return nil, err
	}
	raw, err := findLine(lines, id)
	if err == nil && len(v.gone[s.first]) > 0 {
		if ln, err := parseLine(raw); err == nil && v.gone[s.first][string(ln.category)] {
			return nil, ErrAgedOut // decided, not rewritten yet
		}
	}
	return raw, err
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

// block finds the block that would hold an id; -1 when none can.
func (src *source) block(id ID) int {
	return sort.Search(len(src.blocks), func(i int) bool { return src.blocks[i].first > id }) - 1
}

// findLine finds an event in a block. The id is at a fixed place of its line.
func findLine(lines []byte, id ID) ([]byte, error) {
	want := append(id.append([]byte(`{"id":"`)), '"')
	for len(lines) > 0 {
		end := bytes.IndexByte(lines, '\n')
		if end < 0 {
			break
		}
		raw := lines[:end:end]
		if bytes.HasPrefix(raw, want) {
			return raw, nil
		}
		if ln, err := parseGapOf(raw); err == nil && ln.gap.first <= id && id <= ln.gap.last {
			return nil, ErrAgedOut
		}
		lines = lines[end+1:]
	}
	return nil, ErrNotFound
}

func parseGapOf(raw []byte) (line, error) {
	if !bytes.HasPrefix(raw, []byte(`{"aged_out"`)) {
		return line{}, errLine
	}
	return parseGap(raw)
}

// A Filter chooses events. Values of one field are alternatives, fields must
// all hold; Start and End are inclusive, Before and After are not.
type Filter struct {
	Categories, Actions, Actors, Targets, Results []string
	Start, End                                    time.Time // zero: open
	Text                                          string    // case-insensitive, in any field's value
	Before, After                                 ID        // 0: open
	Ascending                                     bool
	Limit                                         int // 0: none
}

// matcher is a filter made ready for comparison with raw lines.
type matcher struct {
	categories                        []string
	actions, actors, targets, results [][]byte
	start, end                        micros
	before, after                     ID
	text                              []byte
	gone                              map[string]bool // categories that aged out of the segment at hand
}

func (f Filter) matcher() matcher {
	m := matcher{categories: f.Categories, actions: quoteAll(f.Actions), actors: quoteAll(f.Actors),
		targets: quoteAll(f.Targets), results: quoteAll(f.Results), end: 1<<63 - 1, before: f.Before, after: f.After}
	if !f.Start.IsZero() {
		m.start = microsOf(f.Start)
		if m.start.time().Before(f.Start) {
			m.start++
		}
	}
	if !f.End.IsZero() {
		m.end = microsOf(f.End)
	}
	if m.before == 0 {
		m.before = MaxID + 1
	}
	if f.Text != "" {
		q := quote(nil, strings.ToValidUTF8(strings.ToLower(f.Text), "\uFFFD"))
		m.text = q[1 : len(q)-1]
	}
	return m
}

func quoteAll(values []string) [][]byte {
	var out [][]byte
	for _, v := range values {
		out = append(out, quote(nil, strings.ToValidUTF8(v, "\uFFFD")))
	}
	return out
}

// segment tells whether a segment can hold a match.
func (m *matcher) segment(s *segment) bool {
	if s.last <= m.after || s.first >= m.before || s.lastTime < m.start || s.firstTime > m.end {
		return false
	}
	return s.manifest == nil || len(m.categories) == 0 || slices.ContainsFunc(m.categories, s.manifest.has)
}

func (m *matcher) line(l *line) bool {
	return l.gap == nil && !m.gone[string(l.category)] && l.id > m.after && l.id < m.before && l.time >= m.start && l.time <= m.end &&
		(len(m.categories) == 0 || slices.Contains(m.categories, string(l.category))) &&
		oneOf(m.actions, l.action) && oneOf(m.actors, l.actor) && oneOf(m.targets, l.target) &&
		oneOf(m.results, l.result) && (m.text == nil || m.contains(l))
}

func oneOf(values [][]byte, v []byte) bool {
	if len(values) == 0 {
		return true
	}
	for _, w := range values {
		if bytes.Equal(v, w) {
			return true
		}
	}
	return false
}

// contains looks for the text in the values, not in the names around them.
func (m *matcher) contains(l *line) bool {
	for _, v := range [][]byte{l.action, l.actor, l.target, l.data, l.result, l.err, l.category, l.idText, l.timeText, l.hash} {
		if bytes.Contains(bytes.ToLower(v), m.text) {
			return true
		}
	}
	return false
}

// Query calls yield for every committed event that the filter chooses, newest
// first unless Ascending, with its stored line (without newline, valid during
// the call only). An error of yield ends the query.
func (l *Ledger) Query(ctx context.Context, f Filter, yield func(line []byte) error) error {
	v := l.view.Load()
	segs := v.all()
	m := f.matcher()
	left := f.Limit
	if left == 0 {
		left = -1
	}
	var buf []byte
	for i := range segs {
		s := segs[i]
		if !f.Ascending {
			s = segs[len(segs)-1-i]
		}
		if left == 0 {
			return nil
		}
		if !m.segment(s) {
			continue
		}
		m.gone = v.gone[s.first]
		var err error
		if buf, err = l.querySegment(ctx, s, &m, f.Ascending, &left, buf, yield); err != nil {
			return err
		}
	}
	return nil
}

func (l *Ledger) querySegment(ctx context.Context, s *segment, m *matcher, up bool, left *int, buf []byte, yield func([]byte) error) ([]byte, error) {
	src, err := s.open(l.dir)
	if err != nil {
		return buf, err
	}
	defer src.f.Close()
	var starts []int
	for i := range src.blocks {
		if !up {
			i = len(src.blocks) - 1 - i
		}
		b := src.blocks[i]
		if b.first >= m.before || i+1 < len(src.blocks) && src.blocks[i+1].first <= m.after+1 && m.after > 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return buf, err
		}
		if buf, err = src.read(b, buf); err != nil {
			return buf, fmt.Errorf("reading segment %s: %w", s.name, err)
		}
		starts = lineStarts(buf, starts[:0])
		for j := range len(starts) - 1 {
			if !up {
				j = len(starts) - 2 - j
			}
			raw := buf[starts[j] : starts[j+1]-1]
			ln, err := parseLine(raw)
			if err != nil || !m.line(&ln) {
				continue // a damaged line is verification's to report
			}
			if err := yield(raw); err != nil {
				return buf, err
			}
			if *left--; *left == 0 {
				return buf, nil
			}
		}
	}
	return buf, nil
}

// lineStarts finds where the lines of a block start, and the end of the last.
func lineStarts(lines []byte, starts []int) []int {
	starts = append(starts, 0)
	for at := 0; ; {
		n := bytes.IndexByte(lines[at:], '\n')
		if n < 0 {
			return starts
		}
		at += n + 1
		starts = append(starts, at)
	}
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
