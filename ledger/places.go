package ledger

import "bytes"

// A places is where in an event's line its members begin, from action on; those
// before it are at fixed places. A member, with its comma, ends where the next
// one begins: so the line's pre-image is runs of the line's own bytes.
type places struct{ action, actor, target, data, result, err, prev int }

const (
	placeID       = len(`{`)
	placeTime     = len(`{"id":"000000000000",`)
	placeCategory = len(`{"id":"000000000000","timestamp":"2006-01-02T15:04:05.000000Z",`)
	idFrom        = placeID + len(`"id":"`)
	timeFrom      = placeTime + len(`"timestamp":"`)
	categoryFrom  = placeCategory + len(`"category":"`)
	prevFrom      = len(`"previous_hash":"`) // behind prev
	hashLen       = 64
	prevLen       = prevFrom + hashLen + len(`",`)
	hashFrom      = prevLen + len(`"hash":"`) // behind prev
	lineEnd       = hashFrom + hashLen + len(`"}`)
)

// find sets the places of a line without its newline; false: it is no event.
// Every byte is compared with the fixed text between the values or part of a
// value, whose end its own bytes tell. What id, timestamp and hashes are is
// left to who asks.
func (p *places) find(b []byte) bool {
	if len(b) < categoryFrom || string(b[:idFrom]) != `{"id":"` || string(b[idFrom+12:timeFrom]) != `","timestamp":"` ||
		string(b[placeCategory-2:categoryFrom]) != `","category":"` {
		return false
	}
	i := categoryFrom + bytes.IndexByte(b[categoryFrom:], '"') + 1 // behind a value, here and below
	if p.action = i + 1; i == categoryFrom || len(b)-i <= 10 || string(b[i:i+10]) != `,"action":` {
		return false
	}
	i = valueEnd(b, i+10)
	if p.actor = i + 1; len(b)-i <= 9 || string(b[i:i+9]) != `,"actor":` {
		return false
	}
	i = valueEnd(b, i+9)
	if p.target = i + 1; len(b)-i <= 10 || string(b[i:i+10]) != `,"target":` {
		return false
	}
	i = valueEnd(b, i+10)
	if p.data = i + 1; len(b)-i <= 8 || string(b[i:i+8]) != `,"data":` {
		return false
	}
	i = valueEnd(b, i+8)
	if p.result = i + 1; len(b)-i <= 10 || string(b[i:i+10]) != `,"result":` {
		return false
	}
	i = valueEnd(b, i+10)
	if p.err = i + 1; len(b)-i <= 9 || string(b[i:i+9]) != `,"error":` {
		return false
	}
	i = valueEnd(b, i+9)
	if p.prev = i + 1; len(b)-i != 1+lineEnd || string(b[i:i+10]) != `,"previous` || string(b[i+10:i+1+prevFrom]) != `_hash":"` {
		return false
	}
	b = b[p.prev:]
	return string(b[prevLen-2:hashFrom]) == `","hash":"` && string(b[lineEnd-2:]) == `"}`
}

// valueEnd is where the JSON value ends that begins at i; len(b): nowhere.
func valueEnd(b []byte, i int) int {
	n := 0
	if b[i] == '"' {
		n = stringLen(b[i:])
	} else {
		n = valueLen(b[i:])
	}
	if n <= 0 {
		return len(b)
	}
	return i + n
}

// prevHash and hash are those of the line b.
func (p *places) prevHash(b []byte) []byte { return b[p.prev+prevFrom:][:hashLen:hashLen] }
func (p *places) hash(b []byte) []byte     { return b[p.prev+hashFrom:][:hashLen:hashLen] }

// preimage is line.preimage of the line b, in scratch.
func (p *places) preimage(b, scratch []byte) []byte {
	if cap(scratch) < len(b) {
		scratch = make([]byte, 0, 2*len(b))
	}
	s := append(scratch[:0], '{')
	s = append(s, b[p.action:p.target]...) // and actor
	s = append(s, b[placeCategory:p.action]...)
	s = append(s, b[p.data:p.result]...)
	s = append(s, b[p.err:p.prev]...)
	s = append(s, b[placeID:placeTime]...)
	s = append(s, b[p.prev:p.prev+prevLen]...)
	s = append(s, b[p.result:p.err]...)
	s = append(s, b[p.target:p.data]...)
	s = append(s, b[placeTime:placeCategory-1]...)
	return append(s, '}')
}
