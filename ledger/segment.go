package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
)

// memberSize is how many bytes of lines a gzip member holds, about.
const memberSize = 256 << 10

// blockLines is how many lines of a plain segment are read at once.
const blockLines = 256

// A view is what readers see: the state after a commit. It never changes.
type view struct {
	head    Head
	segs    []*segment // ended
	active  *segment   // nil before the first event
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
	sealID              ID // of its segment_sealed; owned by the projection
	sealed              atomic.Bool
	disk                atomic.Int64 // bytes of its files, once sealed

	ids     []ID    // of the lines of a plain segment
	offsets []int64 // where those lines start

	rewritten int // how many of its cells are known to be gone from the file; owned by the sealer

	files   sync.RWMutex // held while the .gz is replaced
	members []block      // of the .gz; nil until somebody needs them
}

// A block is a run of whole lines that is read at once.
type block struct {
	first   ID // of its first line
	off     int64
	n       int64
	rawSize int64
}

func endedSegment(t *tally, ids []ID, offsets []int64) *segment {
	m := t.manifest()
	return &segment{name: t.name, first: t.first, last: t.last, firstTime: t.firstTime, lastTime: t.lastTime,
		size: t.bytes, manifest: &m, digest: m.digest(), ids: ids, offsets: offsets}
}

// statement is what segment_sealed says of the segment, as canonical JSON.
func (s *segment) statement() []byte {
	return fmt.Appendf(nil, `{"first_id":"%s","last_hash":"%s","last_id":"%s","manifest_sha256":"%s","segment":"%s"}`,
		s.manifest.FirstID, s.manifest.LastHash, s.manifest.LastID, s.digest, s.name)
}

// A source is an open segment. It stays readable when the segment is sealed or
// rewritten meanwhile.
type source struct {
	f      *os.File
	blocks []block
	zip    bool
}

func (s *segment) open(dir string) (*source, error) {
	if s.ids != nil && !s.sealed.Load() {
		f, err := os.Open(filepath.Join(dir, s.name+suffixPlain))
		if err == nil {
			return &source{f: f, blocks: s.plainBlocks()}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return s.openSealed(filepath.Join(dir, s.name+suffixSealed))
}

// openSealed opens the .gz together with the members that it has now.
func (s *segment) openSealed(path string) (*source, error) {
	s.files.RLock()
	f, err := os.Open(path)
	members := s.members
	s.files.RUnlock()
	if err != nil || members != nil {
		return &source{f: f, blocks: members, zip: true}, err
	}
	f.Close()
	s.files.Lock()
	if s.members == nil {
		s.members, err = scanMembers(path)
	}
	s.files.Unlock()
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", s.name, err)
	}
	return s.openSealed(path)
}

func (s *segment) plainBlocks() []block {
	blocks := make([]block, 0, len(s.ids)/blockLines+1)
	for i := 0; i < len(s.ids); i += blockLines {
		end := s.size
		if i+blockLines < len(s.ids) {
			end = s.offsets[i+blockLines]
		}
		blocks = append(blocks, block{first: s.ids[i], off: s.offsets[i], n: end - s.offsets[i]})
	}
	return blocks
}

// read gives the lines of a block. buf is reused where it is large enough.
func (src *source) read(b block, buf []byte) ([]byte, error) {
	if !src.zip {
		buf = slices.Grow(buf[:0], int(b.n))[:b.n]
		_, err := src.f.ReadAt(buf, b.off)
		return buf, err
	}
	z, err := gzip.NewReader(io.NewSectionReader(src.f, b.off, b.n))
	if err != nil {
		return nil, err
	}
	w := bytes.NewBuffer(slices.Grow(buf[:0], int(b.rawSize)+bytes.MinRead))
	_, err = w.ReadFrom(z)
	return w.Bytes(), err
}

// scanMembers finds the members of a sealed segment, for one that was sealed
// by an earlier run.
func scanMembers(path string) ([]block, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var blocks []block
	var raw bytes.Buffer
	for off := 0; off < len(content); {
		n, err := memberLen(content[off:])
		if err != nil || n > len(content)-off {
			return nil, fmt.Errorf("byte %d: %w", off, errMember)
		}
		raw.Reset()
		if _, err := raw.ReadFrom(newMemberReader(bytes.NewReader(content[off : off+n]))); err != nil {
			return nil, err
		}
		first, err := firstID(raw.Bytes())
		if err != nil {
			return nil, err
		}
		blocks = append(blocks, block{first, int64(off), int64(n), int64(raw.Len())})
		off += n
	}
	return blocks, nil
}

// firstID is the id that a block of lines starts with; of a gap its first.
func firstID(lines []byte) (ID, error) {
	first, _, _ := bytes.Cut(lines, []byte{'\n'})
	l, err := parseLine(first)
	if err != nil {
		return 0, err
	}
	if l.gap != nil {
		return l.gap.first, nil
	}
	return l.id, nil
}
