package ledger

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxText      = 1 << 10  // bytes of action, actor, target, result
	maxErrorText = 64 << 10 // bytes of error
	maxCanonical = 1 << 20  // bytes of the canonical form that a publisher gives
	maxPayload   = 1 << 20  // bytes of a rejected message that are kept: all that the stream should take
	maxNesting   = 64       // arrays and objects, the event's own included
	maxFields    = 20       // field errors that one answer names
)

// A FieldError names a field of an event and what is wrong with it.
type FieldError struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// An InvalidError says why a body is no event. Its text is the same on every
// machine and build: a rejected message's reason is hashed.
type InvalidError struct {
	Malformed bool // no JSON object at all
	TooLarge  bool // above 1 MiB in canonical form
	Fields    []FieldError
}

func (e *InvalidError) Error() string {
	var b strings.Builder
	for i, f := range e.Fields {
		if i > 0 {
			b.WriteString("; ")
		}
		if f.Field != "" {
			b.WriteString(f.Field + ": ")
		}
		b.WriteString(f.Message)
	}
	return b.String()
}

func (e *InvalidError) add(field, message string) {
	if len(e.Fields) < maxFields {
		e.Fields = append(e.Fields, FieldError{field, message})
	}
}

func malformed(message string) error {
	return &InvalidError{Malformed: true, Fields: []FieldError{{"", message}}}
}

// A Draft is a publisher's event, validated and canonical: what is chained as
// soon as the stream has given it an id and a time. The values are raw JSON.
type Draft struct {
	category                                 string
	action, actor, target, data, result, err []byte
}

// Category is the draft's category.
func (d Draft) Category() string { return d.category }

// Canonical is the RFC 8785 form of what the publisher gave, defaults filled in.
func (d Draft) Canonical() []byte {
	b := append(make([]byte, 0, d.Size()), `{"action":`...)
	b = append(append(b, d.action...), `,"actor":`...)
	b = append(append(b, d.actor...), `,"category":"`...)
	b = append(append(b, d.category...), `","data":`...)
	b = append(append(b, d.data...), `,"error":`...)
	b = append(append(b, d.err...), `,"result":`...)
	b = append(append(b, d.result...), `,"target":`...)
	return append(append(b, d.target...), '}')
}

// Size is the length of Canonical.
func (d Draft) Size() int {
	return len(`{"action":,"actor":,"category":"","data":,"error":,"result":,"target":}`) +
		len(d.category) + len(d.action) + len(d.actor) + len(d.target) + len(d.data) + len(d.result) + len(d.err)
}

// Same tells whether a stored line holds the same content.
func (d Draft) Same(stored []byte) bool {
	c := cursor{b: stored}
	c.fixed(`{"id":"`, 12)
	c.fixed(`","timestamp":"`, len(timestampLayout))
	c.literal(`","category":"`)
	c.literal(d.category)
	for _, part := range []struct {
		before string
		value  []byte
	}{{`","action":`, d.action}, {`,"actor":`, d.actor}, {`,"target":`, d.target}, {`,"data":`, d.data}, {`,"result":`, d.result}, {`,"error":`, d.err}} {
		c.literal(part.before)
		c.same(part.value)
	}
	c.fixed(`,"previous_hash":"`, 64)
	return !c.bad
}

func (d *Draft) is(l *line) bool {
	return string(l.category) == d.category && bytes.Equal(l.action, d.action) &&
		bytes.Equal(l.actor, d.actor) && bytes.Equal(l.target, d.target) && bytes.Equal(l.data, d.data) &&
		bytes.Equal(l.result, d.result) && bytes.Equal(l.err, d.err)
}

var (
	jsonNull    = []byte("null")
	jsonEmpty   = []byte("{}")
	jsonNothing = []byte("[]")
	jsonSuccess = []byte(`"success"`)
)

// decode validates a publisher's body (DESIGN section 2). subjectCategory is
// the category that the subject names; with "" the body must name it.
// Errors are *InvalidError.
func decode(body []byte, subjectCategory string, known map[string]Policy) (Draft, error) {
	p := plains.Get().(*plain)
	defer plains.Put(p)
	d, err := p.decode(body, subjectCategory, known)
	p.in, p.out = nil, nil // the draft's now
	return d, err
}

var plains = sync.Pool{New: func() any { return new(plain) }}

// decodeAny is decode for every body.
func decodeAny(body []byte, subjectCategory string, known map[string]Policy) (Draft, error) {
	v, err := canonical(body)
	if err != nil {
		return Draft{}, err
	}
	d := newDraft(subjectCategory)
	bad := &InvalidError{}
	eachMember(v, func(name, value []byte) { d.take(name, value, bad) })
	if bad.missing(&d, known); len(bad.Fields) > 0 {
		return Draft{}, bad
	}
	return d, nil
}

func newDraft(category string) Draft {
	return Draft{category: category, target: jsonNull, data: jsonEmpty, result: jsonSuccess, err: jsonNull}
}

// missing says what an event cannot be without.
func (bad *InvalidError) missing(d *Draft, known map[string]Policy) {
	if d.category == "" && !bad.names("category") {
		bad.add("category", "is required")
	} else if _, ok := known[d.category]; !ok && !bad.names("category") {
		bad.add("category", quoteShort(d.category)+" is not configured")
	}
	if d.action == nil && !bad.names("action") {
		bad.add("action", "is required")
	}
	if d.actor == nil && !bad.names("actor") {
		bad.add("actor", "is required")
	}
}

// take sets one member of the draft or says what is wrong with it.
func (d *Draft) take(field, value []byte, bad *InvalidError) {
	switch string(field) {
	case "category":
		if len(value) == len(d.category)+2 && string(value[1:len(value)-1]) == d.category && value[0] == '"' {
			return
		}
		given, ok := text(value)
		switch {
		case !ok:
			bad.add("category", "must be a string")
		case d.category == "":
			d.category = given
		case d.category != given:
			bad.add("category", quoteShort(given)+" is not the subject's, "+quoteShort(d.category))
		}
	case "action":
		d.action = bad.string("action", value, maxText, true, false)
	case "actor":
		d.actor = bad.string("actor", value, maxText, true, false)
		if string(d.actor) == `"`+ActorStore+`"` {
			bad.add("actor", `"event-store" is reserved`)
		}
	case "target":
		d.target = bad.string("target", value, maxText, false, true)
	case "result":
		d.result = bad.string("result", value, maxText, false, false)
	case "error":
		d.err = bad.string("error", value, maxErrorText, false, true)
	case "data":
		if value[0] != '{' {
			bad.add("data", "must be an object")
		}
		d.data = value
	case "id", "timestamp", "previous_hash", "hash":
		bad.add(string(field), "is assigned by the store")
	default:
		bad.add(short(string(field)), "is not a field of an event")
	}
}

func (e *InvalidError) names(field string) bool {
	for _, f := range e.Fields {
		if f.Field == field {
			return true
		}
	}
	return false
}

// string checks a string member and gives it back.
func (e *InvalidError) string(name string, value []byte, max int, filled, nullable bool) []byte {
	switch {
	case nullable && string(value) == "null":
	case value[0] != '"' && nullable:
		e.add(name, "must be a string or null")
	case value[0] != '"':
		e.add(name, "must be a string")
	case filled && len(value) == 2:
		e.add(name, "must not be empty")
	case len(value)-2 > max && textLen(value) > max:
		e.add(name, "is longer than "+strconv.Itoa(max)+" bytes")
	}
	return value
}

// text is the value of a JSON string.
func text(value []byte) (string, bool) {
	if len(value) < 2 || value[0] != '"' {
		return "", false
	}
	b, err := jsontext.AppendUnquote(nil, value)
	return string(b), err == nil
}

// textLen is the length in bytes of a canonical JSON string's value.
func textLen(value []byte) int {
	n := 0
	for i := 1; i < len(value)-1; i++ {
		if value[i] == '\\' {
			if i++; value[i] == 'u' {
				i += 4
			}
		}
		n++
	}
	return n
}

// quote appends s as a canonical JSON string; s must be valid UTF-8.
func quote(b []byte, s string) []byte {
	b, err := jsontext.AppendQuote(b, s)
	if err != nil {
		panic(fmt.Sprintf("ledger: quoting text that is not UTF-8: %v", err))
	}
	return b
}

// short cuts a text that a publisher chose to what a message can bear.
func short(s string) string {
	if len(s) <= 64 {
		return s
	}
	return strings.ToValidUTF8(s[:64], "") + "..."
}

func quoteShort(s string) string { return `"` + short(s) + `"` }

// rejected is the event that stands for a message that is none: nothing that
// arrives is lost (DESIGN section 1).
func rejected(category, subject, reason string, payload []byte) Draft {
	encoding, text, size := "utf-8", []byte(nil), len(payload)
	payload = payload[:min(size, maxPayload)]
	if utf8.Valid(payload) {
		text = quote(nil, string(payload))
	}
	if text == nil || len(text)-2 > base64.StdEncoding.EncodedLen(len(payload)) {
		encoding = "base64"
		text = append(base64.StdEncoding.AppendEncode([]byte{'"'}, payload), '"')
	}
	b := append([]byte(`{"payload":`), text...)
	b = fmt.Appendf(b, `,"payload_bytes":%d,"payload_encoding":"%s","reason":`, size, encoding)
	b = append(quote(b, strings.ToValidUTF8(reason, "\uFFFD")), '}')
	return Draft{category: category, action: []byte(`"event_rejected"`), actor: []byte(`"` + ActorStore + `"`),
		target: quote(nil, strings.ToValidUTF8(subject, "\uFFFD")), data: b, result: []byte(`"failure"`), err: jsonNull}
}
