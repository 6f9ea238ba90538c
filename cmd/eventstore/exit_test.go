package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// What --help says of exit codes holds: status shows a broken chain and ends with 0, no match is no failure.
func TestExitCodesAreAsTheHelpSays(t *testing.T) {
	answers := map[string]string{"/status": `{"chain_valid":false,"verified_at":"2025-12-25T10:00:00.000000Z"}`, "/events": "[]"}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Accept") != "application/x-ndjson" {
			io.WriteString(w, answers[r.URL.Path])
		}
	}))
	defer srv.Close()
	refusing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer refusing.Close()
	for _, command := range []string{"query", "tail", "status"} {
		for code, args := range [][]string{{"--url", srv.URL}, {"--url", refusing.URL}, {"--nosuch"}} {
			root := rootCommand()
			root.SetOut(io.Discard)
			root.SetErr(io.Discard)
			root.SetArgs(append([]string{command}, args...))
			err, exit := root.ExecuteContext(t.Context()), exitError{code: 1}
			if errors.As(err, &exit); err == nil {
				exit.code = 0
			}
			if exit.code != code {
				t.Errorf("%s %q ends with %d, want %d: %v", command, args, exit.code, code, err)
			}
		}
	}
}
