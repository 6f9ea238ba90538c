package ledger

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A cursor walks over canonical JSON.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) literal(s string) {
	if c.bad || len(c.b) < len(s) || string(c.b[:len(s)]) != s {
		c.bad = true
		return
	}
	c.b = c.b[len(s):]
}

// value skips the literal and takes the JSON value behind it.
func (c *cursor) value(literal string) []byte {
	c.literal(literal)
	if c.bad {
		return nil
	}
	n := valueLen(c.b)
	if n <= 0 {
		c.bad = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// fixed skips the literal and takes n bytes of a string without escapes.
func (c *cursor) fixed(literal string, n int) []byte {
	if c.literal(literal); c.bad || len(c.b) < n || bytes.IndexByte(c.b[:n], '"') >= 0 {
		c.bad = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// open is fixed for a string that ends with its quote, which is skipped.
func (c *cursor) open(literal string) []byte {
	c.literal(literal)
	n := bytes.IndexByte(c.b, '"')
	if c.bad || n < 0 {
		c.bad = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n+1:]
	return v
}

// quoted is value for a string without escapes, and gives it without quotes.
func (c *cursor) quoted(literal string) []byte {
	v := c.value(literal)
	if c.bad || len(v) < 2 || v[0] != '"' {
		c.bad = true
		return nil
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
	depth := 0
	for i := 0; i < len(b); i++ {
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

// stringLen is the length of the JSON string that b starts with, with its
// quotes, or -1. It looks at eight bytes at once.
func stringLen(b []byte) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
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
