package ledger

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
)

// A Count is how many events a filter chooses.
type Count struct {
	Events     int64            `json:"count"`
	Categories map[string]int64 `json:"categories"`
	Days       []DayCount       `json:"days"` // oldest first; without those that have no events
}

// A DayCount is a Count of one day in UTC.
type DayCount struct {
	Day        string           `json:"day"` // as 2006-01-02
	Events     int64            `json:"count"`
	Categories map[string]int64 `json:"categories"`
}

// Count counts the events that a filter chooses, per category and day. Its
// order and limit mean nothing here. Lines are read only for Text and where a
// segment has no index.
func (l *Ledger) Count(ctx context.Context, f Filter) (Count, error) {
	f.Limit = 0
	q := l.query(f)
	var c counts
	err := q.run(func() error {
		c = counts{}
		if q.m.text != nil {
			return q.countLines(ctx, q.picks(), c)
		}
		for s := range q.segments() {
			if err := q.countSegment(ctx, s, c); err != nil {
				return err
			}
		}
		return nil
	})
	return c.total(), err
}

// counts are events by day, counted from 1970, and category.
type counts map[dayCell]int64

type dayCell struct {
	day      int64
	category string
}

func (c counts) total() Count {
	all := Count{Categories: map[string]int64{}, Days: []DayCount{}}
	cells := slices.SortedFunc(maps.Keys(c), func(a, b dayCell) int { return cmp.Compare(a.day, b.day) })
	for _, cell := range cells {
		n, day := c[cell], time.Unix(cell.day*24*3600, 0).UTC().Format(time.DateOnly)
		if len(all.Days) == 0 || all.Days[len(all.Days)-1].Day != day {
			all.Days = append(all.Days, DayCount{Day: day, Categories: map[string]int64{}})
		}
		last := &all.Days[len(all.Days)-1]
		last.Categories[cell.category] = n
		last.Events += n
		all.Categories[cell.category] += n
		all.Events += n
	}
	return all
}

// countLines counts by reading.
func (q *query) countLines(ctx context.Context, picks func(func(pick) bool), c counts) error {
	return q.inOrder(ctx, picks, func(r found) error {
		for _, raw := range r.lines {
			if ln, err := parseLine(raw); err == nil {
				c[dayCell{int64(ln.time) / microsPerHour / 24, string(ln.category)}]++
			}
		}
		return nil
	})
}

// countSegment counts by the segment's index, or by its lines where it has none.
func (q *query) countSegment(ctx context.Context, s *segment, c counts) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p, err := q.plan(s)
	switch {
	case q.passes(s, err):
		return nil
	case err != nil:
		return err
	}
	defer p.src.release()
	if !p.ordered || p.near || q.read[p.src.seg] != nil {
		return q.countLines(ctx, func(yield func(pick) bool) {
			all := -1
			p.picks(true, &all, yield)
		}, c)
	}
	found, err := p.count(&q.l.cache)
	if err != nil {
		return &sourceError{p.src, err}
	}
	for cell, n := range found {
		c[cell] += n
	}
	return nil
}

// count asks the index. What it says of a whole sealed segment is kept.
func (p *plan) count(ca *cache) (counts, error) {
	s := p.src.seg
	whole := p.src.x != nil && p.ids == nil && len(p.m.gone) == 0 && p.from == s.first && p.to == s.last
	if whole {
		if known := p.src.x.counts.Load(); known != nil {
			return *known, nil
		}
	}
	c := counts{}
	if p.from > p.to {
		return c, nil
	}
	days := p.days()
	err := p.src.ask(ca, func(in lookup) error {
		categories, err := in.values(fieldCategory)
		for _, name := range categories {
			if err != nil || p.m.gone[name] {
				continue
			}
			var bm *roaring.Bitmap
			if bm, err = in.find(fieldCategory, name); err != nil || bm == nil {
				continue
			}
			if p.ids != nil {
				bm = roaring.And(p.ids, bm)
			}
			for _, d := range days {
				if n := bm.CardinalityInRange(d.from, d.to); n > 0 {
					c[dayCell{d.day, name}] += int64(n)
				}
			}
		}
		return err
	})
	if err == nil && whole {
		p.src.x.counts.Store(&c)
	}
	return c, err
}

// A dayRange is a day and the positions that its events have: from <= position < to.
type dayRange struct {
	day      int64
	from, to uint64
}

// days cuts the plan's range at the days.
func (p *plan) days() (days []dayRange) {
	marks, _ := p.src.hours()
	first := p.src.seg.first
	from, to := uint64(p.from-first), uint64(p.to-first)+1
	for i, m := range marks {
		d := dayRange{m.hour / 24, max(uint64(m.pos), from), to}
		if i+1 < len(marks) {
			d.to = min(to, uint64(marks[i+1].pos))
		}
		switch n := len(days); {
		case d.from >= d.to:
		case n > 0 && days[n-1].day == d.day:
			days[n-1].to = d.to
		default:
			days = append(days, d)
		}
	}
	return days
}
