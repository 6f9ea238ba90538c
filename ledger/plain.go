package ledger

import (
	"bytes"
	"slices"
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
