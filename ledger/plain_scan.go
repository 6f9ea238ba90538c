package ledger

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// number takes an integer, or a fraction of at most 15 digits that is not
// below 1e-6: no other number of so few digits has the same double, so that
// ECMAScript writes these digits, without zeros at the end.
func (p *plain) number() ([]byte, bool) {
	start := p.at
	negative := p.one('-')
	whole := p.digits()
	if whole == 0 || whole > 100 {
		return nil, false
	}
	zero := p.in[p.at-whole] == '0'
	if zero && (whole > 1 || negative) {
		return nil, false
	}
	end := p.at
	if p.one('.') {
		n := p.digits()
		fraction := bytes.TrimRight(p.in[end+1:p.at], "0")
		leading := len(fraction) - len(bytes.TrimLeft(fraction, "0"))
		if n == 0 || whole+len(fraction) > 15 || zero && leading > 5 {
			return nil, false
		}
		if len(fraction) > 0 {
			end += 1 + len(fraction)
		}
	}
	return p.in[start:end:end], true
}

func (p *plain) digits() (n int) {
	for p.at < len(p.in) && p.in[p.at]-'0' <= 9 {
		p.at++
		n++
	}
	return n
}

// ordinary are the bytes of a string that say nothing about what follows.
var ordinary = func() (t [256]bool) {
	for c := 0x20; c < 0x80; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// special is where the first byte from i on is that is not ordinary; len(p.in): none.
// It looks at eight bytes at once.
func (p *plain) special(i int) int {
	for ; i+8 <= len(p.in); i += 8 {
		w := binary.LittleEndian.Uint64(p.in[i:])
		quote, back := w^('"'*ones), w^('\\'*ones)
		// The lowest byte of these that has its high bit is one: each borrows from higher ones only.
		if found := (w | (w-0x20*ones)&^w | (quote-ones)&^quote | (back-ones)&^back) & highs; found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for i < len(p.in) && ordinary[p.in[i]] {
		i++
	}
	return i
}

// text passes over a string that is canonical as it stands.
func (p *plain) text() bool {
	ascii := true
	for i := p.special(p.at + 1); i < len(p.in); i = p.special(i + 1) {
		switch c := p.in[i]; {
		case c == '"':
			if !ascii && !utf8.Valid(p.in[p.at:i+1]) {
				return false
			}
			p.at = i + 1
			return true
		case c >= 0x80:
			ascii = false
		case c == '\\':
			if i++; i == len(p.in) || bytes.IndexByte([]byte(`"\bfnrt`), p.in[i]) < 0 {
				return false
			}
		default:
			return false
		}
	}
	return false
}

// name takes a member's name and the colon.
func (p *plain) name() ([]byte, bool) {
	p.space()
	if !p.one('"') {
		return nil, false
	}
	start := p.at
	p.at = p.special(start)
	name := p.in[start:p.at]
	return name, p.one('"') && p.open(':')
}

// open passes over a byte and the white space before it.
func (p *plain) open(c byte) bool {
	p.space()
	return p.one(c)
}

func (p *plain) one(c byte) bool {
	if p.at < len(p.in) && p.in[p.at] == c {
		p.at++
		return true
	}
	return false
}

func (p *plain) word(w string) bool {
	if len(p.in)-p.at < len(w) || string(p.in[p.at:p.at+len(w)]) != w {
		return false
	}
	p.at += len(w)
	return true
}

// space passes over white space; mostly there is none.
func (p *plain) space() {
	for p.at < len(p.in) && p.in[p.at] <= ' ' && p.white() {
		p.at++
	}
}

func (p *plain) white() bool {
	c := p.in[p.at]
	return c == ' ' || c == '\t' || c == '\r' || c == '\n'
}
