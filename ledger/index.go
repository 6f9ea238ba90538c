package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync/atomic"
)

const (
	indexFolder  = "index"
	indexSuffix  = ".idx"
	indexMagic   = "ESINDEX\x01" // the last byte is the version
	indexPreface = len(indexMagic) + 8
	maxPart      = 1 << 28 // bytes of the file that are read at once
	dictBytes    = 4 << 10 // of values in one block of a dictionary, about
)

var (
	errIndex = errors.New("the index is damaged")
	errMoved = errors.New("the segment's files were replaced meanwhile")
)

// An index says of a sealed segment which positions hold which values, where
// its gzip members are and where its hours begin. It is derived from the
// lines: never evidence, and made again when it is not there or not right.
// Only this head of its file is in memory; the rest is read when asked for.
//
//	magic, length of the head, CRC-32C of the head, head
//	then per block of a dictionary: its values, each with the length and the
//	CRC-32C of its bitmap (RoaringBitmap's portable form) or, of one event
//	only, with 0 and its position; and those bitmaps
//
// A dictionary has the values of one field, sorted.
type index struct {
	path    string
	sum     uint32   // of the head: tells this file from one that replaced it
	digest  string   // of the manifest
	size    int64    // of the .gz
	gone    []string // categories that are no longer in the .gz, sorted
	body    int64    // bytes behind the head
	unclear bool     // the lines are not in order: only members hold
	first   ID
	members []block
	hours   []hourMark
	dicts   [indexedFields][]dictBlock

	counts atomic.Pointer[counts] // of all events, once somebody asked
}

// A dictBlock is some neighbouring values of one field in an index's file. Its
// bitmaps follow it there.
type dictBlock struct {
	first string // value
	off   int64
	n     int64
	sum   uint32
}

// openIndex reads the head of an index's file. Whether it is the index of the
// segment at hand is fits' to say.
func openIndex(path string) (*index, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	n, sum, err := readPreface(f)
	if err != nil {
		return nil, err
	}
	if n > maxPart || int64(indexPreface)+n > info.Size() {
		return nil, errIndex
	}
	head := make([]byte, n)
	if _, err := f.ReadAt(head, int64(indexPreface)); err != nil {
		return nil, err
	}
	if crc32.Checksum(head, castagnoli) != sum {
		return nil, errIndex
	}
	x := &index{path: path, sum: sum}
	if !x.parseHead(head) || int64(indexPreface)+n+x.body != info.Size() {
		return nil, errIndex
	}
	x.shift(int64(indexPreface) + n)
	return x, nil
}

func readPreface(f io.ReaderAt) (n int64, sum uint32, err error) {
	var b [indexPreface]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		return 0, 0, fmt.Errorf("%w: %w", errIndex, err)
	}
	if string(b[:len(indexMagic)]) != indexMagic {
		return 0, 0, errIndex
	}
	return int64(binary.LittleEndian.Uint32(b[len(indexMagic):])), binary.LittleEndian.Uint32(b[len(indexMagic)+4:]), nil
}

// lacks tells whether the .gz holds nothing more of some categories.
func (x *index) lacks(categories map[string]bool) bool {
	for c := range categories {
		if !slices.Contains(x.gone, c) {
			return false
		}
	}
	return true
}
