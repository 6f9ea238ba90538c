package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"golang.org/x/sync/errgroup"
)

// writeIndex puts an index beside a sealed segment's .gz. One that cannot be
// written is no error: then the lines have to be read.
func (l *Ledger) writeIndex(s *segment, members []block, g *growing) {
	x, err := l.encodeIndex(s, members, g)
	if err != nil {
		l.log.Warn("index not written", "segment", s.name, "err", err)
		os.Remove(l.indexPath(s.name)) // it would be that of the lines before
		x = nil
	}
	s.index.Store(x)
}

func (l *Ledger) encodeIndex(s *segment, members []block, g *growing) (*index, error) {
	info, err := os.Stat(filepath.Join(l.dir, s.name+suffixSealed))
	if err != nil {
		return nil, err
	}
	x := &index{path: l.indexPath(s.name), digest: s.digest, size: info.Size(), gone: g.lacks(s.manifest), members: members}
	b, err := x.encode(g)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(x.path), 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(x.path+suffixTemp, b, 0o600); err != nil {
		return nil, errors.Join(err, os.Remove(x.path+suffixTemp))
	}
	return x, os.Rename(x.path+suffixTemp, x.path)
}

func (l *Ledger) indexPath(name string) string { return indexPath(l.dir, name) }

func indexPath(dir, name string) string { return filepath.Join(dir, indexFolder, name+indexSuffix) }

// lacks gives the categories of a manifest of which no line is left.
func (g *growing) lacks(m *Manifest) (gone []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range m.Categories {
		if g.values[fieldCategory][c.Category] == nil {
			gone = append(gone, c.Category)
		}
	}
	return gone
}

// openIndex opens the index of a sealed segment and tells whether it is there
// and right.
func (l *Ledger) openIndex(s *segment) bool {
	info, err := os.Stat(filepath.Join(l.dir, s.name+suffixSealed))
	if err != nil {
		return false
	}
	x, err := openIndex(l.indexPath(s.name))
	if err != nil || x.digest != s.digest || x.first != s.first || x.size != info.Size() {
		return false
	}
	s.index.Store(x)
	return true
}

// makeIndex reads the lines of a sealed segment and makes its index.
func (l *Ledger) makeIndex(ctx context.Context, s *segment) error {
	g := newGrowing(s.first)
	var members []block
	err := inflateAll(filepath.Join(l.dir, s.name+suffixSealed), s.most(), func(b block, lines []byte) error {
		members = append(members, b)
		if b.damaged {
			g.skip()
		}
		eachOf(lines, 0, func(raw []byte) bool {
			ln, err := parseLine(raw)
			g.take(&ln, err)
			return true
		})
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	settleMembers(members)
	l.writeIndex(s, members, g)
	return nil
}

// indexAll makes the indexes that sealed segments lack.
func (l *Ledger) indexAll(ctx context.Context) {
	for _, s := range l.view.Load().segs {
		if ctx.Err() != nil || !s.sealed.Load() || s.index.Load() != nil {
			continue
		}
		if err := l.makeIndex(ctx, s); err != nil {
			if ctx.Err() == nil {
				l.log.Warn("index not made", "segment", s.name, "err", err)
			}
			continue
		}
		l.log.Info("index made", "segment", s.name)
	}
}

// doubt is told of a source that could not be read by its index, or not any
// more. An index that was not replaced meanwhile is wrong: it is dropped, and
// made again by the sealer.
func (l *Ledger) doubt(src *source, err error) {
	s := src.seg
	s.files.RLock()
	defer s.files.RUnlock()
	if src.x != nil && s.index.CompareAndSwap(src.x, nil) {
		l.log.Warn("index dropped", "segment", s.name, "err", err)
		wake(l.sealing)
	}
}

// makeIndexes makes the indexes of segments, several at a time, and tells how
// far it is.
func (l *Ledger) makeIndexes(ctx context.Context, segs []*segment) error {
	if len(segs) == 0 {
		return nil
	}
	l.log.Info("making indexes", "segments", len(segs))
	done, total, told := int64(0), int64(0), time.Now()
	for _, s := range segs {
		total += s.size
	}
	var mu sync.Mutex
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for _, s := range segs {
		g.Go(func() error {
			if err := l.makeIndex(gctx, s); err != nil && gctx.Err() == nil {
				l.log.Error("index not made", "segment", s.name, "err", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if done += s.size; time.Since(told) > time.Second || done == total {
				told = time.Now()
				l.log.Info("making indexes", "bytes_done", done, "bytes_total", total)
			}
			return gctx.Err()
		})
	}
	return g.Wait()
}

// eachOwn calls f for the lines of category ledger of a sealed segment. The
// index finds them; where it does not find as many as the manifest says all
// lines are read.
func (l *Ledger) eachOwn(s *segment, f func(*line)) error {
	lines, err := l.ownLines(s)
	if err != nil {
		if x := s.index.Load(); x != nil && !x.unclear {
			l.log.Warn("index dropped", "segment", s.name, "err", err)
			s.index.Store(nil)
		}
		return inflateAll(filepath.Join(l.dir, s.name+suffixSealed), s.most(), func(_ block, lines []byte) error {
			eachOf(lines, 0, func(raw []byte) bool {
				if ln, err := parseLine(raw); err == nil && string(ln.category) == CategoryLedger {
					f(&ln)
				}
				return true
			})
			return nil
		})
	}
	for i := range lines {
		f(&lines[i])
	}
	return nil
}

func (l *Ledger) ownLines(s *segment) (lines []line, err error) {
	ids, err := l.ownIDs(s)
	if err != nil {
		return nil, err
	}
	src, err := l.open(s)
	if err != nil {
		return nil, err
	}
	defer src.release()
	var buf buffer
	for len(ids) > 0 {
		at, n := src.find(ids[0]), 1
		for at >= 0 && n < len(ids) && src.holds(at, ids[n]) {
			n++
		}
		found, err := src.linesOf(at, ids[:n], &buf)
		if err != nil {
			return nil, err
		}
		for _, raw := range found {
			ln, err := parseLine(bytes.Clone(raw))
			if err != nil || string(ln.category) != CategoryLedger {
				return nil, errIndex
			}
			lines = append(lines, ln)
		}
		ids = ids[n:]
	}
	return lines, nil
}

func (l *Ledger) ownIDs(s *segment) (ids []ID, err error) {
	x := s.index.Load()
	if x == nil || x.unclear {
		return nil, errIndex
	}
	r := indexReader{index: x, kept: l.cache.bitmaps}
	defer r.close()
	bm, err := r.find(fieldCategory, CategoryLedger)
	if err != nil {
		return nil, errors.Join(err, errIndex)
	}
	if bm != nil {
		for pos := range roaring.Values(bm) {
			ids = append(ids, s.first+ID(pos))
		}
	}
	if int64(len(ids)) != s.manifest.count(CategoryLedger) {
		return nil, errIndex
	}
	return ids, nil
}
