package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// load reads the folder into a projection: the sealed segments by their
// manifests, the others line by line. Start-up and recovery are this one path.
func (l *Ledger) load(ctx context.Context) (*projection, error) {
	if err := removeTemps(l.dir); err != nil {
		return nil, err
	}
	sets, err := listSegments(l.dir)
	if err != nil {
		return nil, err
	}
	p := newProjection(l.keys, l.opts.SubjectPrefix, l.log)
	l.synced = synced{}
	names, err := l.dropUnbegun(slices.Sorted(maps.Keys(sets)), sets) // by time, so in chain order
	if err != nil {
		return nil, err
	}
	sealed, err := l.openSealed(ctx, names, sets)
	if err != nil {
		return nil, err
	}
	highest := ID(0)
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		highest, p.names[name] = max(highest, p.id), true
		if err := l.loadSegment(p, name, sets[name], sealed[i], i == len(names)-1); err != nil {
			return nil, fmt.Errorf("segment %s: %w", name, err)
		}
	}
	if p.id < highest {
		p.unsound = fmt.Errorf("the last segment ends with %s, an earlier one with %s", p.id, highest)
		l.log.Error("chain broken", "err", p.unsound)
	}
	if err := l.vouch(ctx, p); err != nil {
		return nil, err
	}
	p.needsConfig(l.opts.Config)
	return p, nil
}

// dropUnbegun removes what stands at the chain's end without a whole line: a
// crash leaves it before the segment's first event, which comes again. Events
// end a segment, not such a file behind it.
func (l *Ledger) dropUnbegun(names []string, sets map[string]fileSet) ([]string, error) {
	for len(names) > 0 {
		last := names[len(names)-1]
		if sets[last] != (fileSet{plain: true}) {
			break
		}
		path := filepath.Join(l.dir, last+suffixPlain)
		f, err := openFile(path)
		if err != nil {
			return nil, err
		}
		end, _, err := soundEnd(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("segment %s: %w", last, err)
		}
		if end > 0 {
			break
		}
		l.log.Warn("segment without an event removed", "segment", last)
		if err := errors.Join(os.Remove(path), syncDir(l.dir)); err != nil {
			return nil, err
		}
		names = names[:len(names)-1]
	}
	return names, nil
}

// loadSegment takes a segment's events into the projection.
func (l *Ledger) loadSegment(p *projection, name string, set fileSet, sealed *segment, last bool) error {
	switch {
	case sealed != nil:
		return l.loadSealed(p, sealed)
	case set.sealed:
		return l.loadLines(p, name, true, false)
	case set.plain:
		return l.loadLines(p, name, false, last)
	}
	l.log.Error("a manifest without its segment", "segment", name)
	return nil
}

// openSealed opens the sealed segments that have a manifest, several at a time,
// and makes the indexes that they lack. Where there is none it gives nil.
func (l *Ledger) openSealed(ctx context.Context, names []string, sets map[string]fileSet) ([]*segment, error) {
	if err := removeTemps(filepath.Join(l.dir, indexFolder)); err != nil {
		return nil, err
	}
	segs, found := make([]*segment, len(names)), make([]fileSet, len(names))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, name := range names {
		g.Go(func() (err error) {
			if segs[i], found[i], err = l.settleFiles(name, sets[name]); err != nil {
				return fmt.Errorf("segment %s: %w", name, err)
			}
			return gctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i, name := range names {
		sets[name] = found[i]
	}
	return segs, l.makeIndexes(ctx, slices.DeleteFunc(slices.Clone(segs), func(s *segment) bool { return s == nil || s.index.Load() != nil }))
}

// loadSealed takes a sealed segment on its manifest's word; of its lines only
// those of category ledger are read.
func (l *Ledger) loadSealed(p *projection, s *segment) error {
	p.follows(s.manifest.PreviousHash)
	p.readUpTo(s.first)
	if err := l.eachOwn(s, func(ln *line) {
		p.time = ln.time
		if p.recall(ln) {
			s.own++
		}
		if string(ln.action) == `"events_missing"` {
			p.missing++ // the last missing id is the event's own
		}
	}); err != nil {
		l.log.Error("damaged segment", "segment", s.name, "err", err)
	}
	p.countCells(s, 1)
	p.segs = append(p.segs, s)
	p.id, p.time = s.last, s.lastTime
	copy(p.hash[:], s.manifest.LastHash)
	return nil
}

// countCells adds what a sealed segment's manifest counts, or with -1 takes it away.
func (p *projection) countCells(s *segment, sign int64) {
	ids := int64(s.last-s.first) + 1
	for _, c := range s.manifest.Categories {
		p.counts[c.Category] += sign * c.Count
		p.events += sign * c.Count
		ids -= c.Count
	}
	p.missing += sign * ids
}

// loadLines takes a segment line by line. The last one is the active segment:
// it is made durable first, and a torn tail is cut. Those before it were durable
// whole: what looks torn there is damage, and stays.
func (l *Ledger) loadLines(p *projection, name string, zip, active bool) error {
	path := filepath.Join(l.dir, name+suffixPlain)
	if zip {
		path = filepath.Join(l.dir, name+suffixSealed)
	} else if active {
		if err := l.settle(path); err != nil {
			return err
		}
	}
	p.track(name)
	n := int64(0)
	err := eachLine(path, zip, func(raw []byte, off int64) error {
		n++
		p.tally.bytes = off // also behind a line that was too long to be read
		p.reload(name, n, raw)
		return nil
	})
	if err != nil {
		l.log.Error("damaged segment", "segment", name, "line", n, "err", err)
		p.unsound = fmt.Errorf("segment %s is damaged: %w", name, err)
	}
	if n := p.tally.hurts; n > 1 {
		l.log.Error("damaged segment", "segment", name, "lines", n, "err", "more lines are damaged, verification names them")
	}
	if !zip && !active {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if info.Size() > p.tally.bytes {
			l.log.Error("damaged segment", "segment", name, "line", n+1, "err", errUnended)
			if err := p.passEnd(path, p.tally.bytes); err != nil {
				return err
			}
			if p.tally.hurt = errUnended; n == 0 {
				p.tally = nil
				return nil
			}
		}
	}
	if len(p.lines.ids) == 0 && n == 0 && !zip {
		p.tally = nil
		delete(p.names, name)
		return errors.Join(os.Remove(path), syncDir(l.dir))
	}
	if active {
		return l.reopen(path, name)
	}
	if p.tally.bytes > 0 {
		p.end()
	}
	if zip && p.tally == nil {
		s := p.segs[len(p.segs)-1]
		s.lines.Store(nil)
		s.growing.Store(nil)
		s.sealed.Store(true)
		l.openIndex(s)
	}
	return nil
}

// reload takes a line found on disk. A damaged one stays where it is and is
// reported; only a last line that is damaged, or whose id cannot be its own,
// stops the chain from going on. Behind lines that are gone it goes on: what is
// missing may come back.
func (p *projection) reload(name string, n int64, raw []byte) {
	ln, err := parseLine(raw)
	p.unsound = nil
	sound := false
	if err == nil && ln.gap == nil {
		sound, p.scratch = ln.sound(p.scratch)
	}
	hole := string(ln.category) == CategoryLedger && string(ln.action) == `"events_missing"`
	linked, next := string(ln.prev) == string(p.hash[:]), ln.id == p.id+1 || hole && ln.id > p.id
	switch {
	case !sound:
		p.hurt("damaged line", name, n, string(ln.idText))
		p.tally.hurt = fmt.Errorf("line %d is damaged", n)
	case !linked || !next:
		p.hurt("chain broken", name, n, ln.id.String())
		p.tally.hurt = fmt.Errorf("line %d does not follow the one before it", n)
	}
	other := !next && (linked || !sound) // its id is not its own
	if !sound || other || ln.id <= p.id {
		p.unsound = fmt.Errorf("segment %s: %w", name, p.tally.hurt)
	}
	if err != nil || ln.gap != nil || other || ln.id <= p.id || ln.id-p.id > maxIDs {
		if !sound || other {
			p.pass(raw, ln.gap)
		}
		p.tally.skip(raw)
		p.growing.skip()
		return
	}
	if sound && len(p.lines.ids) == 0 {
		p.follows(string(ln.prev))
	}
	p.readUpTo(ln.holeFirst())
	p.count(&ln, append(bytes.Clone(raw), '\n'), ln.hash)
	switch own := string(ln.category) == CategoryLedger; {
	case own && (sound || string(ln.action) != `"`+actionConf+`"`) && p.recall(&ln):
	case own || !sound:
		p.lose(raw, ln.id)
	}
}

// hurt logs a segment's first damaged line, and counts the others: a whole
// segment may be a copy in the wrong place.
func (p *projection) hurt(what, name string, n int64, id string) {
	if p.tally.hurts++; p.tally.hurts == 1 {
		p.log.Error(what, "segment", name, "line", n, "id", id)
	}
}

// skip counts the bytes of a line that is no event.
func (t *tally) skip(raw []byte) {
	t.bytes += int64(len(raw)) + 1
	if t.content != nil {
		t.content.Write(raw)
		t.content.Write([]byte{'\n'})
	}
}
