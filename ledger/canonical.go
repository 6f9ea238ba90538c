package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// canonical gives the RFC 8785 form of a JSON object, with integers' digits
// kept, or an *InvalidError.
func canonical(body []byte) (jsontext.Value, error) {
	if len(body) > maxCanonical*6 {
		return nil, &InvalidError{TooLarge: true, Fields: []FieldError{{"", "the event is larger than 1 MiB"}}}
	}
	if err := scan(body); err != nil {
		return nil, err
	}
	v := jsontext.Value(bytes.Clone(body))
	if err := v.Canonicalize(jsontext.CanonicalizeRawInts(false)); err != nil {
		return nil, malformed(syntaxReason(err, body))
	}
	if len(v) == 0 || v[0] != '{' {
		return nil, malformed("not a JSON object")
	}
	if len(v) > maxCanonical {
		return nil, &InvalidError{TooLarge: true, Fields: []FieldError{{"", "the event is larger than 1 MiB"}}}
	}
	return v, nil
}

// syntaxReason words a syntax error so that it does not change with a library.
func syntaxReason(err error, body []byte) string {
	at := ""
	var s *jsontext.SyntacticError
	if errors.As(err, &s) {
		at = " at byte " + strconv.FormatInt(s.ByteOffset, 10)
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return "duplicate member name " + quoteShort(s.JSONPointer.LastToken())
	case !utf8.Valid(body):
		return "not valid UTF-8" + at
	}
	return "not valid JSON" + at
}

// scan refuses what canonicalising would not survive or would change: nesting
// above the limit and numbers outside the double range. It must not trust body.
func scan(body []byte) error {
	depth := 0
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			n := stringLen(body[i:])
			if n < 0 {
				return malformed("not valid JSON: a string does not end")
			}
			i += n - 1
		case c == '{' || c == '[':
			if depth++; depth > maxNesting {
				return &InvalidError{Fields: []FieldError{{"data", "is nested deeper than " + strconv.Itoa(maxNesting)}}}
			}
		case c == '}' || c == ']':
			depth--
		case c == '-' || c >= '0' && c <= '9':
			n := numberLen(body[i:])
			if number := body[i : i+n]; (n > 300 || bytes.ContainsAny(number, "eE")) && outOfRange(number) {
				return &InvalidError{Fields: []FieldError{{"data", "a number is outside the double range: " + short(string(number))}}}
			}
			i += n - 1
		}
	}
	return nil
}

func numberLen(b []byte) int {
	for i, c := range b {
		if !(c >= '0' && c <= '9' || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E') {
			return i
		}
	}
	return len(b)
}

func outOfRange(number []byte) bool {
	f, err := strconv.ParseFloat(string(number), 64)
	return errors.Is(err, strconv.ErrRange) && math.IsInf(f, 0)
}

// eachMember calls f for each member of a canonical JSON object. Of a line on
// disk nobody knows that its data is one: at what is none it ends, and tells.
func eachMember(object []byte, f func(name, value []byte)) (whole bool) {
	if string(object) == "{}" {
		return true
	}
	c := cursor{b: object}
	for before := "{"; ; before = "," {
		name, value := c.quoted(before), c.value(":")
		if c.bad {
			return false
		}
		if f(name, value); string(c.b) == "}" {
			return true
		}
	}
}

// canonicalize brings JSON that the store made itself into canonical form.
func canonicalize(b []byte) []byte {
	v := jsontext.Value(b)
	if err := v.Canonicalize(jsontext.CanonicalizeRawInts(false)); err != nil {
		panic(fmt.Sprintf("ledger: canonicalising own JSON: %v", err))
	}
	return v
}
