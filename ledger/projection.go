package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

const subjectOwn = "eventstore.ledger."

// A projection is the state that the stream's messages up to id lead to. It is
// a function of them and of nothing else: no clock, no setting of this machine.
type projection struct {
	keys   keyring
	prefix string
	log    *slog.Logger

	id      ID
	hash    [64]byte
	time    micros
	configs []configSince // policy history; the last is in force
	known   micros        // since when it is whole
	unsound error         // the tail, or what the next message needs, is damaged: nothing may be chained
	unread  []unread      // what could not be read when the folder was loaded
	passed  passedOver    // while loading: what is behind id and cannot be read

	segs    []*segment             // ended, in order
	vouched int                    // of segs, from the start: their seals are chained
	strange map[string]chainedSeal // by segment: seals found on disk that what is there does not have
	names   map[string]bool
	tally   *tally     // of the active segment; nil before its first event
	lines   plainLines // of the active segment
	growing *growing   // its index

	counts  map[string]int64
	events  int64
	missing int64
	aged    int64
	agedBy  map[string]int64       // aged, by category
	gone    map[ID]map[string]bool // decided cells, by their segment's first id; replaced, never written

	parts   []part // projected, not taken by the committer yet
	news    []news // of what is in parts
	pending int    // bytes in parts
	spare   []byte // a buffer that the committer gave back
	scratch []byte // scratch: a line's pre-image
	fields  []byte // scratch: id, timestamp and category
	stamp   stamp
}

// A configSince is a configuration and the first id that it shapes.
type configSince struct {
	from   ID
	since  micros
	config Config
}

// id is that of the event that chained the configuration, 0 for the defaults.
func (c configSince) id() ID { return max(c.from, 1) - 1 }

// A part is a run of lines of one segment.
type part struct {
	name  string
	at    int64 // where the lines begin in the segment
	lines []byte
}

// news is of an event that is counted once it is committed: a rejected message,
// with the reason, or a testimony, with its category.
type news struct {
	id               ID
	reason, category string
}

func newProjection(keys keyring, prefix string, log *slog.Logger) *projection {
	p := &projection{keys: keys, prefix: prefix, log: log, names: map[string]bool{}, counts: map[string]int64{}, gone: map[ID]map[string]bool{},
		strange: map[string]chainedSeal{},
		agedBy:  map[string]int64{},
		configs: []configSince{{config: DefaultConfig()}}}
	copy(p.hash[:], GenesisHash)
	return p
}

func (p *projection) config() Config { return p.configs[len(p.configs)-1].config }

// configAt is the configuration that shaped an id.
func (p *projection) configAt(id ID) Config {
	for _, c := range slices.Backward(p.configs) {
		if c.from <= id {
			return c.config
		}
	}
	return p.configs[0].config
}

// apply projects one message: exactly one event, with another before it where
// the stream has a hole. ready is the event where it is derived already, under
// the configuration in force.
func (p *projection) apply(m Message, ready *derived) error {
	id := ID(m.Seq)
	if id <= p.id {
		return fmt.Errorf("message %s is not behind the tail %s", id, p.id)
	}
	if id > MaxID {
		return fmt.Errorf("message %d: sequences above 2^48 have no id", m.Seq)
	}
	if id-1-p.id > maxIDs {
		return fmt.Errorf("%w: the stream goes on at %s, the ledger ends with %s: that is too far for a hole", errNeeds, id, p.id)
	}
	at := max(microsOf(m.Time), p.time)
	if id > p.id+1 {
		d := missingEvents(p.id+1, id-1)
		p.log.Warn("events missing", "first_id", (p.id + 1).String(), "last_id", (id - 1).String(), "count", uint64(id-1-p.id))
		p.chain(&d, id-1, at)
	}
	if ready != nil {
		p.reject(id, ready.why)
		p.chain(&ready.draft, id, at)
		return nil
	}
	before := len(p.news)
	d, own := p.derive(m, at)
	if p.unsound != nil {
		p.news = p.news[:before]
		return p.unsound
	}
	p.chain(&d, id, at)
	if own != nil {
		own(id)
	}
	return nil
}

// reject notes that a message becomes an event_rejected, where there is a reason.
func (p *projection) reject(id ID, reason string) {
	if reason != "" {
		p.news = append(p.news, news{id: id, reason: reason})
	}
}

// believe takes an own message only when its signature holds and the
// projection derives the same. A repetition is believed and has no effect. at
// is the timestamp of the event that the message becomes.
func (p *projection) believe(action string, payload []byte, at micros) (data []byte, effect func(ID), err error) {
	if !knownOwn(action) {
		return nil, nil, errors.New("not a message that the store sends")
	}
	data, err = canonical(payload)
	if err != nil {
		return nil, nil, err
	}
	statement, ok := p.keys.verify(action, data)
	if !ok {
		return nil, nil, errors.New("the signature is not the ledger's")
	}
	if t, ok := testimonies[action]; ok {
		return data, nil, t.check(data, at)
	}
	if action == actionConf {
		effect, err := p.reconfigured(data)
		return data, effect, err
	}
	if action == actionAged {
		effect, err := p.ageOut(data, at)
		return data, effect, err
	}
	seg, err := p.sealedBy(statement)
	if err != nil {
		return nil, nil, err
	}
	return data, func(id ID) {
		if seg != nil && seg.sealID == 0 {
			seg.sealID = id
		}
	}, nil
}

// reconfigured checks a configuration against the one in force and gives its
// effect. It must name the one that it replaces: else a message that was sent
// once could be sent again and undo what was configured since.
func (p *projection) reconfigured(data []byte) (effect func(ID), err error) {
	c, replaces, err := parseConfig(data)
	if err != nil {
		return nil, err
	}
	last := p.configs[len(p.configs)-1]
	if replaces > last.id() {
		p.needsRead(replaces, replaces)
	}
	switch {
	case c.equal(last.config):
		return func(ID) {}, nil
	case replaces != last.id():
		return nil, fmt.Errorf("it replaces the configuration of %s, in force is that of %s", replaces, last.id())
	}
	return p.takeEffect(c), nil
}

// takeEffect puts a configuration in force behind the event that chains it.
func (p *projection) takeEffect(c Config) func(ID) {
	return func(id ID) { p.configs = append(p.configs, configSince{id + 1, p.time, c}) }
}

// sealedBy finds the ended segment that a seal is about; the seal must equal
// what the projection computed. nil: that of a segment that is gone, repeated.
func (p *projection) sealedBy(statement []byte) (*segment, error) {
	for _, s := range slices.Backward(p.segs) {
		if bytes.Equal(s.statement(), statement) {
			return s, nil
		}
	}
	about := sealOf(statement)
	if bytes.Equal(p.strange[about.segment].statement, statement) {
		return nil, nil
	}
	for _, s := range p.segs {
		if s.name == about.segment && s.sealID == 0 && s.doubt != nil {
			p.needs(about.segment)
		}
	}
	p.needsRead(about.ids())
	return nil, errors.New("no ended segment has this seal")
}

// chain appends an event to the tail.
func (p *projection) chain(d *Draft, id ID, at micros) {
	p.fields = append(p.stamp.append(id.append(p.fields[:0]), at), d.category...)
	f := p.fields
	l := line{id: id, time: at, idText: f[:12], timeText: f[12 : 12+len(timestampLayout)], category: f[12+len(timestampLayout):],
		action: d.action, actor: d.actor, target: d.target, data: d.data, result: d.result, err: d.err, prev: p.hash[:]}
	if p.tally != nil && p.tally.full(l.size(), at, p.config()) {
		p.end()
	}
	if p.tally == nil {
		p.begin(at)
	}
	if len(p.parts) == 0 || p.parts[len(p.parts)-1].name != p.tally.name {
		p.parts = append(p.parts, part{p.tally.name, p.tally.bytes, p.spare[:0]})
		p.spare = nil
	}
	last := &p.parts[len(p.parts)-1]
	start := len(last.lines)
	var hash [64]byte
	last.lines, p.scratch, hash = l.append(last.lines, p.scratch)
	p.pending += len(last.lines) - start
	p.count(&l, last.lines[start:], hash[:])
}

// count takes a sound line into the state, when it was chained just now and
// when it was found on disk.
func (p *projection) count(l *line, raw, hash []byte) {
	p.lines.ids = append(p.lines.ids, l.id)
	p.lines.offsets = append(p.lines.offsets, p.tally.bytes)
	p.growing.add(l)
	before := p.tally.missing
	var sum [sha256.Size]byte
	hex.Decode(sum[:], hash)
	p.tally.add(l, raw, hash, &sum)
	p.missing += p.tally.missing - before
	if string(l.action) == `"events_missing"` && string(l.category) == CategoryLedger {
		p.missing++ // the last missing id is the event's own
	}
	p.counts[string(l.category)]++
	p.events++
	p.id, p.time = l.id, max(p.time, l.time) // on disk it may fall
	copy(p.hash[:], hash)
}

// begin names a new segment by its first event's time.
func (p *projection) begin(at micros) {
	name := "events_" + at.time().Format("20060102_150405")
	if p.names[name] {
		name += "_" + (p.id + 1).String()
	}
	p.names[name] = true
	p.track(name)
}

// track starts to gather what a segment holds, whose events are behind the tail.
func (p *projection) track(name string) {
	p.tally, p.growing, p.lines = newTally(name, p.id+1), newGrowing(p.id+1), plainLines{}
}

// end closes the active segment; the sealer compresses it.
func (p *projection) end() {
	p.segs = append(p.segs, endedSegment(p.tally, p.lines, p.growing))
	p.tally = nil
}

// view is the state for readers. Its slices are never written again below
// their lengths.
func (p *projection) view() *view {
	v := &view{head: Head{ID: p.id, Hash: string(p.hash[:])}, segs: slices.Clip(p.segs), config: p.config(),
		counts: maps.Clone(p.counts), events: p.events, missing: p.missing, aged: p.aged, agedBy: p.agedBy, gone: p.gone}
	if p.id > 0 {
		v.head.Timestamp = p.time.time()
	}
	if p.tally != nil {
		v.active = &segment{name: p.tally.name, first: p.tally.first, last: p.id, firstTime: p.tally.firstTime,
			lastTime: p.time, size: p.tally.bytes}
		lines := p.lines
		v.active.lines.Store(&lines)
		v.active.growing.Store(p.growing)
	}
	return v
}

// take gives the committer what is pending, and the view after it.
func (p *projection) take(spare []byte) ([]part, []news, *view) {
	parts, news := p.parts, p.news
	p.parts, p.news, p.pending, p.spare = nil, nil, 0, spare
	return parts, news, p.view()
}
