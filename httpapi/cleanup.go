package httpapi

import (
	"net/http"
	"net/url"
	"time"
)

// cleanup is POST /cleanup: a retention pass now, or with dry_run=true what one would age out. What was decided is
// rewritten also when the caller leaves.
func (a *API) cleanup(w http.ResponseWriter, r *http.Request) error {
	dry, err := dryRun(r.URL.Query())
	if err != nil {
		return err
	}
	http.NewResponseController(w).SetWriteDeadline(time.Time{})
	if a.cleaning != nil && !dry {
		if err := a.cleaning(r.Context(), callerOf(r)); err != nil {
			return err
		}
	}
	report, err := a.retention.Cleanup(r.Context(), dry)
	if err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, report)
	return nil
}

func dryRun(q url.Values) (bool, error) {
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
