package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// maxSkew is how far the local clock and the head may differ for files to be
// rewritten: a stream with a wrong clock must not erase anything.
const maxSkew = time.Hour

// maxStill is how long Rewritten waits while no file is rewritten: the sealer
// may be busy with sealing, or with a verification that must not be disturbed.
const maxStill = 30 * time.Second

// A sweep is one round of the sealer over the sealed segments.
type sweep struct {
	n       int64  // of this round
	through ID     // what was decided up to here was seen to
	waits   string // why some of it waits; empty when the files are as decided
}

// ageAll rewrites the sealed segments whose decided cells are still in their
// files. After a restart that is found out from the files themselves. One that
// cannot be rewritten does not keep the others from it.
func (l *Ledger) ageAll(ctx context.Context) {
	v := l.view.Load()
	done := sweep{n: l.sweeps.Add(1), through: v.head.ID}
	for _, s := range v.segs {
		if ctx.Err() != nil {
			return
		}
		gone := v.gone[s.first]
		if x := s.index.Load(); x != nil && len(s.without()) < len(gone) && x.lacks(gone) {
			s.rewritten.Store(&gone)
		}
		if len(gone) == len(s.without()) || !s.sealed.Load() {
			continue
		}
		if skew := time.Since(v.head.Timestamp).Abs(); skew > maxSkew {
			done.waits = fmt.Sprintf("the local clock and the newest event are %s apart, more than %s", skew.Round(time.Second), maxSkew)
			break
		}
		if s.doubt != nil {
			done.waits = fmt.Sprintf("segment %s: %v", s.name, s.doubt)
			continue
		}
		if err := l.ageSegment(s, gone); err != nil {
			l.log.Error("ageing out failed", "segment", s.name, "err", err)
			l.NoRoom(err)
			done.waits = fmt.Sprintf("segment %s: %v", s.name, err)
		}
	}
	if done.waits != "" {
		if l.swept.Load().waits == "" {
			l.log.Warn("ageing out waits", "reason", done.waits)
		}
		l.sealAgain()
	}
	l.swept.Store(&done)
}

// ageSegment takes decided cells out of one segment's file.
func (l *Ledger) ageSegment(s *segment, gone map[string]bool) error {
	if err := l.manifestThere(s); err != nil {
		return err
	}
	before := s.disk.Load()
	l.whole.Lock()
	err := l.rewrite(s, gone)
	l.whole.Unlock()
	if err != nil {
		return err
	}
	s.rewritten.Store(&gone)
	if after := s.disk.Load(); after != before {
		l.rewrites.Add(1)
		l.log.Info("aged out", "segment", s.name, "bytes_before", before, "bytes_on_disk", after)
	}
	return nil
}

// without names the categories that the file is known to hold nothing of.
func (s *segment) without() map[string]bool {
	if gone := s.rewritten.Load(); gone != nil {
		return *gone
	}
	return nil
}

// rewrite puts one gap line in the place of each run of aged-out events: new
// file, fsync, rename, fsync of the folder. A crash before the rename leaves
// the old file, which is rewritten at the next start.
func (l *Ledger) rewrite(s *segment, gone map[string]bool) error {
	path := filepath.Join(l.dir, s.name+suffixSealed)
	if found, err := holdsCells(path, gone); err != nil || !found {
		return err
	}
	temp := path + suffixTemp
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	z, g := newZipper(f), newGrowing(s.first)
	err = withoutCells(path, gone, z, g)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	if err := l.replace(s, temp, z, g); err != nil {
		return err
	}
	s.measure(l.dir)
	return syncDir(l.dir)
}

// replace puts a rewritten .gz and its index in the place of the old ones, of
// which nothing may stay: they name actors that are gone.
func (l *Ledger) replace(s *segment, temp string, z *zipper, g *growing) error {
	settleMembers(z.blocks)
	s.files.Lock()
	defer s.files.Unlock()
	if err := os.Rename(temp, filepath.Join(l.dir, s.name+suffixSealed)); err != nil {
		return err
	}
	s.members = nil
	l.cache.clear()
	l.writeIndex(s, z.blocks, g)
	return nil
}

// holdsCells tells whether a segment's file still has an event of the
// categories that are gone.
func holdsCells(path string, gone map[string]bool) (bool, error) {
	err := eachLine(path, true, func(raw []byte, _ int64) error {
		if ln, err := parseLine(raw); err == nil && ln.gap == nil && gone[string(ln.category)] {
			return errFound
		}
		return nil
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}

var errFound = errors.New("found")

// withoutCells copies a segment's lines with gaps for the categories that are
// gone, and gathers the index of what stays.
func withoutCells(path string, gone map[string]bool, z *zipper, g *growing) error {
	var run *gap
	var prev, hash []byte
	end := func() error {
		if run == nil {
			return nil
		}
		raw := fmt.Appendf(nil, gapLayout, run.first, run.last, run.count, prev, hash)
		run = nil
		return z.add(raw)
	}
	err := eachLine(path, true, func(raw []byte, _ int64) error {
		ln, err := parseLine(raw)
		if raw == nil {
			return err // it is not there to be kept
		}
		if err != nil || ln.gap == nil && !gone[string(ln.category)] {
			g.take(&ln, err)
			return errors.Join(end(), z.add(append(bytes.Clone(raw), '\n'))) // damage is kept as it is
		}
		g := gap{first: ln.id, last: ln.id, count: 1}
		if ln.gap != nil {
			g = *ln.gap
		}
		if run != nil && (run.last+1 != g.first || !bytes.Equal(hash, ln.prev)) {
			if err := end(); err != nil {
				return err
			}
		}
		if run == nil {
			run, prev = &gap{first: g.first}, bytes.Clone(ln.prev)
		}
		run.last, run.count, hash = g.last, run.count+g.count, append(hash[:0], ln.hash...)
		return nil
	})
	return errors.Join(err, end(), z.flush())
}

// Rewritten waits until the files hold nothing more of what was decided up to
// an id. ErrPending when that has to wait for longer: the decision stands, and
// the sealer finishes it when it can.
func (l *Ledger) Rewritten(ctx context.Context, id ID) error {
	before := l.sweeps.Load() // what a round of before met may be gone
	wake(l.sealing)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	rewrites, since := l.rewrites.Load(), time.Now()
	for {
		if s := l.swept.Load(); s.through >= id && s.waits == "" {
			return nil
		} else if s.through >= id && s.n > before {
			return fmt.Errorf("%w: %s", ErrPending, s.waits)
		}
		if n := l.rewrites.Load(); n != rewrites {
			rewrites, since = n, time.Now()
		} else if time.Since(since) > maxStill {
			return fmt.Errorf("%w: the files are in use: a verification reads them, or segments are being sealed", ErrPending)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Pending lists the cells that were decided to age out and may still be in
// their files, and says why they wait where something keeps them.
func (l *Ledger) Pending() (cells []Cell, waits string) {
	v := l.view.Load()
	for _, s := range v.segs {
		gone, without := v.gone[s.first], s.without()
		if len(gone) == len(without) {
			continue
		}
		for _, c := range s.manifest.Categories {
			if gone[c.Category] && !without[c.Category] {
				cells = append(cells, s.cell(c))
			}
		}
	}
	return cells, l.swept.Load().waits
}
