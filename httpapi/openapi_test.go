package httpapi

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"

	"home.lab/event-store/httpapi/apitest"
	"home.lab/event-store/ledger"
)

// contract is openapi.yaml; every answer of this package's tests, good or bad, is checked against it (fixture.do).
var contract = sync.OnceValue(func() *apitest.Contract {
	c, err := apitest.New(description)
	if err != nil {
		panic(err)
	}
	return c
})

// The description has the router's calls, all of them and no others.
func TestDescriptionHasEveryRoute(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	f := startWith(t, ledger.Options{Logger: quiet}, Options{Retention: passNothing{}, Logger: quiet})
	var routed, described []string
	err := chi.Walk(f.api.Handler().(chi.Router), func(method, route string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		routed = append(routed, method+" "+route)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range contract().Document.Paths.Map() {
		for method := range item.Operations() {
			described = append(described, method+" "+path)
		}
	}
	slices.Sort(routed)
	slices.Sort(described)
	if !slices.Equal(routed, described) {
		t.Errorf("routed:    %s\ndescribed: %s", strings.Join(routed, ", "), strings.Join(described, ", "))
	}
}
