package httpapi

import (
	"log/slog"
	"strings"
	"testing"

	"home.lab/event-store/ledger"
)

// What could have meant a dry run is refused where it cannot be read: a pass cannot be taken back.
func TestDryRunThatCannotBeReadAgesNothingOut(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	passes := &counting{}
	f := startWith(t, ledger.Options{Logger: quiet}, Options{Retention: passes, Logger: quiet})
	for query, status := range map[string]int{"dry_run=true;": 400, "dry_run=true%": 400, "dry_run=true%zz": 400, "dry_run%=true": 400,
		"%zz": 400, "dry_run=": 422, "dry_run": 422, "dry_run=1": 422, "dry_run=TRUE": 422, "Dry_Run=true": 422, "dry_run=true&dry_run=true": 422} {
		f.do("POST", "/cleanup?"+query, "").want(t, status)
	}
	for _, body := range []string{"dry_run=true", `{"dry_run":true}`, "[]", strings.Repeat(" ", 1024) + `{"dry_run":true}`} {
		for _, media := range []string{"application/json", "application/x-www-form-urlencoded", ""} {
			f.do("POST", "/cleanup", body, "Content-Type", media).want(t, 422, "takes no body")
		}
	}
	if passes.n != 0 {
		t.Errorf("%d passes", passes.n)
	}
	for _, body := range []string{"", "{}", " {}\n"} { // clients that always send an object
		f.send("POST", "/cleanup", body, "Content-Type", "application/json").want(t, 200)
	}
	if passes.n != 3 {
		t.Errorf("%d passes, want 3", passes.n)
	}
}

// A call without parameters must not answer as if a misspelt one were heeded, an append neither.
func TestParametersThatACallDoesNotHaveAreRefused(t *testing.T) {
	f := start(t)
	f.do("POST", "/events", body).want(t, 201)
	for _, call := range [][2]string{{"POST", "/events"}, {"POST", "/verify"}, {"GET", "/verify"}, {"GET", "/status"}, {"GET", "/health"},
		{"GET", "/metrics"}, {"GET", "/events/000000000001"}} {
		for _, query := range []string{"%zz", "a;b", "heads%=x"} {
			f.do(call[0], call[1]+"?"+query, body, "Content-Type", "application/json").want(t, 400, "malformed")
		}
		f.do(call[0], call[1]+"?nosuch=x", body, "Content-Type", "application/json").want(t, 422, `"field":"nosuch"`)
	}
	if n := f.ledger.Status().TotalEvents; n != 1 {
		t.Errorf("%d events", n)
	}
}
