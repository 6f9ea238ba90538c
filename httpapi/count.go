package httpapi

import (
	"fmt"
	"net/http"
)

// count is GET /events/count.
func (a *API) count(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r)
	if err != nil {
		return err
	}
	for _, name := range []string{"limit", "order"} {
		if values.Has(name) {
			return invalid(fieldError{Field: name, Message: "is not a parameter of this call"})
		}
	}
	f, err := parseFilter(grantOf(r), values, false)
	if err != nil {
		return err
	}
	n, err := a.ledger.Count(r.Context(), f)
	if err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	writeJSON(w, "application/json", http.StatusOK, n)
	return nil
}
