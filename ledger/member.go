package ledger

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/klauspost/compress/gzip"
)

// A member is a gzip member (RFC 1952) as the store writes it. Its header has
// no time, no name, and one extra field with the length and the CRC-32C of the
// compressed bytes. Why: gzip's own checksum is of the content, and a flipped
// bit in a header, in the padding or in the distance of a match can leave the
// content as it was. With the second checksum every flipped bit is found, and
// before anything is inflated.
const (
	memberMagic  = "\x1f\x8b\x08\x04\x00\x00\x00\x00\x00\xff\x0c\x00ES\x08\x00"
	memberHeader = len(memberMagic) + 8 // then length and CRC-32C, little-endian
	memberEnd    = 8                    // CRC-32 and length of the content
	maxMember    = 16 << 20             // bytes of one, compressed
	streamBuffer = 4 << 20              // holds every member that the sealer makes
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var (
	errMember = errors.New("not a gzip member as the store writes it")
	errMany   = fmt.Errorf("%w: it has more lines than so few bytes can be events of", errMember)
)

// tooMany tells whether lines are more than packed bytes can be events of: each
// has a hash, and no compressor makes less than 32 bytes of that. A megabyte of
// gzip has room for a thousand million newlines, and each would be looked at.
func tooMany(lines, packed int64) bool { return lines > 1024+packed/16 }

// A memberWriter makes members.
type memberWriter struct {
	out bytes.Buffer
	z   *gzip.Writer
}

// pack gives content as one member, valid until the next call.
func (w *memberWriter) pack(content []byte) ([]byte, error) {
	if w.z == nil {
		w.z = gzip.NewWriter(nil)
	}
	w.out.Reset()
	w.z.Reset(&w.out)
	w.z.ModTime = time.Unix(0, 0) // 0 in the header: no time
	w.z.Extra = []byte(memberMagic[12:] + "\x00\x00\x00\x00\x00\x00\x00\x00")
	if _, err := w.z.Write(content); err != nil {
		return nil, err
	}
	if err := w.z.Close(); err != nil {
		return nil, err
	}
	b := w.out.Bytes()
	packed := b[memberHeader : len(b)-memberEnd]
	binary.LittleEndian.PutUint32(b[len(memberMagic):], uint32(len(packed)))
	binary.LittleEndian.PutUint32(b[len(memberMagic)+4:], crc32.Checksum(packed, castagnoli))
	return b, nil
}

// memberLen is how many bytes the member takes that begins with head.
func memberLen(head []byte) (int, error) {
	if len(head) < memberHeader || string(head[:len(memberMagic)]) != memberMagic {
		return 0, errMember
	}
	n := binary.LittleEndian.Uint32(head[len(memberMagic):])
	if n > maxMember {
		return 0, errMember
	}
	return memberHeader + int(n) + memberEnd, nil
}

// checkMember holds a member against the checksum of its compressed bytes. None
// is empty.
func checkMember(b []byte) error {
	n, err := memberLen(b)
	if err != nil {
		return err
	}
	if n != len(b) || binary.LittleEndian.Uint32(b[n-4:]) == 0 || crc32.Checksum(b[memberHeader:n-memberEnd], castagnoli) != binary.LittleEndian.Uint32(b[len(memberMagic)+4:]) {
		return errMember
	}
	return nil
}

// A memberReader reads the content of members one behind the other. What is no
// member as the store writes it, but gzip all the same (somebody packed the
// file again, or a bit of a header is flipped), is read too and noted in odd. So
// is one that does not end with a line.
type memberReader struct {
	in   *bufio.Reader
	at   int64 // where the member at hand begins
	next int64 // where the one behind a sound member begins
	odd  []oddMember
	raw  bool          // these are no lines
	line int64         // lines read
	cut  bool          // they end within one
	left io.ByteReader // what is not inflated yet of the member at hand; nil between two
	z    gzip.Reader
}

// An oddMember is where one begins in the file, and with which line, from 1.
type oddMember struct{ at, line int64 }

// newMemberReader reads members of up to size compressed bytes; longer ones are odd.
func newMemberReader(r io.Reader, size int) *memberReader {
	return &memberReader{in: bufio.NewReaderSize(r, size)}
}

// Read implements io.Reader. What cannot be inflated is an error that Is errMember.
func (m *memberReader) Read(b []byte) (int, error) {
	for {
		if m.left == nil {
			if err := m.open(); err != nil {
				return 0, err
			}
		}
		n, err := m.z.Read(b)
		if n > 0 {
			m.line, m.cut = m.line+int64(bytes.Count(b[:n], []byte{'\n'})), b[n-1] != '\n'
			if !m.raw && tooMany(m.line, m.taken()) {
				return 0, m.damaged(errMany)
			}
		}
		if errors.Is(err, io.EOF) {
			err = m.close()
		}
		if err != nil {
			return n, m.damaged(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// taken is how many bytes of the file are inflated, at most.
func (m *memberReader) taken() int64 {
	if left, ok := m.left.(*countedReader); ok {
		return m.at + left.n
	}
	return m.next
}

// open begins with the next member; io.EOF when there is none.
func (m *memberReader) open() error {
	m.at = m.next
	head, err := m.in.Peek(memberHeader)
	if len(head) == 0 && errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if b := m.sound(head); b != nil {
		m.left, m.next = bytes.NewReader(b), m.at+int64(len(b))
	} else {
		m.left, m.odd = &countedReader{m.in, 0}, append(m.odd, oddMember{m.at, m.line + 1})
	}
	if err := m.z.Reset(m.left.(io.Reader)); err != nil {
		return m.damaged(err)
	}
	m.z.Multistream(false)
	return nil
}

// sound gives the whole member that begins with head, nil if it is not as the
// store writes it.
func (m *memberReader) sound(head []byte) []byte {
	n, err := memberLen(head)
	if err != nil {
		return nil
	}
	if b, err := m.in.Peek(n); err == nil && checkMember(b) == nil {
		return b
	}
	return nil
}

// close ends with the member at hand.
func (m *memberReader) close() error {
	switch left := m.left.(type) {
	case *bytes.Reader:
		if left.Len() > 0 {
			return errMember
		}
		if m.cut {
			m.odd = append(m.odd, oddMember{m.at, m.line + 1})
		}
		m.in.Discard(int(m.next - m.at)) // never fails: it was peeked
	case *countedReader:
		m.next = m.at + left.n
	}
	m.left = nil
	return nil
}

func (m *memberReader) damaged(err error) error {
	if errors.Is(err, errMember) {
		return fmt.Errorf("byte %d: %w", m.at, err)
	}
	return fmt.Errorf("byte %d: %w: %v", m.at, errMember, err) // not %w: io.EOF would be an end
}

// A countedReader counts what is taken from a reader. Being an io.ByteReader it
// has no more taken than the member has.
type countedReader struct {
	in *bufio.Reader
	n  int64
}

func (c *countedReader) ReadByte() (byte, error) {
	b, err := c.in.ReadByte()
	if err == nil {
		c.n++
	}
	return b, err
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.n += int64(n)
	return n, err
}
