package ledger

import (
	"errors"
	"fmt"
	"slices"
	"sort"

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

// holds tells whether a block is where an id's line would be.
func (src *source) holds(at int, id ID) bool {
	return id >= src.block(at).first && (at+1 == src.blocks() || id < src.block(at+1).first)
}

// firstAt gives the first id whose event is not earlier than a time. The hours
// narrow it down; within one, of a sealed segment one block is read.
func (src *source) firstAt(t micros, c *cache) (ID, error) {
	marks, _ := src.hours()
	hour := int64(t) / microsPerHour
	i := sort.Search(len(marks), func(i int) bool { return marks[i].hour >= hour })
	if i == len(marks) {
		return src.seg.last + 1, nil
	}
	from := src.seg.first + ID(marks[i].pos)
	if marks[i].hour > hour || int64(t)%microsPerHour == 0 {
		return from, nil
	}
	if src.plain != nil {
		return src.firstPlainAt(t, from)
	}
	if id, ok := c.bounds.get(boundKey{src.x, t}); ok {
		return id, nil
	}
	id, err := src.firstSealedAt(t)
	if err == nil {
		c.bounds.add(boundKey{src.x, t}, id, 64)
	}
	return id, err
}

// firstSealedAt looks into the one block that begins before a time and whose
// successor does not.
func (src *source) firstSealedAt(t micros) (ID, error) {
	at := sort.Search(len(src.members), func(i int) bool { return src.members[i].at >= t })
	id := src.seg.last + 1
	if at < len(src.members) {
		id = src.members[at].first
	}
	if at == 0 {
		return id, nil
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	err := src.each(src.members[at-1], buf, func(raw []byte) bool {
		ln, err := parseLine(raw)
		if err != nil || ln.gap != nil || ln.time < t {
			return true
		}
		id = ln.id
		return false
	})
	return id, err
}

// firstPlainAt searches the lines of a plain segment.
func (src *source) firstPlainAt(t micros, from ID) (ID, error) {
	p := src.plain
	low, _ := p.find(from)
	var failed error
	i := low + sort.Search(len(p.ids)-low, func(i int) bool {
		at, err := src.timeOf(low + i)
		failed = errors.Join(failed, err)
		return at >= t
	})
	if i == len(p.ids) {
		return src.seg.last + 1, failed
	}
	return p.ids[i], failed
}

// timeOf reads the timestamp of a plain segment's line: the second member, at
// its fixed place.
func (src *source) timeOf(i int) (micros, error) {
	const before = len(`{"id":"000000000001","timestamp":"`)
	var b [before + len(timestampLayout)]byte
	if err := readAt(src.f, b[:], src.plain.offsets[i]); err != nil {
		return 0, err
	}
	at, err := parseMicros(b[before:])
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return at, err
}
