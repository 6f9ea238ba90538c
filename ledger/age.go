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

// ageAll rewrites the sealed segments whose decided cells are still in their
// files. After a restart that is found out from the files themselves.
func (l *Ledger) ageAll(ctx context.Context) {
	v := l.view.Load()
	for _, s := range v.segs {
		gone := v.gone[s.first]
		if x := s.index.Load(); x != nil && s.rewritten < len(gone) && x.lacks(gone) {
			s.rewritten = len(gone)
		}
		if ctx.Err() != nil || len(gone) == s.rewritten || !s.sealed.Load() {
			continue
		}
		if skew := time.Since(v.head.Timestamp).Abs(); skew > maxSkew {
			l.log.Warn("ageing out waits: the local clock and the head differ", "skew", skew.String())
			time.AfterFunc(time.Minute, func() { wake(l.sealing) })
			return
		}
		before := s.disk.Load()
		l.whole.Lock()
		err := l.rewrite(s, gone)
		l.whole.Unlock()
		if err != nil {
			l.log.Error("ageing out failed", "segment", s.name, "err", err)
			time.AfterFunc(10*time.Second, func() { wake(l.sealing) })
			return
		}
		s.rewritten = len(gone)
		l.freed.Add(before - s.disk.Load())
		l.log.Info("aged out", "segment", s.name, "bytes_before", before, "bytes_on_disk", s.disk.Load())
	}
	if ctx.Err() == nil {
		l.swept.Store(uint64(v.head.ID))
	}
}

// rewrite puts one gap line in the place of each run of aged-out events: new
// file, fsync, rename, fsync of the folder. A crash before the rename leaves
// the old file, which is rewritten at the next start.
func (l *Ledger) rewrite(s *segment, gone map[string]bool) error {
	path := filepath.Join(l.dir, s.name+suffixSealed)
	temp := path + suffixTemp
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	z, g := newZipper(f), newGrowing(s.first)
	found, err := withoutCells(path, gone, z, g)
	if err == nil {
		err = z.flush()
	}
	if err == nil && found {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil || !found {
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

// withoutCells copies a segment's lines with gaps for the categories that are
// gone, and gathers the index of what stays. found tells whether the file still
// held any of them.
func withoutCells(path string, gone map[string]bool, z *zipper, g *growing) (found bool, err error) {
	var run *gap
	var prev, hash []byte
	end := func() error {
		if run == nil {
			return nil
		}
		raw := fmt.Appendf(nil, `{"aged_out":{"first_id":"%s","last_id":"%s","count":%d},"previous_hash":"%s","hash":"%s"}`+"\n",
			run.first, run.last, run.count, prev, hash)
		run = nil
		return z.add(raw)
	}
	err = eachLine(path, true, func(raw []byte, _ int64) error {
		ln, err := parseLine(raw)
		if err != nil || ln.gap == nil && !gone[string(ln.category)] {
			g.take(&ln, err)
			return errors.Join(end(), z.add(append(bytes.Clone(raw), '\n'))) // damage is kept as it is
		}
		g := gap{first: ln.id, last: ln.id, count: 1}
		if ln.gap != nil {
			g = *ln.gap
		} else {
			found = true
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
	return found, errors.Join(err, end())
}

// Rewritten waits until the files hold nothing more of what was decided up to
// an id.
func (l *Ledger) Rewritten(ctx context.Context, id ID) error {
	wake(l.sealing)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for l.swept.Load() < uint64(id) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Freed is how many bytes ageing out gave back since the ledger was opened.
func (l *Ledger) Freed() int64 { return l.freed.Load() }
