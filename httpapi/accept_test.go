package httpapi

import (
	"net/http"
	"testing"
)

// What a client likes less it does not get.
func TestTheClientGetsWhatItLikesMore(t *testing.T) {
	for accept, want := range map[string]bool{
		"": false, "*/*": false, "application/*": false, "application/json": false,
		"application/x-ndjson": true, "Application/X-NDJSON": true, "text/html, application/x-ndjson": true, "application/x-ndjson, */*": true,
		"application/json, application/x-ndjson": true, "application/x-ndjson;charset=utf-8": true, "application/x-ndjson; q=0.5": true,
		"application/json, application/x-ndjson;q=0.1": false, "application/x-ndjson;q=0.1,application/json;q=0.2": false,
		"application/json;q=0.1, application/x-ndjson;q=0.2": true, "*/*, application/x-ndjson;q=0.9": false, "*/*;q=0.1, application/x-ndjson;q=0.9": true,
		"application/*;q=0.2, */*, application/x-ndjson;q=0.9": true, "application/x-ndjson;q=0": false, "application/x-ndjson;q=0.000": false,
		"application/x-ndjson;charset=utf-8;q=0": false, "application/x-ndjson;Q=0": false, "application/x-ndjson;q=x": false,
	} {
		if got := wantsNDJSON(&http.Request{Header: http.Header{"Accept": {accept}}}); got != want {
			t.Errorf("%q: %v", accept, got)
		}
	}
}
