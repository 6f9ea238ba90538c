package httpapi

import (
	"encoding/json"
	"maps"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

func TestCount(t *testing.T) {
	f := start(t)
	if a := f.do("GET", "/events/count", "").want(t, 200); a.body != `{"count":0,"categories":{},"days":[]}`+"\n" {
		t.Errorf("empty: %q", a.body)
	}
	f.fill(12)
	today := time.Now().UTC().Format(time.DateOnly)
	for query, want := range map[string]map[string]int64{
		"":                                {"security": 6, "user": 6},
		"category=security":               {"security": 6},
		"actor=u0":                        {"user": 6},
		"actor=u0&actor=u1&category=user": {"user": 6},
		"q=NEEDLE11":                      {"security": 1},
		"after=00000000000a":              {"security": 1, "user": 1},
		"before=000000000002":             {"user": 1},
		"start_time=" + today:             {"security": 6, "user": 6},
		"end_time=2001-01-01":             {},
		"result=failure":                  {},
	} {
		var c ledger.Count
		if err := json.Unmarshal([]byte(f.do("GET", "/events/count?"+query, "").want(t, 200).body), &c); err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, n := range want {
			total += n
		}
		if !maps.Equal(c.Categories, want) || c.Events != total {
			t.Errorf("%s: %+v, want %v", query, c, want)
		}
		if total > 0 && (len(c.Days) == 0 || c.Days[0].Events == 0) {
			t.Errorf("%s: days %+v", query, c.Days)
		}
	}
	f.send("GET", "/events/count?limit=3", "").want(t, 422, "limit")
	f.send("GET", "/events/count?order=asc", "").want(t, 422, "order")
	f.do("GET", "/events/count?actr=x", "").want(t, 422, "actr")
	f.do("HEAD", "/events/count", "").want(t, 200)
}

// HEAD has the header of GET, but for the length.
func TestHead(t *testing.T) {
	f := start(t)
	f.fill(12)
	for _, query := range []string{"", "limit=2", "limit=12", "limit=11", "category=user&limit=2&order=asc", "q=needle&limit=3", "actor=u0&limit=1"} {
		get, head := f.do("GET", "/events?"+query, "").want(t, 200), f.do("HEAD", "/events?"+query, "").want(t, 200)
		for _, name := range []string{"Link", "Content-Type", "Vary"} {
			if got, want := head.Header.Get(name), get.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q, of GET %q", query, name, got, want)
			}
		}
	}
	if a := f.do("HEAD", "/events", "", "Accept", "application/x-ndjson").want(t, 200); a.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("NDJSON: %v", a.Header)
	}
}
