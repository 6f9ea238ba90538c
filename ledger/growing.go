package ledger

import (
	"math"
	"sync"

	"github.com/RoaringBitmap/roaring/v2"
)

// The fields that an index knows, in the order of its file.
const (
	fieldCategory = iota
	fieldAction
	fieldActor
	fieldTarget
	fieldResult
	indexedFields
)

// indexed are a line's values of the fields that an index knows.
func (l *line) indexed() [indexedFields][]byte {
	return [indexedFields][]byte{l.category, l.action, l.actor, l.target, l.result}
}

const microsPerHour = 3600 * 1_000_000

// An hourMark is the first event of an hour, counted from 1970 in UTC, that has
// any: so that a time range is a range of positions.
type hourMark struct {
	hour int64
	pos  uint32
}

// A growing is the index of a segment that still takes events: which positions
// hold which values. A position is an id less the segment's first, so that it
// stays when the file is rewritten. The projection adds, readers ask; both hold
// mu for moments only.
type growing struct {
	first ID

	mu      sync.Mutex
	values  [indexedFields]map[string]*posting
	hours   []hourMark
	next    uint32 // the lowest position that may follow
	last    micros
	unclear bool // the lines are not in order: they have to be read to be found
}

// A posting is where a value is. The last positions wait in few: a bitmap takes
// many at once more cheaply, and many values are in a few events only.
type posting struct {
	few []uint32
	all *roaring.Bitmap // nil until there are many, or somebody asks
}

// fewest is how many positions a bitmap takes at once.
const fewest = 64

func (p *posting) add(pos uint32) {
	if p.few = append(p.few, pos); len(p.few) == fewest {
		p.fold()
	}
}

func (p *posting) fold() {
	if p.all == nil {
		p.all = roaring.New()
	}
	p.all.AddMany(p.few)
	p.few = p.few[:0]
}

// bitmap gives the positions; nil for no posting.
func (p *posting) bitmap() *roaring.Bitmap {
	switch {
	case p == nil:
		return nil
	case p.all == nil && len(p.few) == 1:
		return roaring.BitmapOf(p.few...)
	case len(p.few) > 0:
		p.fold()
	}
	return p.all
}

func newGrowing(first ID) *growing {
	g := &growing{first: first, last: math.MinInt64}
	for i := range g.values {
		g.values[i] = map[string]*posting{}
	}
	return g
}

// add takes the next event.
func (g *growing) add(l *line) {
	g.mu.Lock()
	defer g.mu.Unlock()
	at := l.id - g.first
	if l.id < g.first || at >= math.MaxUint32 || uint32(at) < g.next || l.time < g.last {
		g.unclear = true
		return
	}
	pos := uint32(at)
	for i, v := range l.indexed() {
		p := g.values[i][string(v)]
		if p == nil {
			p = &posting{}
			g.values[i][string(v)] = p
		}
		p.add(pos)
	}
	if hour := int64(l.time) / microsPerHour; len(g.hours) == 0 || g.hours[len(g.hours)-1].hour != hour {
		g.hours = append(g.hours, hourMark{hour, pos})
	}
	g.next, g.last = pos+1, l.time
}

// take takes a line as parseLine gave it.
func (g *growing) take(l *line, err error) {
	switch {
	case err != nil:
		g.skip()
	case l.gap == nil:
		g.add(l)
	}
}

// skip notes a line that is no event.
func (g *growing) skip() {
	g.mu.Lock()
	g.unclear = true
	g.mu.Unlock()
}
