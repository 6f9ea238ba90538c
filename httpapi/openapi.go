package httpapi

import (
	_ "embed"
	"net/http"
)

// description is the API's description, OpenAPI 3.1.
//
//go:embed openapi.yaml
var description []byte

// openapi is GET /openapi.yaml (application/yaml, RFC 9512).
func (a *API) openapi(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/yaml")
	_, err := w.Write(description)
	return err
}
