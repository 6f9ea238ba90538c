package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
)

// A line is an event as it stands in a segment, taken apart without a parse:
// every value is the raw canonical JSON of the line's own bytes. For a gap
// (a run of aged-out events) only gap, prev and hash are set.
type line struct {
	id       ID
	time     micros
	idText   []byte // 12 hex digits
	timeText []byte // without quotes
	category []byte // without quotes; a category needs no escapes
	action   []byte // JSON string
	actor    []byte // JSON string
	target   []byte // JSON string or null
	data     []byte // JSON object
	result   []byte // JSON string
	err      []byte // JSON string or null
	prev     []byte // 64 hex digits
	hash     []byte // 64 hex digits
	gap      *gap
}

// A gap stands for count aged-out events, first to last, both inclusive.
type gap struct {
	first, last ID
	count       int64
}

// gapLayout is the line of a gap.
const gapLayout = `{"aged_out":{"first_id":"%s","last_id":"%s","count":%d},"previous_hash":"%s","hash":"%s"}` + "\n"

// maxLine is how many bytes of a line are read. The projection writes 1.5 MiB at
// most; what is longer is no event, and whoever wrote it may not have ended it.
const maxLine = maxContent

var errLine = errors.New("the line is not an event")

// parseLine takes a line (without its newline) apart. Every byte of it is
// either compared with the fixed text between the values or part of a value,
// so that no byte escapes the hash.
func parseLine(b []byte) (l line, err error) {
	err = new(lineParser).parse(b, &l)
	return l, err
}

// A lineParser is parseLine for many lines: most have the second of the one
// before.
type lineParser struct {
	at     places // of the last line
	second [len("2006-01-02T15:04:05.")]byte
	from   micros // of that second
}

// parse sets l, whatever it held; after an error it holds nothing of use.
func (p *lineParser) parse(b []byte, l *line) (err error) {
	if len(b) > 2 && b[2] == 'a' {
		*l, err = parseGap(b)
		return err
	}
	if !p.at.find(b) {
		return errLine
	}
	return p.take(&p.at, b, l)
}

// take is parse of a line that has these places.
func (p *lineParser) take(at *places, b []byte, l *line) (err error) {
	l.take(at, b)
	if bytes.IndexByte(l.prev, '"') >= 0 || bytes.IndexByte(l.hash, '"') >= 0 {
		return errLine
	}
	if l.id, err = parseID(l.idText); err != nil {
		return errLine
	}
	if l.time, err = p.micros(l.timeText); err != nil {
		return errLine
	}
	return nil
}

// take sets the values of the line b to what stands at its places.
func (l *line) take(p *places, b []byte) {
	l.gap, l.idText, l.timeText = nil, b[idFrom:][:12:12], b[timeFrom:placeCategory-2:placeCategory-2]
	l.category = b[categoryFrom : p.action-2 : p.action-2]
	l.action = b[p.action+len(`"action":`) : p.actor-1 : p.actor-1]
	l.actor = b[p.actor+len(`"actor":`) : p.target-1 : p.target-1]
	l.target = b[p.target+len(`"target":`) : p.data-1 : p.data-1]
	l.data = b[p.data+len(`"data":`) : p.result-1 : p.result-1]
	l.result = b[p.result+len(`"result":`) : p.err-1 : p.err-1]
	l.err = b[p.err+len(`"error":`) : p.prev-1 : p.prev-1]
	l.prev, l.hash = p.prevHash(b), p.hash(b)
}

// micros is parseMicros.
func (p *lineParser) micros(b []byte) (micros, error) {
	if n := len(p.second); bytes.Equal(b[:n], p.second[:]) {
		rest := micros(0)
		for _, c := range b[n : n+6] {
			if c-'0' > 9 {
				return 0, errTimestamp
			}
			rest = 10*rest + micros(c-'0')
		}
		if b[n+6] == 'Z' {
			return p.from + rest, nil
		}
	}
	at, err := parseMicros(b)
	if err == nil {
		copy(p.second[:], b)
		p.from = at - at%1e6
		if at < 0 && at%1e6 != 0 {
			p.from -= 1e6
		}
	}
	return at, err
}

// first is the first id that the line stands for.
func (l *line) first() ID {
	if l.gap != nil {
		return l.gap.first
	}
	return l.id
}

// holeFirst is the first id that an event stands for.
func (l *line) holeFirst() ID {
	first := l.id
	if string(l.category) == CategoryLedger && string(l.action) == `"events_missing"` {
		eachMember(l.data, func(name, value []byte) {
			if s, ok := text(value); ok && string(name) == "first_id" {
				if id, err := ParseID(s); err == nil {
					first = id
				}
			}
		})
	}
	return first
}

// preimage appends the RFC 8785 canonical form of the event without its hash:
// the line's own values, re-ordered by name.
func (l *line) preimage(b []byte) []byte {
	b = append(append(b, `{"action":`...), l.action...)
	b = append(append(b, `,"actor":`...), l.actor...)
	b = append(append(b, `,"category":"`...), l.category...)
	b = append(append(b, `","data":`...), l.data...)
	b = append(append(b, `,"error":`...), l.err...)
	b = append(append(b, `,"id":"`...), l.idText...)
	b = append(append(b, `","previous_hash":"`...), l.prev...)
	b = append(append(b, `","result":`...), l.result...)
	b = append(append(b, `,"target":`...), l.target...)
	b = append(append(b, `,"timestamp":"`...), l.timeText...)
	return append(b, `"}`...)
}

// size is how many bytes append appends.
func (l *line) size() int {
	const fixed = len(`{"id":"","timestamp":"","category":"","action":,"actor":,"target":,"data":,"result":,"error":,"previous_hash":"","hash":""}`) + 1
	return fixed + len(l.idText) + len(l.timeText) + len(l.category) + len(l.action) + len(l.actor) + len(l.target) + len(l.data) +
		len(l.result) + len(l.err) + 2*len(l.prev)
}

// append appends the line as it stands on disk, with its newline. hash is set
// from the pre-image, which is built in scratch.
func (l *line) append(b, scratch []byte) (out, scratchOut []byte, hash [64]byte) {
	scratch = l.preimage(scratch[:0])
	sum := sha256.Sum256(scratch)
	hex.Encode(hash[:], sum[:])
	b = append(append(b, `{"id":"`...), l.idText...)
	b = append(append(b, `","timestamp":"`...), l.timeText...)
	b = append(append(b, `","category":"`...), l.category...)
	b = append(append(b, `","action":`...), l.action...)
	b = append(append(b, `,"actor":`...), l.actor...)
	b = append(append(b, `,"target":`...), l.target...)
	b = append(append(b, `,"data":`...), l.data...)
	b = append(append(b, `,"result":`...), l.result...)
	b = append(append(b, `,"error":`...), l.err...)
	b = append(append(b, `,"previous_hash":"`...), l.prev...)
	b = append(append(b, `","hash":"`...), hash[:]...)
	return append(b, "\"}\n"...), scratch, hash
}

// sound tells whether the line's hash is that of its own bytes.
func (l *line) sound(scratch []byte) (bool, []byte) {
	scratch = l.preimage(scratch[:0])
	sum := sha256.Sum256(scratch)
	return isHex(l.hash, &sum), scratch
}

// hexPairs is each byte's two hex digits, little-endian.
var hexPairs = func() (pairs [256]uint16) {
	for i := range pairs {
		pairs[i] = uint16(hexDigits[i>>4]) | uint16(hexDigits[i&15])<<8
	}
	return pairs
}()

// isHex tells whether text is sum in lower-case hex digits.
func isHex(text []byte, sum *[sha256.Size]byte) bool {
	if len(text) != 2*len(sum) {
		return false
	}
	differ := uint16(0)
	for i, b := range sum {
		differ |= binary.LittleEndian.Uint16(text[2*i:]) ^ hexPairs[b]
	}
	return differ == 0
}

func parseGap(b []byte) (l line, err error) {
	c := cursor{b: b}
	first := c.quoted(`{"aged_out":{"first_id":`)
	last := c.quoted(`,"last_id":`)
	count := c.value(`,"count":`)
	c.literal(`}`)
	l.prev = c.quoted(`,"previous_hash":`)
	l.hash = c.quoted(`,"hash":`)
	c.literal(`}`)
	if c.bad || len(c.b) != 0 || len(l.prev) != 64 || len(l.hash) != 64 || len(count) > 15 || count[0] == '0' {
		return line{}, errLine
	}
	l.gap = &gap{}
	if l.gap.first, err = parseID(first); err != nil {
		return line{}, errLine
	}
	if l.gap.last, err = parseID(last); err != nil {
		return line{}, errLine
	}
	for _, d := range count {
		if d < '0' || d > '9' {
			return line{}, errLine
		}
		l.gap.count = l.gap.count*10 + int64(d-'0')
	}
	l.id = l.gap.last
	return l, nil
}
