package ledger

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// memberSize is how many bytes of lines a gzip member holds, about.
const memberSize = 256 << 10

// maxRead is how many bytes of a segment are read into memory at once, where
// they are not packed as the store does.
const maxRead = 1 << 30

// blockLines is how many lines of a plain segment are read at once.
const blockLines = 256

// A view is what readers see: the state after a commit. It never changes.
type view struct {
	head    Head
	segs    []*segment // ended
	active  *segment   // nil before the first event
	tail    []part     // the active segment's last lines, as they were written
	config  Config
	counts  map[string]int64
	events  int64
	missing int64
	aged    int64
	agedBy  map[string]int64       // aged, by category
	gone    map[ID]map[string]bool // decided to age out: categories by their segment's first id
}

// all is every segment, oldest first.
func (v *view) all() []*segment {
	if v.active == nil {
		return v.segs
	}
	return append(slices.Clip(v.segs), v.active)
}

// A segment is a run of the chain in one file. For an ended one manifest is
// set, and it is sealed once its .gz is in place.
type segment struct {
	name                string
	first, last         ID
	firstTime, lastTime micros
	size                int64 // bytes of lines
	manifest            *Manifest
	digest              string
	sealID              ID     // of its segment_sealed; owned by the projection
	seal                []byte // what that says, where it is not what is on disk
	own                 int64  // of its own events, those that were read when it was loaded sealed
	doubt               error  // why what is on disk is not what was sealed, or not fit to be; set when it is loaded
	sealed              atomic.Bool
	disk                atomic.Int64 // bytes of its files, once sealed

	categoryMap []byte                     // of the manifest, not packed yet; until sealed
	lines       atomic.Pointer[plainLines] // of a plain segment, until sealed
	growing     atomic.Pointer[growing]    // the index until sealed
	index       atomic.Pointer[index]      // nil: the lines have to be read

	rewritten atomic.Pointer[map[string]bool] // categories known to be gone from the file; set by the sealer

	files   sync.RWMutex // held while the .gz and its index are replaced
	members []block      // of the .gz where there is no index; nil until somebody needs them
}

// plainLines are the lines of a plain segment that are events.
type plainLines struct {
	ids     []ID
	offsets []int64 // where they start
}

// A block is a run of whole lines that is read at once.
type block struct {
	first   ID // of its first line
	off     int64
	n       int64
	rawSize int64
	at      micros // no event from here on is earlier
	damaged bool   // it cannot be inflated to its end
}

// most is how many bytes the segment's .gz takes at most, and what is in it:
// a few bytes of gzip inflate to gigabytes, whoever wrote them.
func (s *segment) most() int64 { return min(s.size, maxRead) + maxContent }

func endedSegment(t *tally, lines plainLines, g *growing) *segment {
	m, categories := t.manifest()
	s := &segment{name: t.name, first: t.first, last: t.last, firstTime: t.firstTime, lastTime: t.lastTime,
		size: t.bytes, manifest: &m, digest: m.digest(), categoryMap: categories, doubt: t.hurt}
	s.lines.Store(&lines)
	s.growing.Store(g)
	return s
}

// statement is what segment_sealed says of the segment, as canonical JSON.
func (s *segment) statement() []byte {
	if s.seal != nil {
		return s.seal
	}
	return fmt.Appendf(nil, `{"first_id":"%s","last_hash":"%s","last_id":"%s","manifest_sha256":"%s","segment":"%s"}`,
		s.manifest.FirstID, s.manifest.LastHash, s.manifest.LastID, s.digest, s.name)
}
