package ledger

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A cursor walks over canonical JSON. A bad one has nothing left.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) spoil() []byte {
	c.b, c.bad = nil, true
	return nil
}

// literal skips a fixed text.
func (c *cursor) literal(s string) {
	if len(c.b) < len(s) || string(c.b[:len(s)]) != s {
		c.spoil()
		return
	}
	c.b = c.b[len(s):]
}

// same skips bytes that must be v.
func (c *cursor) same(v []byte) {
	if !bytes.HasPrefix(c.b, v) {
		c.spoil()
		return
	}
	c.b = c.b[len(v):]
}

// value skips the literal and takes the JSON value behind it.
func (c *cursor) value(literal string) []byte {
	at := len(literal)
	if len(c.b) <= at || string(c.b[:at]) != literal {
		return c.spoil()
	}
	b, n := c.b[at:], 0
	if b[0] == '"' {
		n = stringLen(b)
	} else {
		n = valueLen(b)
	}
	if n <= 0 {
		return c.spoil()
	}
	c.b = b[n:]
	return b[:n:n]
}

// fixed skips the literal and takes n bytes of a string without escapes.
func (c *cursor) fixed(literal string, n int) []byte {
	if c.literal(literal); len(c.b) < n || bytes.IndexByte(c.b[:n], '"') >= 0 {
		return c.spoil()
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// quoted is value for a string without escapes, and gives it without quotes.
func (c *cursor) quoted(literal string) []byte {
	v := c.value(literal)
	if len(v) < 2 || v[0] != '"' {
		return c.spoil()
	}
	return v[1 : len(v)-1]
}

// mark is what a byte of canonical JSON means for where a value ends.
var mark = [256]uint8{'"': markText, '{': markOpen, '[': markOpen, '}': markClose, ']': markClose, ',': markNext}

const (
	markText = iota + 1
	markOpen
	markClose
	markNext
)

// valueLen is the length of the JSON value that b starts with, or -1. It only
// looks at strings and brackets: b is canonical or its hash will not hold.
func valueLen(b []byte) int {
	if len(b) > 0 && b[0] == '"' {
		return stringLen(b)
	}
	i, depth := 0, 0
	if len(b) > 0 && b[0] == '{' {
		i, depth = skipWords(b)
	}
	for ; i < len(b); i++ {
		switch mark[b[i]] {
		case markText:
			n := stringLen(b[i:])
			if n < 0 {
				return -1
			}
			if i += n - 1; depth == 0 {
				return i + 1
			}
		case markOpen:
			depth++
		case markClose:
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case markNext:
			if depth == 0 {
				return i
			}
		}
	}
	return -1
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// others has the high bit of each byte of w that is not c. All are ASCII.
func others(w uint64, c byte) uint64 { return (w ^ uint64(c)*ones) + 0x7f*ones }

// skipWords takes eight bytes of an object at once, with no branch on what is
// text and what is not, as long as they cannot end it, are ASCII and have no
// escape. It stops n bytes further, outside strings, at depth.
func skipWords(b []byte) (n, depth int) {
	n, depth = 1, 1
	text := uint64(0) // 1: within a string
	for {
		skipped, odd := skipText(b[n:])
		n, text = n+skipped, text^odd
		if n+8 > len(b) {
			break
		}
		w := binary.LittleEndian.Uint64(b[n:])
		if (w|^others(w, '\\'))&highs != 0 {
			break
		}
		in := ^others(w, '"') & highs // now to the bytes of strings: each quote turns what follows
		odd = uint64(bits.OnesCount64(in) & 1)
		in ^= in << 8
		in ^= in << 16
		in ^= in << 32
		in ^= -text & highs
		shut := bits.OnesCount64(^(others(w|0x20*ones, '}') | in) & highs) // 0x20 makes ] a } and [ a {
		if depth <= shut {
			break
		}
		depth += bits.OnesCount64(^(others(w|0x20*ones, '{')|in)&highs) - shut
		n, text = n+8, text^odd
	}
	if text == 0 {
		return n, depth
	}
	rest := stringLen(b[n-1:])
	if rest < 0 {
		return len(b), depth
	}
	return n + rest - 1, depth
}

// skipText skips the words that begin b and are ASCII without brackets and
// backslashes: n bytes; odd is 1 when their quotes are an odd number.
func skipText(b []byte) (n int, odd uint64) {
	quotes := uint64(0)
	for ; n+8 <= len(b); n += 8 {
		w := binary.LittleEndian.Uint64(b[n : n+8])
		lower := w | 0x20*ones
		if ((lower+5*ones)&^(lower+2*ones)|w)&highs != 0 { // { | } and what lower makes these
			break
		}
		quotes ^= others(w, '"')
	}
	return n, uint64(bits.OnesCount64(quotes&highs) & 1)
}

// stringLen is the length of the JSON string that b starts with, with its
// quotes, or -1. It looks at eight bytes at once.
func stringLen(b []byte) int {
	for i := 1; i < len(b); {
		for ; i+8 <= len(b); i += 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			quote, back := w^('"'*ones), w^('\\'*ones)
			// The lowest byte of these that has its high bit is a quote or a backslash.
			if found := ((quote-ones)&^quote | (back-ones)&^back) & highs; found != 0 {
				i += bits.TrailingZeros64(found) / 8
				break
			}
		}
		switch {
		case i >= len(b):
		case b[i] == '"':
			return i + 1
		case b[i] == '\\':
			i++
		}
		i++
	}
	return -1
}
