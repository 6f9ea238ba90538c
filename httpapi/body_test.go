package httpapi

import "testing"

// A body in another charset was read as UTF-8, and chained as other text than was meant.
func TestBodiesInAnotherCharsetAreRefused(t *testing.T) {
	f := start(t)
	calls := [][3]string{{"/events", "application/json", body}, {"/events", "application/x-ndjson", body}, {"/verify", "application/json", "{}"}}
	for _, c := range calls {
		for _, charset := range []string{"latin1", "iso-8859-1", "utf-16", "UTF-16LE", `""`} {
			f.do("POST", c[0], c[2], "Content-Type", c[1]+"; charset="+charset).want(t, 415, "UTF-8")
		}
	}
	if h := f.ledger.Head(); h.ID != 0 {
		t.Errorf("something was appended: %v", h)
	}
	for _, charset := range []string{"utf-8", "UTF-8", `"Utf-8"`, "utf8"} {
		for _, c := range calls {
			if a := f.do("POST", c[0], c[2], "Content-Type", c[1]+";charset="+charset); a.StatusCode >= 300 {
				t.Errorf("%s %s: %d %s", c, charset, a.StatusCode, a.body)
			}
		}
	}
}
