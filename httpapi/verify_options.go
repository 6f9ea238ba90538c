package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"home.lab/event-store/ledger"
)

// verifyBody is what POST /verify may be given.
type verifyBody struct {
	Heads   []string          // "id:hash", which must be in the chain
	Require map[string]string // category: shortest retention that is good enough, as 365d
}

// verifyOptions reads the body; plain says that there is nothing in it.
func verifyOptions(w http.ResponseWriter, r *http.Request) (o ledger.VerifyOptions, plain bool, err error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxVerifyBody))
	if err != nil {
		return o, false, unread(err)
	}
	if len(strings.TrimSpace(string(body))) == 0 {
		return o, true, nil
	}
	if text := r.Header.Get("Content-Type"); text != "" && mediaOf(text) != "application/json" {
		return o, false, newProblem(http.StatusUnsupportedMediaType, "Content-Type must be application/json, in UTF-8, not %s", text)
	}
	b, err := parseVerifyBody(body)
	if err != nil {
		return o, false, err
	}
	o, err = b.options()
	return o, len(o.Heads) == 0 && len(o.Require) == 0, err
}

// parseVerifyBody reads the body. Nothing in it may go unheeded, of two members of one name neither: a verification that
// asked for less than was meant would say valid.
func parseVerifyBody(body []byte) (b verifyBody, err error) {
	var members struct {
		Heads   jsontext.Value `json:"heads"`
		Require jsontext.Value `json:"require"`
	}
	err = json.Unmarshal(body, &members, json.RejectUnknownMembers(true))
	var syntax *jsontext.SyntacticError
	var semantic *json.SemanticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntax):
		return b, invalid(fieldError{Field: syntax.JSONPointer.LastToken(), Message: "is given twice"})
	case errors.Is(err, json.ErrUnknownName) && errors.As(err, &semantic):
		return b, invalid(fieldError{Field: semantic.JSONPointer.LastToken(), Message: "is not a member of this body"})
	case errors.As(err, &semantic), err == nil && jsontext.Value(body).Kind() != '{':
		return b, invalid(fieldError{Message: "the body must be an object"})
	case err != nil:
		return b, newProblem(http.StatusBadRequest, "the body is not JSON")
	}
	if v := members.Heads; v != nil && (v.Kind() != '[' || json.Unmarshal(v, &b.Heads) != nil) {
		return b, invalid(fieldError{Field: "heads", Message: "must be a list of strings id:hash"})
	}
	if v := members.Require; v != nil && (v.Kind() != '{' || json.Unmarshal(v, &b.Require) != nil) {
		return b, invalid(fieldError{Field: "require", Message: "must be an object whose values are strings like 365d"})
	}
	return b, nil
}

func (b verifyBody) options() (o ledger.VerifyOptions, err error) {
	var errs []fieldError
	for i, s := range b.Heads {
		id, hash, _ := strings.Cut(s, ":")
		n, err := ledger.ParseID(id)
		if err != nil || len(hash) != 64 || strings.Trim(hash, "0123456789abcdef") != "" {
			errs = append(errs, fieldError{Field: fmt.Sprintf("heads[%d]", i), Message: "must be id:hash in lower-case hex, 12 and 64 digits"})
		}
		o.Heads = append(o.Heads, ledger.Head{ID: n, Hash: hash})
	}
	o.Require = make(map[string]time.Duration, len(b.Require))
	for category, s := range b.Require {
		d, err := ledger.ParseAge(s)
		if err != nil {
			errs = append(errs, fieldError{Field: "require." + category, Message: err.Error()})
		}
		o.Require[category] = d
	}
	if len(errs) > 0 {
		return o, invalid(errs...)
	}
	return o, nil
}
