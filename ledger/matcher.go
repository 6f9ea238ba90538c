package ledger

import (
	"bytes"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

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

// A matcher is a filter made ready for comparison with raw lines.
type matcher struct {
	fields        [indexedFields][]string // alternatives, as raw values of lines; nil: any
	start, end    micros
	before, after ID
	text          []byte
	gone          map[string]bool // categories that aged out of the segment at hand
}

func (f Filter) matcher() matcher {
	m := matcher{end: 1<<63 - 1, before: f.Before, after: f.After}
	m.fields[fieldCategory] = f.Categories
	for i, values := range [][]string{f.Actions, f.Actors, f.Targets, f.Results} {
		m.fields[fieldAction+i] = quoteAll(values)
	}
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

func quoteAll(values []string) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(quote(nil, strings.ToValidUTF8(v, "\uFFFD"))))
	}
	return out
}

// segment tells whether a segment can hold a match.
func (m *matcher) segment(s *segment) bool {
	if s.last <= m.after || s.first >= m.before || s.lastTime < m.start || s.firstTime > m.end {
		return false
	}
	categories := m.fields[fieldCategory]
	return s.manifest == nil || len(categories) == 0 || slices.ContainsFunc(categories, s.manifest.has)
}

// selective tells whether any field is asked for.
func (m *matcher) selective() bool {
	return slices.ContainsFunc(m.fields[:], func(values []string) bool { return len(values) > 0 })
}

// line compares all but the text.
func (m *matcher) line(l *line) bool {
	if l.gap != nil || m.gone[string(l.category)] || l.id <= m.after || l.id >= m.before || l.time < m.start || l.time > m.end {
		return false
	}
	for i, v := range l.indexed() {
		if len(m.fields[i]) > 0 && !slices.ContainsFunc(m.fields[i], func(w string) bool { return w == string(v) }) {
			return false
		}
	}
	return true
}

// contains looks for the text in the values, not in the names around them.
// scratch is used and given back.
func (m *matcher) contains(l *line, scratch []byte) (bool, []byte) {
	for _, v := range [][]byte{l.action, l.actor, l.target, l.data, l.result, l.err, l.category, l.idText, l.timeText, l.hash} {
		scratch = appendLower(scratch[:0], v)
		if bytes.Contains(scratch, m.text) {
			return true, scratch
		}
	}
	return false, scratch
}

// appendLower appends the lower-case form of text.
func appendLower(b, text []byte) []byte {
	from := len(b)
	b = append(b, text...)
	for i, c := range b[from:] {
		if c >= utf8.RuneSelf {
			return append(b[:from], bytes.ToLower(text)...)
		}
		if 'A' <= c && c <= 'Z' {
			b[from+i] = c + 'a' - 'A'
		}
	}
	return b
}
