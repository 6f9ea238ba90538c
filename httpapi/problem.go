package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-chi/chi/v5"

	"home.lab/event-store/ledger"
)

// retryAfter is what a 429 and a 503 advise, in seconds (RFC 9110, section 10.2.3).
const retryAfter = "2"

// fieldError names a field or parameter, and what is wrong with it. In a bulk append Field begins with "line 3: " or
// "item 3: ", and the number stands by itself as well.
type fieldError struct {
	Line    int    `json:"line,omitempty"`   // physical line of an NDJSON body, from 1
	Item    int    `json:"item,omitempty"`   // element of an array body, from 1
	Member  string `json:"member,omitempty"` // of that event, where one is at fault
	Field   string `json:"field"`            // what is at fault in words: of many events the place, then the member
	Message string `json:"message"`
}

// problem is an error that knows its answer: application/problem+json (RFC 9457) with type about:blank.
type problem struct {
	Title  string       `json:"title"`
	Status int          `json:"status"`
	Detail string       `json:"detail,omitempty"`
	Errors []fieldError `json:"errors,omitempty"`

	header http.Header
}

func newProblem(status int, format string, args ...any) *problem {
	p := &problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...), header: http.Header{}}
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		p.header.Set("Retry-After", retryAfter)
	}
	return p
}

// invalid is the 422 for what is well-formed but not acceptable.
func invalid(errs ...fieldError) *problem {
	p := newProblem(http.StatusUnprocessableEntity, "%s", summary(errs))
	p.Errors = errs
	return p
}

// summary is one line about errs: the first, and how many more.
func summary(errs []fieldError) string {
	if len(errs) == 0 {
		return "invalid"
	}
	s := strings.TrimPrefix(errs[0].Field+": "+errs[0].Message, ": ")
	if n := len(errs) - 1; n > 0 {
		s += fmt.Sprintf(" (and %d more)", n)
	}
	return s
}

func (p *problem) Error() string { return fmt.Sprintf("%d %s: %s", p.Status, p.Title, p.Detail) }

func (p *problem) write(w http.ResponseWriter) {
	for k, v := range p.header {
		w.Header()[k] = v
	}
	writeJSON(w, "application/problem+json", p.Status, p)
}

// problemOf gives the answer to err; what it does not know is a 500 that keeps its cause for the log.
func problemOf(err error) *problem {
	var p *problem
	var ie *ledger.InvalidError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &ie):
		return invalidEvent(ie)
	case errors.As(err, &tooLarge):
		return newProblem(http.StatusRequestEntityTooLarge, "the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, ledger.ErrMalformedID):
		return newProblem(http.StatusBadRequest, "%v", err)
	case errors.Is(err, ledger.ErrNotFound):
		return newProblem(http.StatusNotFound, "%v", err)
	case errors.Is(err, ledger.ErrAgedOut):
		return newProblem(http.StatusGone, "%v", err)
	case errors.Is(err, ledger.ErrDamaged):
		return newProblem(http.StatusInternalServerError, "%v: a verification says more", ledger.ErrDamaged)
	case errors.Is(err, ledger.ErrFollows):
		return newProblem(http.StatusForbidden, "%v", err)
	case errors.Is(err, ledger.ErrUnavailable), errors.Is(err, ledger.ErrStopped), errors.Is(err, context.DeadlineExceeded):
		return newProblem(http.StatusServiceUnavailable, "%v", err)
	}
	return newProblem(http.StatusInternalServerError, "the store failed to handle this request; its log says why")
}

// invalidEvent gives the answer to the body of one event that the ledger refuses.
func invalidEvent(ie *ledger.InvalidError) *problem {
	status := http.StatusUnprocessableEntity
	switch {
	case ie.Malformed:
		status = http.StatusBadRequest
	case ie.TooLarge:
		status = http.StatusRequestEntityTooLarge
	}
	p := newProblem(status, "%v", ie)
	for _, f := range ie.Fields {
		p.Errors = append(p.Errors, fieldError{Field: f.Field, Message: f.Message})
	}
	return p
}

func noRoute(_ http.ResponseWriter, r *http.Request) error {
	return newProblem(http.StatusNotFound, "there is nothing at %s", r.URL.EscapedPath()) // /%65vents is not /events here
}

// wrongMethod is the 405, which must name the methods that are allowed (RFC 9110, section 15.5.6).
func wrongMethod(_ http.ResponseWriter, r *http.Request) error {
	var allow []string
	routes := chi.RouteContext(r.Context()).Routes
	for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if !routes.Match(chi.NewRouteContext(), m, r.URL.Path) {
			continue
		}
		allow = append(allow, m)
		if m == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	p := newProblem(http.StatusMethodNotAllowed, "%s does not take %s", r.URL.Path, r.Method)
	p.header.Set("Allow", strings.Join(allow, ", "))
	return p
}

// writeJSON writes v as the whole answer. Not for events: those are served as stored.
func writeJSON(w http.ResponseWriter, contentType string, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("httpapi: answer cannot be JSON: %v", err))
	}
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}
