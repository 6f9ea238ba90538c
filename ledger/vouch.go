package ledger

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// A chainedSeal is a segment_sealed event that was found in the chain.
type chainedSeal struct {
	id        ID
	statement []byte
}

// A sealed names what a seal is about.
type sealed struct{ segment, first, last string }

// sealOf reads a seal's statement.
func sealOf(statement []byte) (s sealed) {
	eachMember(statement, func(name, value []byte) {
		switch string(name) {
		case "segment":
			s.segment, _ = text(value)
		case "first_id":
			s.first, _ = text(value)
		case "last_id":
			s.last, _ = text(value)
		}
	})
	return s
}

// ids is what the segment holds; none where a seal does not say it.
func (s sealed) ids() (first, last ID) {
	first, err := ParseID(s.first)
	last, errLast := ParseID(s.last)
	if err != nil || errLast != nil {
		return 1, 0
	}
	return first, last
}

// recallSeal gives a chained seal its effect again: the segment that it is
// about is sealed by it. Where that is not what was sealed, vouch says so.
func (p *projection) recallSeal(seal chainedSeal) {
	for _, s := range slices.Backward(p.segs) { // it is one of the last
		if bytes.Equal(s.statement(), seal.statement) {
			if s.sealID == 0 {
				s.sealID = seal.id
			}
			return
		}
	}
	name := sealOf(seal.statement).segment
	if slices.ContainsFunc(p.segs, func(s *segment) bool { return s.name == name && s.sealID != 0 }) {
		p.log.Error("a segment has two seals, the first holds", "segment", name, "id", seal.id.String())
		return
	}
	p.strange[name] = seal
}

// vouch holds what is on disk of each ended segment against its chained seal:
// files are changed by others, the chain is not. Only a segment whose manifest
// is the sealed one ages out, and only one whose lines are sound is sealed. What
// is damaged stays as it is; a manifest that is gone is written again.
func (l *Ledger) vouch(ctx context.Context, p *projection) error {
	unsealed := int64(0)
	for _, s := range p.segs {
		if err := ctx.Err(); err != nil {
			return err
		}
		seal, chained := p.strange[s.name]
		switch {
		case chained && l.reread(p, s, sealOf(seal.statement).first) && bytes.Equal(s.statement(), seal.statement):
			s.sealID, s.doubt = seal.id, errors.New("its manifest on disk is not the one that was sealed")
			delete(p.strange, s.name)
		case chained:
			s.sealID, s.seal, s.doubt = seal.id, seal.statement, errors.New("it is not what was sealed")
		case s.sealID == 0 && s.doubt == nil:
			l.fitToSeal(p, s)
		}
		unsealed = p.missOwn(s, unsealed)
		if s.doubt == nil && s.sealed.Load() && s.categoryMap != nil {
			if err := l.restoreManifest(s); err != nil {
				return err
			}
		}
		if s.doubt != nil {
			l.log.Error("damaged segment", "segment", s.name, "err", s.doubt)
		}
	}
	l.settleTail(p)
	return nil
}

// settleTail takes the tail from the last segment's lines where its manifest
// said it, that is doubted, and no line behind it says more.
func (l *Ledger) settleTail(p *projection) {
	if p.tally != nil || len(p.segs) == 0 {
		return
	}
	s := p.segs[len(p.segs)-1]
	if s.doubt == nil || s.categoryMap != nil {
		return
	}
	if !l.reread(p, s, s.manifest.FirstID) {
		p.unsound = fmt.Errorf("%w: segment %s, the last one, is damaged (%w): put back the files that were sealed", errNeeds, s.name, s.doubt)
	}
	p.id, p.time = s.last, s.lastTime
	copy(p.hash[:], s.manifest.LastHash)
}

// fitToSeal sets the doubt of a segment that has no seal yet and must not get
// one: its manifest is not that of its lines.
func (l *Ledger) fitToSeal(p *projection, s *segment) {
	digest := s.digest
	switch {
	case s.categoryMap == nil:
		if !l.reread(p, s, s.manifest.FirstID) || s.digest != digest {
			s.doubt = errors.New("its manifest is not that of its lines")
		}
	default:
		b, err := readFile(filepath.Join(l.dir, s.name+suffixManifest), maxManifest)
		if m, bad := parseManifest(b); err == nil && bad == nil && m.digest() != digest {
			s.doubt = errors.New("there is a manifest of other lines")
		}
	}
}

// reread sets what is known of a sealed segment to what its lines say, if they
// are whole and sound. Of one that was loaded by its lines that is known.
func (l *Ledger) reread(p *projection, s *segment, from string) bool {
	if s.categoryMap != nil {
		return s.doubt == nil
	}
	first, err := ParseID(from)
	if err != nil {
		return false
	}
	t, err := tallyOf(filepath.Join(l.dir, s.name+suffixSealed), s.name, first)
	if err != nil || t.gaps > 0 || t.ids == nil {
		return false
	}
	p.countCells(s, -1)
	m, _ := t.manifest()
	s.manifest, s.digest = &m, m.digest()
	s.first, s.last, s.firstTime, s.lastTime, s.size = t.first, t.last, t.firstTime, t.lastTime, t.bytes
	p.countCells(s, 1)
	return true
}

// restoreManifest writes the manifest of a sealed segment where it is gone.
func (l *Ledger) restoreManifest(s *segment) error {
	whole := *s.manifest
	whole.Map = packMap(s.categoryMap)
	name := s.name + suffixManifest
	if _, err := os.Stat(filepath.Join(l.dir, name)); err == nil {
		s.doubt = errors.New("its manifest on disk is damaged")
		return nil
	}
	l.log.Warn("manifest written again", "segment", s.name)
	if err := writeFile(l.dir, name, append(whole.canonical(), '\n')); err != nil {
		return fmt.Errorf("writing manifest %s again: %w", name, err)
	}
	s.categoryMap = nil
	s.measure(l.dir)
	return nil
}

// manifestThere tells whether a segment's manifest on disk is the sealed one:
// once events are gone it cannot be made again.
func (l *Ledger) manifestThere(s *segment) error {
	b, err := readFile(filepath.Join(l.dir, s.name+suffixManifest), maxManifest)
	if err != nil {
		return err
	}
	if m, err := parseManifest(b); err != nil {
		return err
	} else if m.digest() != s.digest {
		return errors.New("its manifest on disk is not the one that was sealed")
	}
	return nil
}

// A lineTally is a tally of a .gz, with the gaps in it.
type lineTally struct {
	*tally
	gaps int64 // events that they stand for
}

// tallyOf goes through a .gz whose first id is from. Each line must be sound and
// follow the one before it; else it is an error.
func tallyOf(path, name string, from ID) (t lineTally, err error) {
	t = lineTally{tally: newTally(name, from)}
	var scratch []byte
	next, hash := from, []byte(nil)
	err = eachLine(path, true, func(raw []byte, _ int64) error {
		ln, err := parseLine(raw)
		if err != nil {
			return err
		}
		sound := true
		if ln.gap == nil {
			sound, scratch = ln.sound(scratch)
		}
		hole := string(ln.category) == CategoryLedger && string(ln.action) == `"events_missing"`
		if !sound || hash != nil && !bytes.Equal(ln.prev, hash) || ln.first() != next && !(hole && ln.id > next && ln.id-next < maxIDs) {
			return errLine
		}
		if hash == nil {
			copy(t.prev[:], ln.prev)
		}
		next, hash = ln.id+1, append(hash[:0], ln.hash...)
		if ln.gap != nil {
			t.gaps += ln.gap.count
			t.last = ln.id
			copy(t.lastHash[:], ln.hash)
			return nil
		}
		t.count(&ln, raw)
		return nil
	})
	return t, err
}

// count adds a sound event.
func (t *lineTally) count(l *line, raw []byte) {
	prev, sum := t.prev, [sha256.Size]byte{}
	hex.Decode(sum[:], l.hash)
	t.add(l, append(bytes.Clone(raw), '\n'), l.hash, &sum)
	t.prev = prev // not that of the first event, where a gap is before it
}

// isRewriting tells whether a .gz is what ageing out leaves of a manifest's
// segment: the sealed ends, and each category that is there is there whole.
func isRewriting(path string, m Manifest) bool {
	first, err := ParseID(m.FirstID)
	if err != nil {
		return false
	}
	t, err := tallyOf(path, m.Segment, first)
	if err != nil || t.gaps == 0 {
		return false
	}
	got, _ := t.manifest()
	cells := map[string]CategoryCell{}
	for _, c := range m.Categories {
		cells[c.Category] = c
	}
	for _, c := range got.Categories {
		if cells[c.Category] != c {
			return false
		}
	}
	return t.last.String() == m.LastID && string(t.prev[:]) == m.PreviousHash && string(t.lastHash[:]) == m.LastHash
}

// holds tells whether a segment's file holds what a manifest says.
func holds(path string, zip bool, m Manifest) bool {
	t := newTally("", 1)
	err := eachLine(path, zip, func(raw []byte, _ int64) error {
		if raw == nil {
			return errLine
		}
		t.skip(raw)
		return nil
	})
	return err == nil && t.bytes == m.Bytes && fmt.Sprintf("%x", t.content.Sum(nil)) == m.SHA256
}
