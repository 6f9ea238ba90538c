package httpapi

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"home.lab/event-store/ledger"
)

// readBody reads the whole body, and says whether it is an array: the first byte behind white space, which counts too,
// decides which size is allowed.
func readBody(w http.ResponseWriter, r *http.Request, ndjson bool) (body []byte, array bool, err error) {
	limited := http.MaxBytesReader(w, r.Body, maxBulkBody)
	room := min(r.ContentLength, maxAnnounced) // the end comes with the last byte
	if room <= 0 {
		room = bytes.MinRead
	}
	body = make([]byte, 0, room)
	read, begun := 0, false
	for {
		n, err := limited.Read(body[len(body):cap(body)])
		body, read = body[:len(body)+n], read+n
		if !begun && !ndjson {
			body = body[:copy(body, bytes.TrimLeft(body, " \t\r\n"))]
			begun = len(body) > 0
			array = begun && body[0] == '['
		}
		switch {
		case begun && !array && read > maxEventBody:
			return nil, false, &http.MaxBytesError{Limit: maxEventBody}
		case err == io.EOF:
			return body, array, nil
		case err != nil:
			return nil, false, unread(err)
		}
		if len(body) == cap(body) {
			body = slices.Grow(body, bytes.MinRead)
		}
	}
}

// part is one event's text in a bulk body, with its place: a line or an item, from 1.
type part struct {
	text       []byte
	line, item int
}

// decodeBulk gives the drafts of all events in body with their places, or a problem that names every bad one.
func (a *API) decodeBulk(body []byte, array bool) ([]ledger.Draft, []part, error) {
	split := splitLines
	if array {
		split = splitArray
	}
	parts, err := split(body)
	switch {
	case err != nil:
		return nil, nil, err
	case len(parts) == 0:
		return nil, nil, invalid(fieldError{Message: "there is no event in the body"})
	}
	drafts := make([]ledger.Draft, 0, len(parts))
	var errs []fieldError
	tooLarge := false
	for _, p := range parts {
		draft, err := a.ledger.Decode(p.text)
		var ie *ledger.InvalidError
		switch {
		case err == nil:
			drafts = append(drafts, draft)
		case errors.As(err, &ie):
			errs = append(errs, p.errors(ie)...)
			tooLarge = tooLarge || ie.TooLarge
		default:
			return nil, nil, err
		}
	}
	if len(errs) > 0 {
		return nil, nil, refused(errs, tooLarge)
	}
	return drafts, parts, nil
}

// refused is the answer to a bulk append with bad events.
func refused(errs []fieldError, tooLarge bool) *problem {
	p := invalid(errs...)
	if tooLarge {
		p.Status, p.Title = http.StatusRequestEntityTooLarge, http.StatusText(http.StatusRequestEntityTooLarge)
	}
	return p
}

// refusedOne names the place of the draft that an error of AppendBatch is about, where it is about one.
func refusedOne(err error, parts []part) error {
	var one interface {
		error
		Draft() int
	}
	var ie *ledger.InvalidError
	if errors.As(err, &one) && errors.As(err, &ie) {
		return refused(parts[one.Draft()].errors(ie), ie.TooLarge)
	}
	return unpublished(err)
}

// errors names the place of each of ie's errors.
func (p part) errors(ie *ledger.InvalidError) []fieldError {
	place := fmt.Sprintf("line %d", p.line)
	if p.item > 0 {
		place = fmt.Sprintf("item %d", p.item)
	}
	fields := ie.Fields
	if len(fields) == 0 {
		fields = []ledger.FieldError{{Message: ie.Error()}}
	}
	errs := make([]fieldError, 0, len(fields))
	for _, f := range fields {
		field := place
		if f.Field != "" {
			field += ": " + f.Field
		}
		errs = append(errs, fieldError{Line: p.line, Item: p.item, Member: f.Field, Field: field, Message: f.Message})
	}
	return errs
}

// splitLines cuts an NDJSON body; empty lines count, but hold no event.
func splitLines(body []byte) ([]part, error) {
	var parts []part
	for n := 1; len(body) > 0; n++ {
		var line []byte
		line, body, _ = bytes.Cut(body, []byte{'\n'})
		if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
			continue
		}
		if len(parts) == maxBatch {
			return nil, tooMany()
		}
		parts = append(parts, part{text: line, line: n})
	}
	return parts, nil
}

const maxNesting = 64 // arrays and objects of an event: the ledger's limit

// splitArray cuts a JSON array into its elements. Names and UTF-8 are left to Decode, which says whose they are.
func splitArray(body []byte) ([]part, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	malformed := func(err error) ([]part, error) {
		return nil, newProblem(http.StatusBadRequest, "the body is not JSON: %v", err)
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err)
	}
	var parts []part
	for dec.PeekKind() != ']' {
		v, err := dec.ReadValue()
		var s *jsontext.SyntacticError
		switch {
		case errors.As(err, &s) && strings.Count(string(s.JSONPointer), "/") > maxNesting: // the decoder gives up far below
			deep := &ledger.InvalidError{Fields: []ledger.FieldError{{Field: "data", Message: fmt.Sprintf("is nested deeper than %d", maxNesting)}}}
			return nil, invalid(part{item: len(parts) + 1}.errors(deep)...)
		case err != nil:
			return malformed(err)
		}
		if len(parts) == maxBatch {
			return nil, tooMany()
		}
		end := int(dec.InputOffset()) // v is the decoder's own; the body's bytes stay
		parts = append(parts, part{text: body[end-len(v) : end], item: len(parts) + 1})
	}
	if _, err := dec.ReadToken(); err != nil {
		return malformed(err)
	}
	if _, err := dec.ReadToken(); err != io.EOF {
		return malformed(errors.New("something follows the array"))
	}
	return parts, nil
}

func tooMany() error {
	return newProblem(http.StatusRequestEntityTooLarge, "a bulk append takes at most %d events", maxBatch)
}
