package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// batchBytes is how many bytes of lines are checked at once, at least.
const batchBytes = 128 << 10

// maxContent is how many bytes a member that the store writes can hold: some
// lines and a longest one behind them.
const maxContent = 4 << 20

// A checkedLine is a line that was taken apart and held against its own hash.
type checkedLine struct {
	text  []byte // in a verification with its newline
	line  line
	err   error             // it is no event
	sum   [sha256.Size]byte // of its bytes
	sound bool              // sum is its hash
}

// A lineBatch is a run of whole lines on its way through a verification.
type lineBatch struct {
	packed []byte // the member that is to become text; empty: text is there
	at     int64  // where that begins in the file
	text   []byte
	runs   []lineRun
	cells  [][]byte      // categories of the leaves
	leaves []leaf        // of a sealed segment's events that follow others
	odd    []oddMember   // of the file, up to these lines at least
	other  bool          // the member is not as the store writes it
	done   chan struct{} // capacity 1: the lines are checked
}

var batches = sync.Pool{New: func() any { return &lineBatch{done: make(chan struct{}, 1)} }}

// takeBatches gives a verification the batches that all its segments share: so
// few that their lines stay near the cores, and enough that each core has one
// to go on with.
func (v *verification) takeBatches() (giveBack func()) {
	v.free = make(chan *lineBatch, 2*runtime.GOMAXPROCS(0)+1)
	for range cap(v.free) {
		v.free <- batches.Get().(*lineBatch)
	}
	return func() {
		for range cap(v.free) {
			batches.Put(<-v.free)
		}
	}
}

// giveBatch gives a batch back, without what one long line took.
func (v *verification) giveBatch(b *lineBatch) {
	if cap(b.text) > maxContent {
		b.text = nil
	}
	v.free <- b
}

// A source of batches is a segment that is read by whoever has one to fill.
type batchSource struct {
	next  func(*lineBatch) error
	order chan *lineBatch // as they were filled
	ended chan struct{}
	mu    sync.Mutex
	err   error
}

// fill fills a batch; false: nothing is left.
func (s *batchSource) fill(b *lineBatch) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
		return false
	default:
	}
	b.packed, b.text, b.odd, b.other = b.packed[:0], b.text[:0], nil, false
	err := s.next(b)
	s.order <- b
	if err != nil {
		s.end(err)
	}
	return true
}

func (s *batchSource) end(err error) {
	if !errors.Is(err, io.EOF) {
		s.err = err
	}
	close(s.ended)
	close(s.order)
}

// stop ends it before it ends by itself.
func (s *batchSource) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
	default:
		s.end(nil)
	}
}

// eachChecked takes the lines of a segment, in order, each checked for itself
// before. All cores read, inflate and check, each what it read itself. It ends
// at a member that is not as the store writes it: other is where.
func (v *verification) eachChecked(r *segmentResult, next func(*lineBatch) error) (other int64, err error) {
	s := &batchSource{next: next, order: make(chan *lineBatch, cap(v.free)), ended: make(chan struct{})}
	var busy sync.WaitGroup
	for range min(int64(runtime.GOMAXPROCS(0)), 1+r.in.size/batchBytes) {
		busy.Go(func() { v.checkBatches(s, r.index.usable(), r.counts) })
	}
	other = -1
	for b := range s.order {
		<-b.done
		if other < 0 && b.other {
			other = b.at
			s.stop()
		}
		if other < 0 {
			v.take(r, b)
		}
		v.giveBatch(b)
	}
	busy.Wait()
	return other, s.err
}

// errUnended is what a segment's reading ends with that has bytes behind its
// last newline.
var errUnended = errors.New("it does not end with a newline")

// wholeLines gives next for lines that are read from in.
func wholeLines(in io.Reader, odd func() []oddMember) (next func(*lineBatch) error) {
	var rest []byte // begins a line
	long := false   // that is longer than any: nothing of it is kept but its newline
	return func(b *lineBatch) error {
		b.text = append(b.text, rest...)
		for end := 0; ; {
			from := len(b.text)
			b.text = slices.Grow(b.text, batchBytes)
			n, err := in.Read(b.text[from:cap(b.text)])
			b.text = b.text[:from+n]
			if long {
				if n = bytes.IndexByte(b.text[from:], '\n'); n >= 0 {
					long = false
				} else {
					n = len(b.text) - from
				}
				b.text = slices.Delete(b.text, from, from+n)
			}
			if i := bytes.LastIndexByte(b.text[from:], '\n'); i >= 0 {
				end = from + i + 1
			}
			if len(b.text)-end > maxLine {
				b.text, long = b.text[:end], true
			}
			if err != nil || end >= batchBytes {
				rest = append(rest[:0], b.text[end:]...)
				b.text, b.odd = b.text[:end], odd()
				if errors.Is(err, io.EOF) && (long || len(rest) > 0) {
					return errUnended
				}
				return err
			}
		}
	}
}

// wholeMembers gives next for members that are read from in.
func wholeMembers(in io.Reader) (next func(*lineBatch) error) {
	at := int64(0)
	read := func(b *lineBatch, n int) (err error) {
		from := len(b.packed)
		b.packed = slices.Grow(b.packed, n)
		n, err = io.ReadFull(in, b.packed[from:from+n])
		b.packed = b.packed[:from+n]
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return io.EOF
		}
		return err
	}
	return func(b *lineBatch) error {
		b.at = at
		if err := read(b, memberHeader); err != nil {
			return err
		}
		n, err := memberLen(b.packed)
		if err != nil {
			return io.EOF // of such members
		}
		at += int64(n)
		return read(b, n-memberHeader)
	}
}

// A lineChecker takes lines apart and holds each against its own hash.
type lineChecker struct {
	parser  lineParser
	scratch []byte
	hasher  *hasher
	z       gzip.Reader
	in      bytes.Reader
	pair    [2]hashedLine   // scratch
	line    line            // scratch
	heads   map[ID][]string // their lines follow none
	index   *indexCheck     // to be added to; nil: none
	sealed  bool            // leaves are wanted
}

// check takes a line with its newline.
func (k *lineChecker) check(c *checkedLine, text []byte) {
	c.text, c.sound = text, false
	if c.err = k.parser.parse(text[:len(text)-1], &c.line); c.err == nil && c.line.gap == nil {
		k.scratch = k.parser.at.preimage(text, k.scratch)
		c.sum = sha256.Sum256(k.scratch)
		c.sound = isHex(c.line.hash, &c.sum)
	}
}

var checkers = sync.Pool{New: func() any { return newLineChecker() }}

func newLineChecker() *lineChecker { return &lineChecker{hasher: newHasher()} }

func (v *verification) checkBatches(s *batchSource, index *indexCheck, sealed bool) {
	k := checkers.Get().(*lineChecker)
	k.heads, k.index, k.sealed = v.heads, index, sealed
	defer func() {
		k.heads, k.index = nil, nil // of this segment only
		checkers.Put(k)
	}()
	for {
		var b *lineBatch
		select {
		case b = <-v.free:
		case <-s.ended:
			return
		}
		if !s.fill(b) {
			v.free <- b
			return
		}
		b.runs, b.cells, b.leaves = b.runs[:0], b.cells[:0], b.leaves[:0]
		if len(b.packed) > 0 {
			b.other = !k.inflate(b)
		}
		if !b.other {
			k.checkAll(b)
		}
		b.done <- struct{}{}
	}
}

// inflate gives a batch the lines of its member; false: it is not as the store
// writes it.
func (k *lineChecker) inflate(b *lineBatch) bool {
	if checkMember(b.packed) != nil {
		return false
	}
	size := int(binary.LittleEndian.Uint32(b.packed[len(b.packed)-4:]))
	if size > maxContent {
		return false
	}
	k.in.Reset(b.packed)
	if k.z.Reset(&k.in) != nil {
		return false
	}
	k.z.Multistream(false)
	b.text = slices.Grow(b.text, size+1)
	for {
		n, err := k.z.Read(b.text[len(b.text):min(cap(b.text), size+1)])
		b.text = b.text[:len(b.text)+n]
		if err == io.EOF {
			if dense := len(b.text) > 64*len(b.packed); dense && tooMany(int64(bytes.Count(b.text, []byte{'\n'})), int64(len(b.packed))) {
				return false
			}
			return k.in.Len() == 0 && bytes.HasSuffix(b.text, []byte{'\n'})
		}
		if err != nil || len(b.text) > size {
			return false
		}
	}
}
