package ledger

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"slices"
	"unicode/utf8"
)

// plainNesting is how deep plain follows.
const plainNesting = 16

// plain decodes the events that most publishers send, several times faster
// than decodeAny: valid, member names of ASCII without escapes, in strings only
// the escapes that are canonical, numbers whose canonical form is their own
// digits. It gives up on everything else, so that decodeAny alone says what is
// wrong with an event, and how the rest is written.
type plain struct {
	in      []byte
	at      int
	out     []byte   // values that are not canonical as they stand in in; earlier ones stay, drafts point to them
	members []member // of the objects and arrays that are open
}

// A member is one of an object's: its name, and all of it, canonical. Of an
// array's it is the value.
type member struct{ name, whole []byte }

// decode is decode with what p has at hand.
func (p *plain) decode(body []byte, category string, known map[string]Policy) (Draft, error) {
	if d, ok := p.event(body, category, known); ok {
		return d, nil
	}
	return decodeAny(body, category, known)
}

// event decodes an event; ok is false when decodeAny has to.
func (p *plain) event(body []byte, category string, known map[string]Policy) (d Draft, ok bool) {
	p.in, p.at, p.members = body, 0, p.members[:0]
	if len(body) > maxCanonical || !p.open('{') {
		return d, false
	}
	d = newDraft(category)
	var bad InvalidError
	for seen := uint(0); ; {
		name, ok := p.name()
		field := fieldBit(name)
		if !ok || field == 0 || seen&field != 0 {
			return d, false
		}
		seen |= field
		value, ok := p.value(2)
		if !ok {
			return d, false
		}
		d.take(name, value, &bad)
		if p.open(',') {
			continue
		}
		if !p.open('}') {
			return d, false
		}
		break
	}
	if p.space(); p.at != len(body) {
		return d, false
	}
	bad.missing(&d, known)
	return d, len(bad.Fields) == 0
}

// fieldBit is a bit for each field that a publisher gives; 0: it is none.
func fieldBit(name []byte) uint {
	switch string(name) {
	case "category":
		return 1
	case "action":
		return 2
	case "actor":
		return 4
	case "target":
		return 8
	case "data":
		return 16
	case "result":
		return 32
	case "error":
		return 64
	}
	return 0
}

// value takes a value and gives its canonical form: a part of in where it
// stands there, else of out.
func (p *plain) value(depth int) ([]byte, bool) {
	p.space()
	if p.at == len(p.in) || depth > plainNesting {
		return nil, false
	}
	start, ok := p.at, false
	switch p.in[start] {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		ok = p.text()
	case 't', 'f', 'n':
		ok = p.word("true") || p.word("false") || p.word("null")
	default:
		return p.number()
	}
	return p.in[start:p.at:p.at], ok
}

// object takes an object, whose canonical form has its members sorted by name.
func (p *plain) object(depth int) ([]byte, bool) {
	start, made, first, sorted := p.at, len(p.out), len(p.members), true
	if p.at++; p.open('}') {
		return jsonEmpty, true
	}
	for {
		p.space()
		from, before := p.at, len(p.out)
		name, ok := p.name()
		if !ok {
			return nil, false
		}
		value, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		whole := p.in[from:p.at]
		if len(p.out) != before || len(whole) != len(name)+len(value)+len(`"":`) {
			n := len(p.out)
			p.out = append(append(append(append(p.out, '"'), name...), '"', ':'), value...)
			whole = p.out[n:]
		}
		if n := len(p.members); n > first && bytes.Compare(p.members[n-1].name, name) >= 0 {
			sorted = false
		}
		p.members = append(p.members, member{name, whole})
		if p.open(',') {
			continue
		}
		members := p.members[first:]
		p.members = p.members[:first]
		if !p.open('}') || !sorted && !sortMembers(members) {
			return nil, false
		}
		return p.join('{', members, '}', start, sorted && made == len(p.out)), true
	}
}

// sortMembers brings an object's members into order; false when two have one name.
func sortMembers(members []member) bool {
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(a.name, b.name) })
	for i := 1; i < len(members); i++ {
		if bytes.Equal(members[i-1].name, members[i].name) {
			return false
		}
	}
	return true
}

func (p *plain) array(depth int) ([]byte, bool) {
	start, made, first := p.at, len(p.out), len(p.members)
	if p.at++; p.open(']') {
		return jsonNothing, true
	}
	for {
		value, ok := p.value(depth + 1)
		if !ok {
			return nil, false
		}
		p.members = append(p.members, member{whole: value})
		if p.open(',') {
			continue
		}
		members := p.members[first:]
		p.members = p.members[:first]
		if !p.open(']') {
			return nil, false
		}
		return p.join('[', members, ']', start, made == len(p.out)), true
	}
}

// join is the canonical form of what ends at p.at, in in where its parts are
// in place there and nothing is between them.
func (p *plain) join(open byte, members []member, shut byte, start int, inPlace bool) []byte {
	size := 1 + len(members)
	for i := range members {
		size += len(members[i].whole)
	}
	if inPlace && p.at-start == size {
		return p.in[start:p.at:p.at]
	}
	p.out = slices.Grow(p.out, size)
	start = len(p.out)
	p.out = append(p.out, open)
	for i := range members {
		p.out = append(append(p.out, members[i].whole...), ',')
	}
	p.out[len(p.out)-1] = shut
	return p.out[start:len(p.out):len(p.out)]
}

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
