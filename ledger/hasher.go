package ledger

import (
	"crypto/sha256"
	"encoding"
	"encoding/binary"
	"hash"
)

// A hasher is SHA-256 of many short texts, two at a time where there are two: a
// block waits for the one before it, for most of the time that it takes, and
// the core works on the other text meanwhile.
//
// Around each text sha256.Sum256 takes as long as a block or more: it clears a
// state, copies it twice and pads in a buffer of its own. Here texts are padded
// where they stand (FIPS 180-4, section 5.1.1), so that a state, used again,
// sees whole blocks only and is the sum behind the last.
type hasher struct {
	one, two   digest
	state      []byte
	leafTexts  [2][1 * sha256.BlockSize]byte // what Merkle trees hash, padded
	innerTexts [2][2 * sha256.BlockSize]byte
}

type digest interface {
	hash.Hash
	encoding.BinaryAppender
}

const (
	stateFrom = len("sha\x03")       // in what a digest appends: then the state's eight words, big-endian
	turnBytes = 2 * sha256.BlockSize // of a text, before it is the other's turn
)

func newHasher() *hasher {
	s := &hasher{one: sha256.New().(digest), two: sha256.New().(digest)}
	for i := range s.leafTexts {
		padded(s.leafTexts[i][:1+sha256.Size])
		s.innerTexts[i][0] = 1
		padded(s.innerTexts[i][:1+2*sha256.Size])
	}
	if s.sum(padded([]byte("abc"))) != sha256.Sum256([]byte("abc")) {
		panic("ledger: crypto/sha256 gives its state in another form")
	}
	return s
}

// padded appends to a text what makes it whole blocks.
func padded(text []byte) []byte {
	const end = sha256.BlockSize - 8 // then the length in bits
	n := len(text)
	text = append(text, 0x80)
	var zeros [sha256.BlockSize]byte
	text = append(text, zeros[:(end-len(text)%sha256.BlockSize+sha256.BlockSize)%sha256.BlockSize]...)
	return binary.BigEndian.AppendUint64(text, uint64(n)<<3)
}

// sum is the hash of a padded text.
func (s *hasher) sum(text []byte) (sum [sha256.Size]byte) {
	s.one.Reset()
	s.one.Write(text)
	s.end(s.one, &sum)
	return sum
}

// sums are the hashes of two padded texts.
func (s *hasher) sums(a, b []byte) (x, y [sha256.Size]byte) {
	s.one.Reset()
	s.two.Reset()
	for len(a) > turnBytes && len(b) > turnBytes {
		s.one.Write(a[:turnBytes])
		s.two.Write(b[:turnBytes])
		a, b = a[turnBytes:], b[turnBytes:]
	}
	s.one.Write(a)
	s.two.Write(b)
	s.end(s.one, &x)
	s.end(s.two, &y)
	return x, y
}

func (s *hasher) end(d digest, sum *[sha256.Size]byte) {
	s.state, _ = d.AppendBinary(s.state[:0]) // never fails
	copy(sum[:], s.state[stateFrom:])
}

// leaf is the hash of a Merkle tree's leaf with some data (RFC 6962, section 2.1).
func (s *hasher) leaf(data *[sha256.Size]byte) [sha256.Size]byte {
	copy(s.leafTexts[0][1:], data[:])
	return s.sum(s.leafTexts[0][:])
}

func (s *hasher) leaves(a, b *[sha256.Size]byte) (x, y [sha256.Size]byte) {
	copy(s.leafTexts[0][1:], a[:])
	copy(s.leafTexts[1][1:], b[:])
	return s.sums(s.leafTexts[0][:], s.leafTexts[1][:])
}

// node is the hash of an inner node.
func (s *hasher) node(left, right *[sha256.Size]byte) [sha256.Size]byte {
	s.inner(0, left, right)
	return s.sum(s.innerTexts[0][:])
}

// nodes are the hashes of two inner nodes, of the first and the last two of four below.
func (s *hasher) nodes(below [4]*[sha256.Size]byte) (x, y [sha256.Size]byte) {
	s.inner(0, below[0], below[1])
	s.inner(1, below[2], below[3])
	return s.sums(s.innerTexts[0][:], s.innerTexts[1][:])
}

func (s *hasher) inner(i int, left, right *[sha256.Size]byte) {
	copy(s.innerTexts[i][1:], left[:])
	copy(s.innerTexts[i][1+sha256.Size:], right[:])
}
