package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"home.lab/event-store/ledger"
)

// verifyBody is what POST /verify may be given.
type verifyBody struct {
	Heads   []string          `json:"heads"`   // "id:hash", which must be in the chain
	Require map[string]string `json:"require"` // category: shortest retention that is good enough, as 365d
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
	if text := r.Header.Get("Content-Type"); text != "" {
		if media, _, err := mime.ParseMediaType(text); err != nil || media != "application/json" {
			return o, false, newProblem(http.StatusUnsupportedMediaType, "Content-Type must be application/json, not %s", text)
		}
	}
	var b verifyBody
	if !json.Valid(body) {
		return o, false, newProblem(http.StatusBadRequest, "the body is not JSON")
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&b); err != nil {
		return o, false, invalid(fieldError{Message: strings.TrimPrefix(err.Error(), "json: ")})
	}
	o, err = b.options()
	return o, len(o.Heads) == 0 && len(o.Require) == 0, err
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
