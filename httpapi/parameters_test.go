package httpapi

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
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

// Without the private key a clean-up was 403 when something was due, and 200 when nothing was.
func TestCleanupWithoutTheKeyIsRefusedAlsoWhenNothingIsDue(t *testing.T) {
	quiet, dir := slog.New(slog.DiscardHandler), t.TempDir()
	l, err := ledger.Open(t.Context(), ledger.Options{Dir: dir, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.KeepKey(), l.Close(), os.Remove(filepath.Join(dir, "ledger.key"))); err != nil {
		t.Fatal(err)
	}
	passes, told := &counting{}, 0
	cleaning := func(context.Context, Caller) error { told++; return nil }
	f := startWith(t, ledger.Options{Dir: dir, Logger: quiet}, Options{Retention: passes, Cleaning: cleaning, Logger: quiet})
	f.do("POST", "/cleanup", "").want(t, 403, "no private key")
	f.do("POST", "/cleanup?dry_run=false", "").want(t, 403, "no private key")
	if passes.n != 0 || told != 0 {
		t.Errorf("%d passes, %d told", passes.n, told)
	}
	if f.send("POST", "/cleanup?dry_run=true", "").want(t, 200); passes.n != 1 {
		t.Errorf("%d passes, want 1", passes.n)
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
