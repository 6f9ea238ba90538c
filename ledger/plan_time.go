package ledger

import (
	"errors"
	"fmt"
	"sort"
)

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
