package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// A Comparison compares messages with the ledger's events. It keeps the block
// that it read last, so that a stream is compared in its order at little cost.
type Comparison struct {
	l     *Ledger
	block []byte
	lines []checkedLine // of the block, taken apart
	at    int           // the line that get found last
	from  ID            // the block holds from..to
	to    ID

	quick   plain
	scratch []byte
}

// Compare begins a comparison.
func (l *Ledger) Compare() *Comparison { return &Comparison{l: l} }

// Matches projects a message again (ErrDamaged when the stored event cannot be
// compared: verification says more) and compares it with the stored event that
// has its sequence as id. Events that aged out match: nothing is left to compare.
func (c *Comparison) Matches(m Message) (bool, error) {
	stored, err := c.get(ID(m.Seq))
	if errors.Is(err, ErrAgedOut) {
		return true, nil
	}
	if errors.Is(err, ErrNotFound) && c.hole(ID(m.Seq)) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !c.whole(stored) {
		return false, fmt.Errorf("%w: event %s", ErrDamaged, ID(m.Seq))
	}
	return c.same(m, &stored.line), nil
}

// find finds the last line that begins at or before an id; -1 when none does.
// Streams are compared in order: it is the line found last or the next one.
func (c *Comparison) find(id ID) int {
	found := -1
	for i := max(c.at, 0); i < len(c.lines); i++ {
		if c.lines[i].err != nil {
			continue
		}
		first := c.lines[i].line.first()
		if first > id {
			break
		}
		if found = i; first == id {
			break
		}
	}
	if found < 0 && c.at > 0 {
		c.at = 0
		return c.find(id)
	}
	return found
}

// hole tells whether an id without a line is one of an events_missing event,
// and not that of a line that cannot be read: the first line behind it says so.
func (c *Comparison) hole(id ID) bool {
	for i := range c.lines {
		if l := &c.lines[i].line; c.lines[i].err == nil && l.first() > id {
			return string(l.category) == CategoryLedger && string(l.action) == `"events_missing"`
		}
	}
	return false
}

// whole tells whether a stored line is sound and the line behind it, when the
// block has one, links to it: else it was altered where it lies, and says
// nothing about the stream.
func (c *Comparison) whole(stored *checkedLine) (sound bool) {
	if sound, c.scratch = stored.line.sound(c.scratch); !sound {
		return false
	}
	if c.at+1 == len(c.lines) {
		return true
	}
	next := &c.lines[c.at+1]
	return next.err != nil || bytes.Equal(next.line.prev, stored.line.hash)
}

// get is Ledger.Get with the block kept.
func (c *Comparison) get(id ID) (*checkedLine, error) {
	if id < c.from || id > c.to {
		if err := c.load(id); err != nil {
			return nil, err
		}
	}
	i := c.find(id)
	if i < 0 {
		return nil, ErrNotFound
	}
	c.at = i
	_, err := asEvent(c.lines[i].text, id)
	return &c.lines[i], err
}

func (c *Comparison) load(id ID) error {
	c.from, c.to = 1, 0
	s := c.l.view.Load().segment(id)
	if s == nil {
		return ErrNotFound
	}
	src, err := c.l.open(s)
	if err != nil {
		return err
	}
	defer src.release()
	b := src.find(id)
	if b < 0 {
		return ErrNotFound
	}
	c.block, err = src.read(src.block(b), c.block)
	if errors.Is(err, errMoved) {
		c.l.doubt(src, err)
		return c.load(id)
	}
	if err != nil {
		return err
	}
	c.lines, c.at = c.lines[:0], 0
	var parser lineParser
	eachOf(c.block, 0, func(raw []byte) bool {
		c.lines = append(c.lines, checkedLine{text: raw})
		last := &c.lines[len(c.lines)-1]
		last.err = parser.parse(raw, &last.line)
		return true
	})
	c.from, c.to = src.block(b).first, s.last
	if b+1 < src.blocks() {
		c.to = src.block(b+1).first - 1
	}
	return nil
}

// same tells whether a message projects to a stored line.
func (c *Comparison) same(m Message, stored *line) bool {
	if stored.time < microsOf(m.Time) {
		return false // an event can be later than its message (clamped), never earlier
	}
	action, own := strings.CutPrefix(m.Subject, subjectOwn)
	if !own {
		c.l.mu.Lock()
		prefix, config := c.l.proj.prefix, c.l.proj.configAt(stored.id)
		c.l.mu.Unlock()
		c.quick.out = c.quick.out[:0]
		d, _ := deriveEvent(m, prefix, config, &c.quick)
		return d.is(stored)
	}
	if stored.own() {
		data, err := canonical(m.Data)
		name, _ := text(stored.action)
		return err == nil && name == action && bytes.Equal(data, stored.data)
	}
	payload := rejected(CategoryError, m.Subject, "", m.Data)
	return bytes.Equal(stored.target, payload.target) && string(stored.action) == `"event_rejected"` &&
		bytes.HasPrefix(stored.data, payload.data[:bytes.LastIndex(payload.data, []byte(`"reason":`))])
}
