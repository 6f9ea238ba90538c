// Package apitest checks requests and answers against the API's description, for tests.
package apitest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"reflect"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// A Contract is a description that answers must follow to the letter: a member or status that it does not name is an
// error, though clients must bear new ones.
type Contract struct {
	Document *openapi3.T
	router   routers.Router
}

func init() {
	for _, media := range []string{"application/x-ndjson", "text/event-stream", "text/html", "text/css", "text/javascript", "image/svg+xml"} {
		openapi3filter.RegisterBodyDecoder(media, openapi3filter.PlainBodyDecoder)
	}
}

// New reads a description and checks that it is valid OpenAPI.
func New(description []byte) (*Contract, error) {
	doc, err := openapi3.NewLoader().LoadFromData(description)
	if err != nil {
		return nil, fmt.Errorf("reading the description: %w", err)
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("validating the description: %w", err)
	}
	for _, s := range doc.Components.Schemas {
		closeObject(s, map[*openapi3.Schema]bool{})
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		return nil, fmt.Errorf("routing the description: %w", err)
	}
	return &Contract{doc, router}, nil
}

// closeObject forbids members that a schema does not name, where it does not say that there may be others.
func closeObject(ref *openapi3.SchemaRef, seen map[*openapi3.Schema]bool) {
	if ref == nil || ref.Value == nil || seen[ref.Value] {
		return
	}
	s := ref.Value
	seen[s] = true
	if len(s.Properties) > 0 && reflect.ValueOf(s.AdditionalProperties).IsZero() {
		no := false
		s.AdditionalProperties.Has = &no
	}
	for _, p := range s.Properties {
		closeObject(p, seen)
	}
	for _, alternative := range s.OneOf {
		closeObject(alternative, seen)
	}
	closeObject(s.Items, seen)
	closeObject(s.AdditionalProperties.Schema, seen)
}

// Check says how an answer, or the request that it accepts, differs from the description. A request to a path or with
// a method that is not described must be refused as a problem.
func (c *Contract) Check(r *http.Request, sent []byte, res *http.Response, got []byte) error {
	route, params, err := c.router.FindRoute(r)
	if err != nil {
		return c.checkStray(res)
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc}}
	if res.StatusCode < 400 && (len(sent) == 0 || r.Header.Get("Content-Type") != "") {
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(sent))
		in.Request = r
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			return fmt.Errorf("%s %s was answered %d, but is not as described: %w", r.Method, r.URL, res.StatusCode, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: res.StatusCode, Header: res.Header,
		Body: io.NopCloser(bytes.NewReader(got)), Options: &openapi3filter.Options{IncludeResponseStatus: true}}
	if err := openapi3filter.ValidateResponse(r.Context(), out); err != nil {
		return fmt.Errorf("the answer %d to %s %s is not as described: %w", res.StatusCode, r.Method, r.URL, err)
	}
	return nil
}

func (c *Contract) checkStray(res *http.Response) error {
	if res.Request != nil && res.Request.Method == http.MethodHead || res.StatusCode >= 400 && res.Header.Get("Content-Type") == "application/problem+json" {
		return nil
	}
	return fmt.Errorf("the answer %d is that of no described call", res.StatusCode)
}

// Path is the path of the description that a request is for, as /events/{id}.
func (c *Contract) Path(r *http.Request) (string, error) {
	route, _, err := c.router.FindRoute(r)
	if err != nil {
		return "", err
	}
	return route.Path, nil
}
