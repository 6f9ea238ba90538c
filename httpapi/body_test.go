package httpapi

import (
	"strings"
	"testing"
)

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

// White space in front of an event counted for nothing, and behind it in full.
func TestWhiteSpaceAroundAnEventCountsAlike(t *testing.T) {
	f := start(t)
	pad := strings.Repeat(" \n", maxEventBody/2)
	for _, b := range []string{pad + body, body + pad, pad[1:] + body} {
		f.do("POST", "/events", b).want(t, 413, "larger than 6291456 bytes")
	}
	f.do("POST", "/events", pad+"["+body+"]").want(t, 201, `"count":1`)
	f.do("POST", "/events", pad+body, "Content-Type", "application/x-ndjson").want(t, 201, `"count":1`)
	f.do("POST", "/events", pad[len(body):]+body).want(t, 201) // to the byte
	f.do("POST", "/events", pad).want(t, 400)
	if id := f.ledger.Head().ID; id != 3 {
		t.Errorf("%d events", id)
	}
}
