package httpapi

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// wantsNDJSON says whether the client would rather have application/x-ndjson than an array (RFC 9110, section 12.5.1). It
// must name it; where it likes both as well, it gets it.
func wantsNDJSON(r *http.Request) bool {
	var lines, array liking
	for _, v := range r.Header["Accept"] {
		for text := range strings.SplitSeq(v, ",") {
			accepted, params, err := mime.ParseMediaType(text)
			if err != nil {
				continue
			}
			q := 1.0
			if given, ok := params["q"]; ok {
				q, _ = strconv.ParseFloat(given, 64) // what is no number is not liked
			}
			lines.take("application/x-ndjson", accepted, q)
			array.take("application/json", accepted, q)
		}
	}
	return lines.closeness == exactly && lines.q > 0 && lines.q >= array.q
}

// A liking is how much a client likes a media type, by what is closest to it of all that it accepts.
type liking struct {
	q         float64
	closeness int
}

const (
	anything = iota + 1
	ofItsKind
	exactly
)

func (l *liking) take(media, accepted string, q float64) {
	closeness := 0
	switch kind, _, _ := strings.Cut(media, "/"); accepted {
	case media:
		closeness = exactly
	case kind + "/*":
		closeness = ofItsKind
	case "*/*":
		closeness = anything
	}
	if closeness > l.closeness || closeness == l.closeness && closeness > 0 && q > l.q {
		*l = liking{q, closeness}
	}
}
