package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

func TestQuery(t *testing.T) {
	f := start(t)
	if a := f.do("GET", "/events", "").want(t, 200); a.body != "[]" || a.Header.Get("Link") != "" {
		t.Errorf("empty: %q %v", a.body, a.Header)
	}
	f.fill(12)
	today := time.Now().UTC().Format(time.DateOnly)
	for _, c := range []struct{ query, ids string }{
		{"", "c b a 9 8 7 6 5 4 3 2 1"},
		{"limit=2", "c b"},
		{"limit=2&order=asc", "1 2"},
		{"category=security&limit=3", "c a 8"},
		{"actor=u0&action=a0", "7 1"},
		{"action=a0&action=a1&limit=4", "b a 8 7"},
		{"q=needle11", "c"},
		{"before=000000000003", "2 1"},
		{"after=00000000000a", "c b"},
		{"after=00000000000a&order=asc", "b c"},
		{"result=failure", ""},
		{"target=t&limit=1", "c"},
		{"start_time=" + today + "&end_time=" + today + "&limit=1", "c"},
		{"end_time=2001-01-01", ""},
		{"start_time=2001-01-01T00:00:00%2B01:00&limit=1", "c"},
		{"end_time=2001-01-01T00:00:00+01:00", ""},
	} {
		got := strings.Join(f.do("GET", "/events?"+c.query, "").want(t, 200).ids(t), " ")
		if got != c.ids {
			t.Errorf("%s: %s, want %s", c.query, got, c.ids)
		}
	}
	line, _ := f.ledger.Get(12)
	line2, _ := f.ledger.Get(11)
	if a := f.do("GET", "/events?limit=2", ""); a.body != "["+string(line)+",\n"+string(line2)+"]" {
		t.Errorf("not as stored: %s", a.body)
	}
	if a := f.do("HEAD", "/events?limit=2", "").want(t, 200); a.body != "" || a.Header.Get("Link") == "" {
		t.Errorf("HEAD: %v %q", a.Header, a.body)
	}
}

// Who gives no limit gets a hundred events and where the next are, or all as NDJSON.
func TestNoLimitIsAHundred(t *testing.T) {
	f := start(t)
	f.fill(101)
	a := f.do("GET", "/events", "").want(t, 200)
	if ids := a.ids(t); len(ids) != 100 || ids[0] != "65" || ids[99] != "2" || a.Header.Get("Link") != `</events?before=000000000002>; rel="next"` {
		t.Errorf("%d events, %v, Link %q", len(ids), ids, a.Header.Get("Link"))
	}
	if h := f.do("HEAD", "/events", "").want(t, 200); h.Header.Get("Link") != a.Header.Get("Link") {
		t.Errorf("HEAD: Link %q", h.Header.Get("Link"))
	}
	if n := strings.Count(f.do("GET", "/events", "", "Accept", "application/x-ndjson").want(t, 200).body, "\n"); n != 101 {
		t.Errorf("%d lines", n)
	}
}

// However deep a body is nested, and whatever it is, the answer is the same.
func TestNestingIsAnsweredAlike(t *testing.T) {
	f := start(t)
	for _, depth := range []int{70, 20_000, 100_000} {
		deep := `{"category":"user","action":"a","actor":"b","data":` + strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth) + "}"
		f.do("POST", "/events", deep).want(t, 422, "data: is nested deeper than 64")
		f.do("POST", "/events", "["+body+","+deep+"]").want(t, 422, `"item":2`, "data: is nested deeper than 64")
		f.do("POST", "/events", strings.Repeat("[", depth)).want(t, 422, `"item":1`, "data: is nested deeper than 64")
		f.do("POST", "/events", body+"\n"+strings.Repeat("[", depth), "Content-Type", "application/x-ndjson").want(t, 422, `"line":2`, "data: is nested deeper than 64")
	}
	f.do("POST", "/events", "[[[").want(t, 400, "not JSON")
}

// The zero time of the program stands for no end; that of the client is one.
func TestEndTimeOfTheFirstMomentIsNoOpenEnd(t *testing.T) {
	f := start(t)
	f.fill(2)
	for _, end := range []string{"0001-01-01T00:00:00Z", "0001-01-01T01:00:00%2B01:00", "0001-01-01"} {
		if a := f.do("GET", "/events?end_time="+end, "").want(t, 200); a.body != "[]" {
			t.Errorf("%s: %s", end, a.body)
		}
		f.do("GET", "/events/count?end_time="+end, "").want(t, 200, `"count":0`)
	}
}

func TestQueryRefuses(t *testing.T) {
	f := start(t)
	for query, field := range map[string]string{
		"colour=1": "colour", "limit=0": "limit", "limit=-1": "limit", "limit=10001": "limit", "limit=x": "limit", "limit=": "limit",
		"limit=1&limit=2": "limit", "q=a&q=b": "q", "order=up": "order", "before=x": "before", "after=1": "after", "before=00000000000A": "before", "before=000000000000": "before",
		"start_time=yesterday": "start_time", "end_time=2001-02-30": "end_time", "start_time=": "start_time",
	} {
		f.do("GET", "/events?"+query, "").want(t, 422, `"field":"`+field+`"`)
	}
	f.do("GET", "/events?limit=0&colour=1", "").want(t, 422, `"field":"limit"`, `"field":"colour"`)
	f.do("GET", "/events?q=%zz", "").want(t, 400)
}

// What is almost a time or a number was taken for one.
func TestTimesAndNumbersInOtherFormsAreNotTaken(t *testing.T) {
	f := start(t)
	for _, name := range []string{"start_time", "end_time"} {
		for _, v := range []string{"2026-11-26T11:32:21,5Z", "2026-11-26T1:32:21Z", "2026-11-26T11:32:21%2B24:00", "2026-11-26T11:32:21%2B01:60"} {
			for _, path := range []string{"/events", "/events/count", "/events/stream"} {
				f.do("GET", path+"?"+name+"="+v, "").want(t, 422, `"field":"`+name+`"`)
			}
		}
	}
	for _, v := range []string{"%2B5", "+5", "05", "5.0", "5e0"} {
		f.do("GET", "/events?limit="+v, "").want(t, 422, `"field":"limit"`)
	}
	for _, v := range []string{"2026-11-26T11:32:21.5Z", "2026-11-26t11:32:21z", "2026-11-26T11:32:21%2B01:00", "2026-11-26T11:32:21+01:00", "2026-11-26T11:32:21.123456789-23:59", "2026-11-26"} {
		f.do("GET", "/events?start_time="+v, "").want(t, 200)
	}
}

// follow reads all pages and gives their ids.
func (f *fixture) follow(path string, header ...string) (ids []string, pages int) {
	for path != "" {
		a := f.do("GET", path, "", header...).want(f.t, 200)
		ids = append(ids, a.ids(f.t)...)
		pages++
		path = ""
		if link := a.Header.Get("Link"); link != "" {
			var ok bool
			if path, ok = strings.CutSuffix(strings.TrimPrefix(link, "<"), `>; rel="next"`); !ok {
				f.t.Fatalf("Link %q", link)
			}
		}
	}
	return ids, pages
}

func TestPages(t *testing.T) {
	f := start(t)
	f.fill(12)
	for _, c := range []struct {
		path, ids string
		pages     int
	}{
		{"/events?limit=5", "c b a 9 8 7 6 5 4 3 2 1", 3},
		{"/events?limit=4&order=asc", "1 2 3 4 5 6 7 8 9 a b c", 3},
		{"/events?limit=4&category=security&category=user&after=000000000004", "c b a 9 8 7 6 5", 2},
		{"/events?limit=2&category=security", "c a 8 6 4 2", 3},
	} {
		ids, pages := f.follow(c.path)
		if got := strings.Join(ids, " "); got != c.ids || pages != c.pages {
			t.Errorf("%s: %s in %d pages", c.path, got, pages)
		}
	}
}

func TestPageLargerThanMemory(t *testing.T) {
	f := start(t)
	big := `{"category":"service","action":"a","actor":"b","data":{"x":"` + strings.Repeat("x", 900<<10) + `"}}` + "\n"
	f.do("POST", "/events", strings.Repeat(big, 12), "Content-Type", "application/x-ndjson").want(t, 201)
	for path, want := range map[string]string{
		"/events?limit=11":           "c b a 9 8 7 6 5 4 3 2",
		"/events?limit=11&order=asc": "1 2 3 4 5 6 7 8 9 a b",
	} {
		a := f.do("GET", path, "").want(t, 200)
		if got := strings.Join(a.ids(t), " "); got != want || a.Header.Get("Link") == "" {
			t.Errorf("%s: %s, Link %q", path, got, a.Header.Get("Link"))
		}
	}
	a := f.do("GET", "/events?limit=11", "", "Accept", "application/x-ndjson").want(t, 200)
	if n := strings.Count(a.body, "\n"); n != 11 {
		t.Errorf("%d lines", n)
	}
}

func TestQueryNDJSON(t *testing.T) {
	f := start(t)
	if a := f.do("GET", "/events", "", "Accept", "application/x-ndjson").want(t, 200); a.body != "" {
		t.Errorf("empty: %q", a.body)
	}
	f.fill(300)
	for path, n := range map[string]int{"/events": 300, "/events?limit=7": 7, "/events?limit=20000": 300, "/events?actor=u1": 150} {
		a := f.do("GET", path, "", "Accept", "text/html, application/x-ndjson;q=0.9").want(t, 200)
		if a.Header.Get("Content-Type") != "application/x-ndjson" {
			t.Error(a.Header)
		}
		lines := strings.SplitAfter(a.body, "\n")
		if len(lines) != n+1 || lines[n] != "" {
			t.Errorf("%s: %d lines", path, len(lines)-1)
		}
		for _, l := range lines[:n] {
			if !json.Valid([]byte(l)) {
				t.Fatalf("%s: %q", path, l)
			}
		}
	}
	f.do("GET", "/events?limit=0", "", "Accept", "application/x-ndjson").want(t, 422)
	if a := f.do("GET", "/events", "", "Accept", "application/x-ndjson;q=0"); a.Header.Get("Content-Type") != "application/json" {
		t.Error("q=0 means no")
	}
}

func TestEventByID(t *testing.T) {
	f := start(t)
	f.fill(1)
	f.do("GET", "/events/000000000001", "").want(t, 200, "needle0")
	f.do("GET", "/events/ffffffffffff", "").want(t, 404)
	f.do("GET", "/events/000000000000", "").want(t, 404)
	for _, bad := range []string{"1", "00000000000G", "00000000000A", "0000000000001"} {
		f.do("GET", "/events/"+bad, "").want(t, 400)
	}
	if p := problemOf(fmt.Errorf("x: %w", ledger.ErrAgedOut)); p.Status != 410 {
		t.Error(p)
	}
}

// The same URI written otherwise (RFC 3986, section 6.2.2.2) was no id.
func TestEventByAnIDThatIsEscaped(t *testing.T) {
	f := start(t)
	f.fill(1)
	for _, id := range []string{strings.Repeat("%30", 11) + "%31", "00000000000%31"} {
		f.send("GET", "/events/"+id, "").want(t, 200, "needle0")
	}
	for _, id := range []string{"00000000000%2531", "%2F00000000000%31", "00000000000%FF", "00000000000%47", "%73tream"} {
		f.send("GET", "/events/"+id, "").want(t, 400)
	}
}

func TestQueryOutlastsTheWriteTimeout(t *testing.T) {
	f := start(t)
	f.fill(300)
	slow := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out := newSender(w)
		f.ledger.Query(r.Context(), ledger.Filter{Limit: 3}, func(line []byte) error {
			time.Sleep(150 * time.Millisecond)
			return out.line(line)
		})
		out.end()
	}))
	slow.Config.WriteTimeout = 200 * time.Millisecond
	slow.Start()
	defer slow.Close()
	f.server.URL, slow.URL = slow.URL, f.server.URL
	a := f.send("GET", "/", "")
	f.server.URL, slow.URL = slow.URL, f.server.URL
	if n := strings.Count(a.body, "\n"); n != 3 {
		t.Errorf("%d lines", n)
	}
}
