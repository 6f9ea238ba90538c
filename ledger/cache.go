package ledger

import "github.com/RoaringBitmap/roaring/v2"

// How many bytes of what was read are kept for the next who asks.
const (
	keepBitmaps = 16 << 20
	keepLines   = 8 << 20
	keepBounds  = 1 << 20
)

// sparse is how many lines of a block are few, so that they are worth keeping:
// it is inflating the block that costs.
const sparse = 128

// A cache keeps what answers took from sealed segments. Everything in it names
// the index that it belongs to, so that nothing is ever out of date.
type cache struct {
	bitmaps *recent[bitmapKey, *roaring.Bitmap]
	lines   *recent[lineKey, []byte]
	bounds  *recent[boundKey, ID]
}

// A lineKey names a line of a sealed segment, a boundKey the first id at or
// after a time.
type lineKey struct {
	x  *index
	id ID
}
type boundKey struct {
	x  *index
	at micros
}

func newCache() cache {
	return cache{newRecent[bitmapKey, *roaring.Bitmap](keepBitmaps), newRecent[lineKey, []byte](keepLines), newRecent[boundKey, ID](keepBounds)}
}

func (c *cache) line(src *source, id ID) ([]byte, bool) {
	if src.x == nil {
		return nil, false
	}
	return c.lines.get(lineKey{src.x, id})
}

// keep keeps a line, which must not be written to any more.
func (c *cache) keep(src *source, id ID, raw []byte) {
	if src.x != nil {
		c.lines.add(lineKey{src.x, id}, raw, len(raw)+100)
	}
}

// clear forgets all: what has aged out is to be nowhere.
func (c *cache) clear() {
	c.bitmaps.clear()
	c.lines.clear()
	c.bounds.clear()
}
