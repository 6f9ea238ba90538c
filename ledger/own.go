package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// An OwnMessage is a signed message of the store, to be published on
// eventstore.ledger.<Action>.
type OwnMessage struct {
	Action string
	Data   []byte
}

// OwnMessages are those that the chain lacks: the configuration, where the one
// in force at start-up is not the wanted one, and the seals of sealed segments.
// They are asked for and published when the projection is at the stream's end.
// A replica without the private key has none.
func (l *Ledger) OwnMessages() []OwnMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys.signer == nil {
		return nil
	}
	var own []OwnMessage
	add := func(action string, statement []byte) {
		data, err := l.keys.sign(action, statement)
		if err != nil {
			l.log.Error("signing failed", "action", action, "err", err)
			return
		}
		own = append(own, OwnMessage{action, data})
	}
	if replaces, due := l.configurationDue(); due {
		add(actionConf, l.opts.Config.statement(replaces))
	}
	for _, s := range l.proj.unvouched() {
		if s.sealID == 0 && s.sealed.Load() {
			add(actionSeal, s.statement())
		}
	}
	return own
}

// unvouched are the ended segments from the first on that has no seal: this is
// asked each second, of years of segments.
func (p *projection) unvouched() []*segment {
	for p.vouched < len(p.segs) && p.segs[p.vouched].sealID != 0 {
		p.vouched++
	}
	return p.segs[p.vouched:]
}

// Signs tells whether the ledger has its private key; without it, it follows.
func (l *Ledger) Signs() bool { return l.keys.signer != nil }

// configurationDue tells whether the wanted configuration is to be chained, and
// which one it replaces. That is asked until the first configuration that is
// chained after start-up, whosever it is: stores with different wishes on one
// stream would else replace each other's for ever.
func (l *Ledger) configurationDue() (replaces ID, due bool) {
	last := l.proj.configs[len(l.proj.configs)-1]
	if l.offered == nil {
		id := last.id()
		l.offered = &id
	}
	return last.id(), *l.offered == last.id() && !last.config.equal(l.opts.Config)
}

// Configured tells whether the configuration in force is the wanted one and
// committed, or will not become it: a replica without the private key takes
// what is chained, and so does a store whose wish came too late.
func (l *Ledger) Configured() bool {
	l.mu.Lock()
	last := l.proj.configs[len(l.proj.configs)-1]
	done := l.keys.signer == nil || last.config.equal(l.opts.Config) || l.offered != nil && *l.offered != last.id()
	id := l.proj.id
	l.mu.Unlock()
	return done && l.Head().ID >= id
}

// A Comparison compares messages with the ledger's events. It keeps the block
// that it read last, so that a stream is compared in its order at little cost.
type Comparison struct {
	l      *Ledger
	lines  []byte
	starts []int
	at     int // the line that get found last
	from   ID  // the block holds from..to
	to     ID
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
	return c.l.same(m, stored), nil
}

// find finds the last line that begins at or before an id; -1 when none does.
// Streams are compared in order: it is the line found last or the next one.
func (c *Comparison) find(id ID) int {
	found := -1
	for i := max(c.at, 0); i < len(c.starts)-1; i++ {
		first, err := firstID(c.lines[c.starts[i]:])
		if err == nil && first > id {
			break
		}
		if err == nil {
			if found = i; first == id {
				break
			}
		}
	}
	if found < 0 && c.at > 0 {
		c.at = 0
		return c.find(id)
	}
	return found
}

// hole tells whether an id without a line is one of an events_missing event,
// and not that of a line that cannot be read.
func (c *Comparison) hole(id ID) bool {
	i := c.behind(id)
	if i < 0 {
		return false
	}
	next, err := parseLine(c.lines[c.starts[i] : c.starts[i+1]-1])
	return err == nil && string(next.category) == CategoryLedger && string(next.action) == `"events_missing"`
}

// behind finds the first line of the block behind an id; -1 when there is none.
func (c *Comparison) behind(id ID) int {
	for i := range len(c.starts) - 1 {
		if first, err := firstID(c.lines[c.starts[i]:]); err == nil && first > id {
			return i
		}
	}
	return -1
}

// whole tells whether a stored line is sound and the line behind it, when the
// block has one, links to it: else it was altered where it lies, and says
// nothing about the stream.
func (c *Comparison) whole(stored []byte) bool {
	ln, err := parseLine(stored)
	if err != nil {
		return false
	}
	if ok, _ := ln.sound(nil); !ok {
		return false
	}
	i := c.at + 1 // the line behind the one that get found
	if i >= len(c.starts)-1 {
		return true
	}
	next, err := parseLine(c.lines[c.starts[i] : c.starts[i+1]-1])
	return err != nil || bytes.Equal(next.prev, ln.hash)
}

// get is Ledger.Get with the block kept.
func (c *Comparison) get(id ID) ([]byte, error) {
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
	return asEvent(c.lines[c.starts[i]:c.starts[i+1]-1], id)
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
	c.lines, err = src.read(src.block(b), c.lines)
	if errors.Is(err, errMoved) {
		c.l.doubt(src, err)
		return c.load(id)
	}
	if err != nil {
		return err
	}
	c.starts, c.at = lineStarts(c.lines, c.starts[:0]), 0
	c.from, c.to = src.block(b).first, s.last
	if b+1 < src.blocks() {
		c.to = src.block(b+1).first - 1
	}
	return nil
}

// lineStarts finds where the lines of a block start, and the end of the last.
func lineStarts(lines []byte, starts []int) []int {
	starts = append(starts, 0)
	eachOf(lines, 0, func(raw []byte) bool {
		starts = append(starts, starts[len(starts)-1]+len(raw)+1)
		return true
	})
	return starts
}

// same tells whether a message projects to a stored line.
func (l *Ledger) same(m Message, stored []byte) bool {
	ln, err := parseLine(stored)
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if ln.time < microsOf(m.Time) {
		return false // an event can be later than its message (clamped), never earlier
	}
	action, own := strings.CutPrefix(m.Subject, subjectOwn)
	if !own {
		d, _ := l.proj.deriveEvent(m, l.proj.configAt(ln.id))
		return d.Same(stored)
	}
	if ln.own() {
		data, err := canonical(m.Data)
		name, _ := text(ln.action)
		return err == nil && name == action && bytes.Equal(data, ln.data)
	}
	payload := rejected(CategoryError, m.Subject, "", m.Data)
	return bytes.Equal(ln.target, payload.target) && string(ln.action) == `"event_rejected"` &&
		bytes.HasPrefix(ln.data, payload.data[:bytes.LastIndex(payload.data, []byte(`"reason":`))])
}
