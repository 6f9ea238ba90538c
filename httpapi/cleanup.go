package httpapi

import (
	"bytes"
	"io"
	"net/http"
	"time"

	"home.lab/event-store/ledger"
)

// cleanup is POST /cleanup: a retention pass now, or with dry_run=true what one would age out. What was decided is
// rewritten also when the caller leaves.
func (a *API) cleanup(w http.ResponseWriter, r *http.Request) error {
	dry, err := dryRun(r)
	if err != nil {
		return err
	}
	if !dry && !a.ledger.Signs() { // also where nothing is due, and a pass would decide nothing
		return ledger.ErrFollows
	}
	http.NewResponseController(w).SetWriteDeadline(time.Time{})
	if a.cleaning != nil && !dry {
		if err := a.cleaning(r.Context(), callerOf(r)); err != nil {
			a.log.Warn("clean-up refused", "error", err)
			return newProblem(http.StatusServiceUnavailable, "a clean-up that cannot be chained does not begin: %v", err)
		}
	}
	report, err := a.retention.Cleanup(r.Context(), dry)
	if err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, report)
	return nil
}

// dryRun reads dry_run. Nothing may be left unread that could have been meant as one, a body neither: what a pass ages
// out is gone.
func dryRun(r *http.Request) (bool, error) {
	q, err := parameters(r)
	if err != nil {
		return false, err
	}
	const most = 1 << 10
	body, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return false, unread(err)
	}
	if text := bytes.TrimSpace(body); len(body) > most || len(text) > 0 && string(text) != "{}" {
		return false, invalid(fieldError{Message: "this call takes no body, or {}; dry_run is a parameter of the query"})
	}
	for name, values := range q {
		if name != "dry_run" {
			return false, invalid(fieldError{Field: name, Message: "is not a parameter of this call"})
		}
		if len(values) != 1 || values[0] != "true" && values[0] != "false" {
			return false, invalid(fieldError{Field: name, Message: "must be true or false"})
		}
	}
	return q.Get("dry_run") == "true", nil
}
