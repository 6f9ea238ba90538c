package ledger

import (
	"bytes"
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
	out     []byte   // canonical values; earlier ones stay, drafts point to them
	members []member // of the objects that are open
	seen    [][]byte // names of the event's own members
	scratch []byte
}

// A member is one of an object's, where it stands in out.
type member struct{ start, nameEnd, end int }

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
	p.seen = p.seen[:0]
	for {
		name, ok := p.name()
		if !ok || slices.ContainsFunc(p.seen, func(s []byte) bool { return bytes.Equal(s, name) }) {
			return d, false
		}
		p.seen = append(p.seen, name)
		value, ok := p.topValue()
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

// topValue takes an event's member: of its body where it is a string, else of out.
func (p *plain) topValue() ([]byte, bool) {
	p.space()
	if start := p.at; p.text() {
		return p.in[start:p.at:p.at], true
	}
	start := len(p.out)
	if !p.value(2) {
		return nil, false
	}
	return p.out[start:len(p.out):len(p.out)], true
}

// value appends one value to out.
func (p *plain) value(depth int) bool {
	p.space()
	if p.at == len(p.in) || depth > plainNesting {
		return false
	}
	start := p.at
	switch c := p.in[p.at]; c {
	case '{':
		return p.object(depth)
	case '[':
		return p.array(depth)
	case '"':
		if !p.text() {
			return false
		}
	case 't', 'f', 'n':
		if !p.word("true") && !p.word("false") && !p.word("null") {
			return false
		}
	default:
		return p.number()
	}
	p.out = append(p.out, p.in[start:p.at]...)
	return true
}

// object appends an object, its members sorted by name.
func (p *plain) object(depth int) bool {
	p.at++
	first, start, sorted := len(p.members), len(p.out), true
	p.out = append(p.out, '{')
	if p.open('}') {
		p.out = append(p.out, '}')
		return true
	}
	for {
		m := member{start: len(p.out)}
		name, ok := p.name()
		if !ok {
			return false
		}
		p.out = append(append(append(p.out, '"'), name...), '"', ':')
		m.nameEnd = len(p.out) - 2
		if !p.value(depth + 1) {
			return false
		}
		m.end = len(p.out)
		if n := len(p.members); n > first && bytes.Compare(p.nameOf(p.members[n-1]), name) >= 0 {
			sorted = false
		}
		p.members = append(p.members, m)
		if p.open(',') {
			p.out = append(p.out, ',')
			continue
		}
		if !p.open('}') || !sorted && !p.sort(p.members[first:], start) {
			return false
		}
		p.members = p.members[:first]
		p.out = append(p.out, '}')
		return true
	}
}

func (p *plain) nameOf(m member) []byte { return p.out[m.start+1 : m.nameEnd] }

// sort brings an object's members into order; false when two have one name.
func (p *plain) sort(members []member, start int) bool {
	slices.SortFunc(members, func(a, b member) int { return bytes.Compare(p.nameOf(a), p.nameOf(b)) })
	p.scratch = p.scratch[:0]
	for i, m := range members {
		if i > 0 && bytes.Equal(p.nameOf(members[i-1]), p.nameOf(m)) {
			return false
		}
		p.scratch = append(append(p.scratch, p.out[m.start:m.end]...), ',')
	}
	p.out = append(p.out[:start+1], p.scratch[:len(p.scratch)-1]...)
	return true
}

func (p *plain) array(depth int) bool {
	p.at++
	p.out = append(p.out, '[')
	if p.open(']') {
		p.out = append(p.out, ']')
		return true
	}
	for {
		if !p.value(depth + 1) {
			return false
		}
		if p.open(',') {
			p.out = append(p.out, ',')
			continue
		}
		p.out = append(p.out, ']')
		return p.open(']')
	}
}

// number takes an integer, or a fraction of at most 15 digits that is not
// below 1e-6: no other number of so few digits has the same double, so that
// ECMAScript writes these digits, without zeros at the end.
func (p *plain) number() bool {
	start := p.at
	negative := p.one('-')
	whole := p.digits()
	if whole == 0 || whole > 100 {
		return false
	}
	zero := p.in[p.at-whole] == '0'
	if zero && (whole > 1 || negative) {
		return false
	}
	if end := p.at; p.one('.') {
		n := p.digits()
		fraction := bytes.TrimRight(p.in[end+1:p.at], "0")
		leading := len(fraction) - len(bytes.TrimLeft(fraction, "0"))
		if n == 0 || whole+len(fraction) > 15 || zero && leading > 5 {
			return false
		}
		p.out = append(p.out, p.in[start:end]...)
		if len(fraction) > 0 {
			p.out = append(append(p.out, '.'), fraction...)
		}
		return true
	}
	p.out = append(p.out, p.in[start:p.at]...)
	return true
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

// text passes over a string that is canonical as it stands.
func (p *plain) text() bool {
	if p.at == len(p.in) || p.in[p.at] != '"' {
		return false
	}
	ascii := true
	for i := p.at + 1; i < len(p.in); i++ {
		switch c := p.in[i]; {
		case ordinary[c]:
		case c >= 0x80:
			ascii = false
		case c == '\\':
			if i++; i == len(p.in) || bytes.IndexByte([]byte(`"\bfnrt`), p.in[i]) < 0 {
				return false
			}
		case c == '"':
			whole := p.in[p.at : i+1]
			p.at = i + 1
			return ascii || utf8.Valid(whole)
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
	for p.at < len(p.in) && ordinary[p.in[p.at]] {
		p.at++
	}
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

func (p *plain) space() {
	for p.at < len(p.in) {
		switch p.in[p.at] {
		case ' ', '\t', '\r', '\n':
			p.at++
		default:
			return
		}
	}
}
