package ledger

import (
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
)

// nearLines is how many lines of a plain segment are few enough to look at all.
const nearLines = 64

// A plan is how a query reads one segment.
type plan struct {
	src      *source
	m        matcher         // with what is gone from the segment
	from, to ID              // the ids that may match, both inclusive
	ids      *roaring.Bitmap // positions that match but for the text; nil: all have to be looked at
	ordered  bool            // the lines are where their ids say
	near     bool            // so few ids that looking at their lines is cheaper than asking the index
}

// plan asks the segment's index what has to be read. The caller releases the
// source.
func (q *query) plan(s *segment) (*plan, error) {
	src, err := q.l.open(s)
	if err != nil {
		return nil, err
	}
	p := &plan{src: src, m: q.m, from: max(s.first, q.m.after+1), to: min(s.last, q.m.before-1)}
	p.m.gone = q.v.gone[s.first]
	if _, p.ordered = src.hours(); !p.ordered || q.read[src.seg] != nil {
		return p, nil
	}
	if p.near = src.plain != nil && p.to-p.from < nearLines; p.near {
		return p, nil
	}
	err = p.narrow(&q.l.cache)
	if err == nil && (q.m.selective() || q.few()) {
		err = src.ask(&q.l.cache, func(in lookup) (err error) {
			p.ids, err = p.m.positions(in)
			return err
		})
	}
	if err != nil {
		src.release()
		return nil, &sourceError{src, err}
	}
	return p, nil
}

// few tells whether so little is wanted that it is cheaper to know which lines
// than to look at whole blocks.
func (q *query) few() bool { return q.bare || q.left > 0 && q.m.text == nil }

// narrow turns the time range into a range of ids: timestamps never fall.
func (p *plan) narrow(c *cache) error {
	s := p.src.seg
	if p.m.start > s.firstTime {
		id, err := p.src.firstAt(p.m.start, c)
		if err != nil {
			return err
		}
		p.from = max(p.from, id)
	}
	if p.m.end < s.lastTime {
		id, err := p.src.firstAt(p.m.end+1, c)
		if err != nil {
			return err
		}
		p.to = min(p.to, id-1)
	}
	return nil
}

// positions are those that the filter's fields choose: alternatives of one
// field are united, fields intersected, and what aged out taken away.
func (m *matcher) positions(in lookup) (*roaring.Bitmap, error) {
	var all *roaring.Bitmap
	for f, values := range m.fields {
		if len(values) == 0 {
			continue
		}
		any, err := in.union(f, values)
		if err != nil {
			return nil, err
		}
		if all == nil {
			all = any
		} else {
			all.And(any)
		}
		if all.IsEmpty() {
			return all, nil
		}
	}
	if all == nil { // no field is asked for: every event has a category
		categories, err := in.values(fieldCategory)
		if err != nil {
			return nil, err
		}
		if all, err = in.union(fieldCategory, categories); err != nil {
			return nil, err
		}
	}
	for c := range m.gone {
		bm, err := in.find(fieldCategory, c)
		if err != nil {
			return nil, err
		}
		if bm != nil {
			all.AndNot(bm)
		}
	}
	return all, nil
}

// union gives the positions that hold any of the values; the caller owns it.
func (in lookup) union(field int, values []string) (*roaring.Bitmap, error) {
	var some []*roaring.Bitmap
	for _, v := range values {
		bm, err := in.find(field, v)
		if err != nil {
			return nil, err
		}
		if bm != nil {
			some = append(some, bm)
		}
	}
	return roaring.FastOr(some...), nil
}

// picks yields what has to be read, block by block. want is how many more
// events are wanted, below 0 for all; it is counted down where they are known.
func (p *plan) picks(up bool, want *int, yield func(pick) bool) bool {
	if p.from > p.to || p.src.blocks() == 0 {
		return true
	}
	switch {
	case p.near:
		return p.nearPick(yield)
	case p.ids == nil:
		return p.allPicks(up, yield)
	}
	first := p.src.seg.first
	p.ids.RemoveRange(0, uint64(p.from-first))
	p.ids.RemoveRange(uint64(p.to-first)+1, 1<<32)
	ids := roaring.Backward(p.ids)
	if up {
		ids = roaring.Values(p.ids)
	}
	next := pick{src: p.src, m: &p.m, at: -1}
	for pos := range ids {
		if *want == 0 {
			break
		}
		id := first + ID(pos)
		if next.at < 0 || !p.src.holds(next.at, id) {
			if !p.send(next, up, yield) {
				return false
			}
			next.at, next.ids = p.src.find(id), nil
		}
		next.ids = append(next.ids, id)
		*want--
	}
	return p.send(next, up, yield)
}

func (p *plan) send(k pick, up bool, yield func(pick) bool) bool {
	if len(k.ids) == 0 {
		return true
	}
	if !up {
		slices.Reverse(k.ids)
	}
	p.src.use()
	if !yield(k) {
		p.src.release()
		return false
	}
	return true
}

// nearPick is one of all lines in the plan's range: of a follower, say, those
// that came since it looked last.
func (p *plan) nearPick(yield func(pick) bool) bool {
	ids := p.src.plain.ids
	low, _ := slices.BinarySearch(ids, p.from)
	high, _ := slices.BinarySearch(ids, p.to+1)
	if low == high {
		return true
	}
	p.src.use()
	if !yield(pick{src: p.src, m: &p.m, at: low / blockLines, ids: ids[low:high], loose: true}) {
		p.src.release()
		return false
	}
	return true
}

// allPicks are the blocks that can hold ids of the plan's range.
func (p *plan) allPicks(up bool, yield func(pick) bool) bool {
	low, high := 0, p.src.blocks()-1
	if p.ordered {
		low, high = max(p.src.find(p.from), 0), p.src.find(p.to)
	}
	for i := low; i <= high; i++ {
		k := pick{src: p.src, m: &p.m, at: i}
		if !up {
			k.at = high - (i - low)
		}
		p.src.use()
		if !yield(k) {
			p.src.release()
			return false
		}
	}
	return true
}
