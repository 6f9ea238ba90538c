package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
)

// A segmentResult is what one segment's own lines show.
type segmentResult struct {
	in        verifyInput
	file      string
	zip       bool
	counts    bool      // its manifest is wanted: tally gathers it
	content   hash.Hash // of what is read; nil: not wanted
	lines     int64
	linked    bool // the first line is one, so prev, from and firstTime hold
	from      ID   // the first id that the segment accounts for
	first     ID   // of the first line
	prev      []byte
	firstTime micros
	last      ID
	hash      []byte // of the last line; nil when it is damaged
	lastTime  micros
	events    int64
	aged      int64
	gaps      []gapLine
	tally     *tally
	missing   []MissingRange
	seen      map[ID]string // hashes at the heads' ids
	own       []ownEvent
	manifest  *Manifest // as it is on disk
	index     *indexCheck
	vouched   bool // a chained seal is that of the manifest
	findings  []Finding
	odd       []Finding // of members, told after what is wrong with lines
	told      int       // odd members that are in it
	omitted   int64
}

// A gapLine is a gap and its line.
type gapLine struct {
	gap
	line int64
}

// An ownEvent is a chained event that the store itself sent.
type ownEvent struct {
	id       ID
	time     micros
	category string
	action   string
	data     []byte
	file     string
	line     int64
}

func (r *segmentResult) find(f Finding) {
	if len(r.findings) >= maxFindings {
		r.omitted++
		return
	}
	if f.File == "" {
		f.File = r.file
	}
	r.findings = append(r.findings, f)
}

// segment verifies one segment's lines and its manifest.
func (v *verification) segment(ctx context.Context, in verifyInput) (*segmentResult, error) {
	r := &segmentResult{in: in, file: in.name + suffixPlain}
	f, zip, err := in.open()
	if errors.Is(err, fs.ErrNotExist) {
		message := "segment " + in.name + " is gone"
		if _, err := os.Stat(filepath.Join(v.dir, in.name+suffixManifest)); err == nil {
			r.file, message = in.name+suffixManifest, message+", its manifest is there"
		}
		r.find(Finding{Kind: "segment_missing", Message: message})
		return r, nil
	}
	if errors.Is(err, errNoFile) {
		if zip {
			r.file = in.name + suffixSealed
		}
		r.find(Finding{Kind: "damaged_file", Message: err.Error()})
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if r.zip, r.counts = zip, zip; zip {
		info, err := f.Stat() // of the file that is open: it may be replaced
		if err != nil {
			return nil, err
		}
		r.file, r.index = in.name+suffixSealed, v.checkIndex(in.name, info.Size())
	}
	if !zip && in.limit < 0 {
		err = v.allLines(ctx, r, f)
	} else {
		err = v.readLines(ctx, r, f, in.limit)
	}
	if err != nil {
		return nil, err
	}
	if err := v.readManifest(r); err != nil {
		return nil, err
	}
	err = v.compareIndex(r)
	if r.index != nil { // the open index goes: one for each segment would be there at once
		r.index = &indexCheck{wrong: r.index.wrong, spent: r.index.spent}
	}
	return r, err
}

// foundOdd notes a member that begins with the line at hand or before it.
func (r *segmentResult) foundOdd(m oddMember) {
	r.odd = append(r.odd, Finding{Kind: "member_mismatch", ID: r.last.String(), File: r.file, Line: r.lines,
		Message: fmt.Sprintf("%s, line %d: packed otherwise than the store does, from byte %d on", r.file, r.lines, m.at)})
}

// expected is the id that the next line should have; "" when nothing tells.
func (r *segmentResult) expected() string {
	if r.last == 0 {
		return ""
	}
	return (r.last + 1).String()
}

// line takes one line, after it was checked against its own hash, and checks it
// against the line before it.
func (v *verification) line(r *segmentResult, c *checkedLine) {
	r.lines++
	l := &c.line
	r.index.take(l, c.err, len(c.text))
	if c.err != nil {
		r.find(Finding{Kind: "damaged_line", ID: r.expected(), Line: r.lines, Message: fmt.Sprintf("%s, line %d: %v", r.file, r.lines, c.err)})
		r.hash, r.last = nil, r.last+1
		return
	}
	if l.gap != nil {
		v.gap(r, l)
		return
	}
	if !c.sound {
		r.find(Finding{Kind: "hash_mismatch", ID: l.id.String(), Line: r.lines,
			Message: fmt.Sprintf("Chain broken at event %s: expected %s, got %s", l.id, hashText(l.preimage(nil)), l.hash)})
	}
	from := l.id
	if string(l.category) == CategoryLedger && string(l.action) == `"events_missing"` {
		from = v.hole(r, l)
	}
	r.link(l, from)
	if r.counts {
		r.count(c, from)
	}
	r.events++
	if l.own() {
		action, _ := text(l.action)
		r.own = append(r.own, ownEvent{l.id, l.time, string(l.category), action, bytes.Clone(l.data), r.file, r.lines})
	}
	v.see(r, l)
}

// see keeps the hash of a line that has a head's id.
func (v *verification) see(r *segmentResult, l *line) {
	if v.heads[l.id] == nil {
		return
	}
	if r.seen == nil {
		r.seen = map[ID]string{}
	}
	r.seen[l.id] = string(l.hash)
}

// maxIDs is how many ids a hole can have, and so a segment's category map: of
// more, a forged id would take the memory.
const maxIDs = 1 << 28

// count gathers what the manifest of a sealed segment has to say.
func (r *segmentResult) count(c *checkedLine, from ID) {
	if r.tally == nil {
		r.tally = newTally(r.in.name, from)
		r.tally.content = nil // see contents
	}
	if l := &c.line; l.id >= r.tally.next() && l.id-r.tally.first < maxIDs && c.sound {
		r.tally.add(l, c.text, l.hash, &c.sum)
	} else {
		r.tally.skip(c.text[:len(c.text)-1])
	}
}

// link checks a line's place behind the one before it. from is the first id
// that it accounts for.
func (r *segmentResult) link(l *line, from ID) {
	if r.lines == 1 {
		r.linked, r.from, r.first, r.prev, r.firstTime = true, from, l.id, bytes.Clone(l.prev), -1
		if want := "events_" + l.time.time().Format("20060102_150405"); l.gap == nil &&
			r.in.name != want && r.in.name != want+"_"+from.String() {
			r.find(Finding{Kind: "segment_name", ID: l.id.String(), Line: 1, Message: fmt.Sprintf("segment %s begins with an event of %s", r.in.name, l.timeText)})
		}
	} else {
		if r.hash != nil && !bytes.Equal(r.hash, l.prev) {
			r.find(Finding{Kind: "broken_link", ID: l.id.String(), Line: r.lines,
				Message: fmt.Sprintf("Chain broken at event %s: expected %s, got %s", l.id, r.hash, l.prev)})
		}
		if from != r.last+1 && r.last > 0 {
			r.find(Finding{Kind: "ids_not_contiguous", ID: l.id.String(), Line: r.lines,
				Message: fmt.Sprintf("Chain broken at event %s: expected id %s, got %s", l.id, r.last+1, from)})
		}
		if l.gap == nil && l.time < r.lastTime {
			r.find(Finding{Kind: "timestamp_falls", ID: l.id.String(), Line: r.lines,
				Message: fmt.Sprintf("event %s has an earlier timestamp than its predecessor", l.id)})
		}
	}
	r.last, r.hash = l.id, append(r.hash[:0], l.hash...)
	if l.gap == nil {
		if r.lastTime = l.time; r.firstTime < 0 {
			r.firstTime = l.time
		}
	}
}

// hole reads an events_missing event; it must name the ids up to its own.
func (v *verification) hole(r *segmentResult, l *line) (from ID) {
	var m MissingRange
	whole := eachMember(l.data, func(name, value []byte) {
		switch string(name) {
		case "first_id":
			m.FirstID, _ = text(value)
		case "last_id":
			m.LastID, _ = text(value)
		}
	})
	from, err := ParseID(m.FirstID)
	if err != nil || !whole || m.LastID != l.id.String() || from > l.id {
		r.find(Finding{Kind: "malformed_hole", ID: l.id.String(), Line: r.lines, Message: fmt.Sprintf("event %s does not name the ids it stands for", l.id)})
		return l.id
	}
	r.missing = append(r.missing, m)
	return from
}

// gap takes a run of aged-out events. Its two hashes are never evidence: see
// checkGaps.
func (v *verification) gap(r *segmentResult, l *line) {
	g := *l.gap
	r.link(l, g.first)
	if r.tally == nil {
		r.tally = newTally(r.in.name, g.first)
	}
	if n := len(r.gaps); n > 0 && r.gaps[n-1].line == r.lines-1 { // the hash between them would be nobody's
		r.find(Finding{Kind: "malformed_gap", ID: g.first.String(), Line: r.lines,
			Message: fmt.Sprintf("the gap %s to %s stands behind another: a run of aged-out events is one line", g.first, g.last)})
	}
	r.gaps = append(r.gaps, gapLine{g, r.lines})
	v.see(r, l)
	r.aged += g.count
	if g.first > g.last || g.count != int64(g.last-g.first)+1 {
		r.find(Finding{Kind: "malformed_gap", ID: g.first.String(), Line: r.lines,
			Message: fmt.Sprintf("the gap %s to %s does not stand for %d events", g.first, g.last, g.count)})
	}
}
