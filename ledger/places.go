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
	i := p.findHead(b)
	if i == 0 {
		return false
	}
	i = valueEnd(b, i)
	if p.result = i + 1; len(b)-i <= 10 || string(b[i:i+10]) != `,"result":` {
		return false
	}
	i = valueEnd(b, i+10)
	if p.err = i + 1; len(b)-i <= 9 || string(b[i:i+9]) != `,"error":` {
		return false
	}
	i = valueEnd(b, i+9)
	p.prev = i + 1
	return len(b)-i == 1+lineEnd && p.hashes(b)
}

// findHashed is find for a line that is then held against its hash and whose
// segment is held against its seal: it does not go through data where the line
// ends as nearly all do, with a result that has no escapes and without an error.
// The quotes of that end can be part of no other value, as target is a string or
// null. Whether data's brackets match is left to who wrote the seal.
func (p *places) findHashed(b []byte) bool {
	const noError = `,"error":null`
	i := p.findHead(b)
	p.prev = len(b) - lineEnd
	p.err = p.prev - len(noError)
	result := p.err - len(`""`) // where its closing quote is, at the latest
	if i == 0 || result < i || b[i] != '{' || b[p.target+len(`"target":`)] != '"' && b[p.target+len(`"target":`)] != 'n' || string(b[p.err-1:p.prev-1]) != noError || b[p.err-2] != '"' || !p.hashes(b) {
		return p.find(b)
	}
	from := bytes.LastIndexByte(b[i:result], '"') + i + 1 // behind its opening quote
	p.result = from - len(`"result":"`)
	if p.result-1 <= i || string(b[p.result-1:from]) != `,"result":"` || b[p.result-2] != '}' || bytes.IndexByte(b[from:result], '\\') >= 0 {
		return p.find(b)
	}
	return true
}

// findHead finds where data is, and gives where its value begins; 0: the line
// is no event.
func (p *places) findHead(b []byte) int {
	if len(b) < categoryFrom || string(b[:idFrom]) != `{"id":"` || string(b[idFrom+12:timeFrom]) != `","timestamp":"` ||
		string(b[placeCategory-2:categoryFrom]) != `","category":"` {
		return 0
	}
	i := categoryFrom + bytes.IndexByte(b[categoryFrom:], '"') + 1 // behind a value, here and below
	if p.action = i + 1; i == categoryFrom || len(b)-i <= 10 || string(b[i:i+10]) != `,"action":` {
		return 0
	}
	i = valueEnd(b, i+10)
	if p.actor = i + 1; len(b)-i <= 9 || string(b[i:i+9]) != `,"actor":` {
		return 0
	}
	i = valueEnd(b, i+9)
	if p.target = i + 1; len(b)-i <= 10 || string(b[i:i+10]) != `,"target":` {
		return 0
	}
	i = valueEnd(b, i+10)
	if p.data = i + 1; len(b)-i <= 8 || string(b[i:i+8]) != `,"data":` {
		return 0
	}
	return i + 8
}

// hashes compares the fixed text from prev to the line's end.
func (p *places) hashes(b []byte) bool {
	b = b[p.prev-1:]
	return string(b[:10]) == `,"previous` && string(b[10:1+prevFrom]) == `_hash":"` &&
		string(b[1+prevLen-2:1+hashFrom]) == `","hash":"` && string(b[1+lineEnd-2:]) == `"}`
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
