package ledger

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

// A Saving is what ageing out gives back of one segment: bytes on disk. A gap
// line is mostly two hashes, so that a category whose events alternate with
// those of another gives little back, or less than nothing.
type Saving struct {
	Segment string `json:"segment"`
	Before  int64  `json:"bytes_before"`
	After   int64  `json:"bytes_after"`
}

// Sizes are the segments of cells with their bytes on disk, in Before and After.
func (l *Ledger) Sizes(cells []Cell) []Saving {
	savings := []Saving{}
	for _, s := range l.view.Load().of(cells) {
		savings = append(savings, Saving{s.name, s.disk.Load(), s.disk.Load()})
	}
	return savings
}

// of lists the segments of cells, each once.
func (v *view) of(cells []Cell) (segs []*segment) {
	for _, c := range cells {
		id, err := ParseID(c.FirstID)
		if s := v.segment(id); err == nil && s != nil && !slices.Contains(segs, s) {
			segs = append(segs, s)
		}
	}
	return segs
}

// Preview says what ageing out cells that Due listed would give back: it does
// the rewrite, into nothing. progress is called after each segment, by several
// goroutines.
func (l *Ledger) Preview(ctx context.Context, cells []Cell, progress func(done, total int)) ([]Saving, error) {
	v, savings := l.view.Load(), l.Sizes(cells)
	var done atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for i, s := range v.of(cells) {
		gone := maps.Clone(v.gone[s.first])
		if gone == nil {
			gone = map[string]bool{}
		}
		for _, c := range cells {
			if c.Segment == s.name {
				gone[c.Category] = true
			}
		}
		g.Go(func() error {
			n, err := l.saved(ctx, s, gone)
			if err != nil {
				return fmt.Errorf("segment %s: %w", s.name, err)
			}
			savings[i].After -= n
			progress(int(done.Add(1)), len(savings))
			return nil
		})
	}
	return savings, g.Wait()
}

// saved is by how many bytes a segment's .gz would shrink.
func (l *Ledger) saved(ctx context.Context, s *segment, gone map[string]bool) (int64, error) {
	path := filepath.Join(l.dir, s.name+suffixSealed)
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	z := newZipper(writerFunc(func(b []byte) (int, error) { return len(b), ctx.Err() }))
	if err := withoutCells(path, gone, z, newGrowing(s.first)); err != nil {
		return 0, err
	}
	return info.Size() - z.off, nil
}

type writerFunc func(b []byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
