package httpapi

import (
	"net/http"
	"net/url"
)

// parameters reads the query. A malformed one is refused: what could not be read of it must not pass for left out.
func parameters(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, newProblem(http.StatusBadRequest, "the query is malformed: %v", err)
	}
	return values, nil
}

// bare refuses parameters: the call has none, and a misspelt one must not pass for an answer.
func bare(h func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.URL.RawQuery == "" {
			return h(w, r)
		}
		values, err := parameters(r)
		if err != nil {
			return err
		}
		for name := range values {
			return invalid(fieldError{Field: name, Message: "is not a parameter of this call"})
		}
		return h(w, r)
	}
}
