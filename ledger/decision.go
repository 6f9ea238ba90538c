package ledger

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

const actionAged = "events_aged_out"

// graceOfShortening is how long a shortened retention spares older events:
// else one edit of the configuration would erase evidence at once.
const graceOfShortening = 7 * day

// maxDecided is how many segments one decision names at most, so that it fits
// into a message.
const maxDecided = 500

// A Cell is what one sealed segment holds of one category: what ages out as a
// whole.
type Cell struct {
	Segment  string `json:"segment"`
	FirstID  string `json:"first_id"`
	Category string `json:"category"`
	Count    int64  `json:"count"`
	First    string `json:"first_timestamp"`
	Last     string `json:"last_timestamp"`
	digest   string
}

func (s *segment) cell(c CategoryCell) Cell {
	return Cell{s.name, s.manifest.FirstID, c.Category, c.Count, c.First, c.Last, s.digest}
}

// A decision is the data of an events_aged_out event.
type decision struct {
	Segments  []decided `json:"segments"`
	Signature string    `json:"signature,omitzero"`
}

// decided is what a decision says of one segment.
type decided struct {
	Categories []decidedCell `json:"categories"`
	FirstID    string        `json:"first_id"`
	Digest     string        `json:"manifest_sha256"`
}

type decidedCell struct {
	Category string `json:"category"`
	Count    int64  `json:"count"`
}

func parseDecision(data []byte) (decision, error) {
	var d decision
	if err := json.Unmarshal(data, &d, json.RejectUnknownMembers(true)); err != nil || len(d.Segments) == 0 {
		return d, errors.New("not a decision")
	}
	return d, nil
}

// justified tells whether the chained policies let a cell (with the timestamps
// of its first and last event) age out at a decision's own timestamp: its age
// has reached the longest retention in force at any time from max(first,
// at - 7 d) to at.
func justified(configs []configSince, category string, first, last, at micros) bool {
	if category == CategoryLedger {
		return false
	}
	from := max(first, at-micros(graceOfShortening/time.Microsecond))
	for i, c := range configs {
		if i+1 < len(configs) && configs[i+1].since <= from {
			continue // no longer in force then
		}
		if c.since > at {
			break
		}
		p, ok := c.config.Categories[category]
		if !ok || p.Retention == 0 || at.sub(last) < p.Retention {
			return false
		}
	}
	return true
}

// cellTimes are the timestamps of a cell's first and last event.
func (c CategoryCell) times() (first, last micros, err error) {
	first, err = parseMicros([]byte(c.First))
	if err == nil {
		last, err = parseMicros([]byte(c.Last))
	}
	return first, last, err
}

// check holds what a decision says of a segment against the manifest and the
// chained policies, cell by cell.
func (d decided) check(m Manifest, digest string, configs []configSince, at micros) error {
	if d.Digest != digest {
		return fmt.Errorf("segment %s: not the manifest that was sealed", d.FirstID)
	}
	if len(d.Categories) == 0 {
		return fmt.Errorf("segment %s: no categories", d.FirstID)
	}
	for _, c := range d.Categories {
		i := slices.IndexFunc(m.Categories, func(cell CategoryCell) bool { return cell.Category == c.Category })
		if i < 0 || m.Categories[i].Count != c.Count {
			return fmt.Errorf("segment %s: it does not hold %d events of %s", d.FirstID, c.Count, quoteShort(c.Category))
		}
		first, last, err := m.Categories[i].times()
		if err != nil {
			return err
		}
		if !justified(configs, c.Category, first, last, at) {
			return fmt.Errorf("segment %s: the chained policies keep its events of %s", d.FirstID, c.Category)
		}
	}
	return nil
}

// ageOut checks a decision against the projection and gives its effect.
func (p *projection) ageOut(data []byte, at micros) (effect func(ID), err error) {
	d, err := parseDecision(data)
	if err != nil {
		return nil, err
	}
	if p.forgetful(at) {
		p.unsound = fmt.Errorf("%w: the policies before %s cannot be read: put back the files that held them", errNeeds, p.known.text())
	}
	for _, ds := range d.Segments {
		for name, seal := range p.strange {
			if sealOf(seal.statement).first == ds.FirstID {
				p.needs(name)
			}
		}
		i := slices.IndexFunc(p.segs, func(s *segment) bool { return s.manifest.FirstID == ds.FirstID })
		if i < 0 || p.segs[i].sealID == 0 {
			if first, err := ParseID(ds.FirstID); err == nil {
				p.needsRead(first, MaxID) // its seal may be there
			}
			return nil, errors.New("segment " + quoteShort(ds.FirstID) + " is not sealed in the chain")
		}
		if err := ds.check(*p.segs[i].manifest, p.segs[i].digest, p.configs, at); err != nil {
			return nil, err
		}
	}
	return func(ID) { p.forgetAll(d) }, nil
}

// forgetful tells whether policies that a decision at a time depends on cannot be
// read any more.
func (p *projection) forgetful(at micros) bool {
	return p.known > at-micros(graceOfShortening/time.Microsecond)
}

// forgetAll gives a decision its effect.
func (p *projection) forgetAll(d decision) {
	gone := maps.Clone(p.gone)
	p.agedBy = maps.Clone(p.agedBy)
	for _, ds := range d.Segments {
		if first, err := ParseID(ds.FirstID); err == nil {
			p.forget(gone, first, ds)
		}
	}
	p.gone = gone
}

// forget takes a segment's decided cells out of the state. A cell that is gone
// already stays so. What a segment held that is gone itself was not counted.
func (p *projection) forget(gone map[ID]map[string]bool, first ID, ds decided) {
	_, here := slices.BinarySearchFunc(p.segs, first, func(s *segment, id ID) int { return cmp.Compare(s.first, id) })
	cells := maps.Clone(gone[first])
	if cells == nil {
		cells = map[string]bool{}
	}
	for _, c := range ds.Categories {
		if cells[c.Category] {
			continue
		}
		cells[c.Category] = true
		if here {
			p.counts[c.Category] -= c.Count
			p.events -= c.Count
		}
		p.aged += c.Count
		p.agedBy[c.Category] += c.Count
	}
	gone[first] = cells
}

// Due lists the cells that a decision with the timestamp now may age out,
// oldest first.
func (l *Ledger) Due(now time.Time) []Cell {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, at := l.proj, max(microsOf(now), l.proj.time)
	if p.unsound != nil || p.forgetful(at) {
		return nil // what would be decided here others may refuse
	}
	var due []Cell
	for _, s := range p.segs {
		if s.sealID == 0 || s.doubt != nil || !s.sealed.Load() {
			continue
		}
		for _, c := range s.manifest.Categories {
			first, last, err := c.times()
			if err != nil || p.gone[s.first][c.Category] || !justified(p.configs, c.Category, first, last, at) {
				continue
			}
			due = append(due, s.cell(c))
		}
	}
	return due
}

// Decide gives the signed decision to age out cells that Due listed, and how
// many of them it covers: a decision has room for 500 segments.
func (l *Ledger) Decide(cells []Cell) (OwnMessage, int, error) {
	if l.keys.signer == nil {
		return OwnMessage{}, 0, ErrFollows
	}
	var d decision
	n := 0
	for _, c := range cells {
		if k := len(d.Segments); k == 0 || d.Segments[k-1].FirstID != c.FirstID {
			if k == maxDecided {
				break
			}
			d.Segments = append(d.Segments, decided{FirstID: c.FirstID, Digest: c.digest})
		}
		last := &d.Segments[len(d.Segments)-1]
		last.Categories = append(last.Categories, decidedCell{c.Category, c.Count})
		n++
	}
	statement, err := json.Marshal(d)
	if err != nil {
		return OwnMessage{}, 0, err
	}
	data, err := l.keys.sign(actionAged, canonicalize(statement))
	return OwnMessage{actionAged, data}, n, err
}
