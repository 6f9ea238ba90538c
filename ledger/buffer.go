package ledger

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/klauspost/compress/gzip"
)

// inflateStep is how many bytes of lines are inflated before they are looked
// at: it is what the format looks back, too.
const inflateStep = 32 << 10

// A buffer is what reading a block needs. Buffers are used again.
type buffer struct {
	z      gzip.Reader
	in     bytes.Reader
	zipped []byte
	lines  []byte
	lower  []byte
	image  []byte // of the line whose hash is compared
	summed bool   // the lines are as their member's checksum says
}

var buffers = sync.Pool{New: func() any { return new(buffer) }}

func (buf *buffer) inflate(b block, most int64, f func(raw []byte) bool) error {
	if checkMember(buf.zipped) != nil || b.rawSize > most {
		return buf.inflateOdd(most, f)
	}
	buf.in.Reset(buf.zipped)
	if err := buf.z.Reset(&buf.in); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	lines, next := slices.Grow(buf.lines[:0], int(b.rawSize)+1), 0
	defer func() { buf.lines = lines }()
	for {
		n, err := buf.z.Read(lines[len(lines):min(len(lines)+inflateStep, int(b.rawSize)+1)])
		lines = lines[:len(lines)+n]
		if int64(len(lines)) > b.rawSize {
			return fmt.Errorf("%w: a member is longer than known", ErrDamaged)
		}
		var more bool
		if next, more = eachOf(lines, next, f); !more || err == io.EOF {
			buf.summed = more
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
}

// inflateOdd is inflate for what is no member as the store writes it: as far as
// it is gzip all the same, its lines are there to be read.
func (buf *buffer) inflateOdd(most int64, f func(raw []byte) bool) error {
	w := bytes.NewBuffer(buf.lines[:0])
	err := readMost(w, newMemberReader(bytes.NewReader(buf.zipped), len(buf.zipped)), most)
	buf.lines = w.Bytes()
	if _, more := eachOf(buf.lines, 0, f); more && err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// readable tells whether a line may be served: it is what was chained, or JSON
// all the same, as an edited event is, which who reads shall see.
func (buf *buffer) readable(raw []byte) bool {
	var at places
	if !at.find(raw) {
		return false
	}
	buf.image = at.preimage(raw, buf.image)
	sum := sha256.Sum256(buf.image)
	return isHex(at.hash(raw), &sum) || jsontext.Value(raw).IsValid()
}

// eachOf calls f for the whole lines from at on; next is where the rest begins.
func eachOf(lines []byte, at int, f func(raw []byte) bool) (next int, more bool) {
	for {
		n := bytes.IndexByte(lines[at:], '\n')
		if n < 0 {
			return at, true
		}
		raw := lines[at : at+n : at+n]
		if at += n + 1; !f(raw) {
			return at, false
		}
	}
}

func grown(b []byte, n int64) []byte { return slices.Grow(b[:0], int(n))[:n] }

// readAt fills b; a file that is too short is damaged.
func readAt(f *os.File, b []byte, off int64) error {
	_, err := f.ReadAt(b, off)
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: the file is too short", ErrDamaged)
	}
	return err
}
