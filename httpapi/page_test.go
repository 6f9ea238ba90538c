package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

// dated projects events whose timestamps are so long after the first hour, in a category by turns.
func (f *fixture) dated(t *testing.T, began time.Time, after ...time.Duration) {
	t.Helper()
	var ms []ledger.Message
	for i, d := range after {
		category := []string{"service", "user"}[i%2]
		ms = append(ms, ledger.Message{Seq: uint64(i + 1), Time: began.Add(d), Subject: "events." + category,
			Data: fmt.Appendf(nil, `{"action":"a%d","actor":"ada"}`, i)})
	}
	if err := f.ledger.Project(t.Context(), ms); err != nil {
		t.Fatal(err)
	}
	f.stream.set(func() { f.stream.seq = uint64(len(ms)) })
	if err := f.ledger.Wait(t.Context(), ledger.ID(len(ms))); err != nil {
		t.Fatal(err)
	}
}

// bars are the texts of the chart's bars that have events.
func bars(page string) []string {
	var found []string
	for _, m := range regexp.MustCompile(`aria-label="([^"]*) events \(([^"]*)\)"`).FindAllStringSubmatch(page, -1) {
		found = append(found, m[1]+" "+m[2])
	}
	return found
}

const hour, day = time.Hour, 24 * time.Hour

// The chart counts what the filters choose: by the hour, by the day, or by several days.
func TestPageChart(t *testing.T) {
	t.Parallel()
	began := time.Date(2025, 12, 1, 10, 30, 0, 0, time.UTC)
	for _, c := range []struct {
		name, query string
		after       []time.Duration
		want        string
	}{
		{"none", "", nil, ""},
		{"hours", "", []time.Duration{0, 20 * time.Minute, 40 * time.Minute, 5 * hour},
			"2025-12-01 10:00: 2 service 1, user 1|2025-12-01 11:00: 1 service 1|2025-12-01 15:00: 1 user 1"},
		{"days", "", []time.Duration{0, 10 * hour, 3 * day}, "2025-12-01: 2 service 1, user 1|2025-12-04: 1 service 1"},
		{"a category", "category=user", []time.Duration{0, 10 * hour, 3 * day}, "2025-12-01: 1 user 1"},
		{"the last 30 days", "", []time.Duration{0, 100 * day, 100*day + hour}, "2026-03-11: 2 service 1, user 1"},
		{"all time", "start_time=2025-01-01", []time.Duration{0, hour, 100 * day}, "2025-11-30: 2 service 1, user 1|2026-03-10: 1 service 1"},
		{"within an hour", "start_time=2025-12-01T10:40:00Z&end_time=2025-12-01T11:05:00Z",
			[]time.Duration{0, 20 * time.Minute, 34 * time.Minute, 36 * time.Minute}, "2025-12-01 10:00: 1 user 1|2025-12-01 11:00: 1 service 1"},
		{"before anything", "end_time=2025-01-01", []time.Duration{0}, ""},
		{"after everything", "start_time=2026-01-01", []time.Duration{0}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t)
			if c.after != nil {
				f.dated(t, began, c.after...)
			}
			page := f.do("GET", "/?"+c.query, "").want(t, 200).body
			if got := strings.Join(bars(page), "|"); got != c.want {
				t.Errorf("bars: %s, want %s", got, c.want)
			}
		})
	}
}

// Each bar links to the events that it counts.
func TestPageBarsLinkToTheirEvents(t *testing.T) {
	f := start(t)
	f.dated(t, time.Date(2025, 12, 1, 10, 30, 0, 0, time.UTC), 0, 13*hour+29*time.Minute+59*time.Second, 14*hour, 3*day)
	page := f.do("GET", "/", "").want(t, 200).body
	links := regexp.MustCompile(`<a href="([^"]*)" aria-label="[^"]* (\d+) events`).FindAllStringSubmatch(page, -1)
	if len(links) != 4 {
		t.Fatalf("%d bars", len(links))
	}
	for _, m := range links {
		list := f.do("GET", strings.ReplaceAll(m[1], "&amp;", "&"), "").want(t, 200).body
		if n := strings.Count(list, "<tr id="); fmt.Sprint(n) != m[2] {
			t.Errorf("%s lists %d events, the bar says %s", m[1], n, m[2])
		}
	}
}

// The page takes the parameters of the API; what is wrong with one it says, and a form's empty fields are no filters.
func TestPageFilters(t *testing.T) {
	f := start(t)
	f.do("POST", "/events", body).want(t, 201)
	f.do("POST", "/events", strings.Replace(body, "docker", "podman", 1)).want(t, 201)
	f.do("GET", "/?actor=docker&actor=podman&limit=1", "").want(t, 200, `data-id="000000000002"`, `before=000000000002`, `value="docker"`, `value="podman"`, `name="limit" value="1"`)
	f.do("GET", "/?actor=docker&order=asc", "").want(t, 200, `data-id="000000000001"`, "Oldest first", `href="/events?actor=docker&amp;order=asc"`)
	f.do("GET", "/?q=nothing", "").want(t, 200, "No event matches")
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Get(f.server.URL + "/?q=&actor=docker&target=&category=service")
	if err != nil || res.StatusCode != 303 || res.Header.Get("Location") != "/?actor=docker&category=service" {
		t.Errorf("empty fields: %v %v", res, err)
	}
	for query, text := range map[string]string{"limit=x": "limit: must be a number", "nosuch=1": "nosuch: is not a parameter", "before=1": "before: "} {
		page := f.send("GET", "/?"+query, "")
		if page.StatusCode != 422 || !strings.Contains(page.body, text) || strings.Contains(page.body, "data-id") {
			t.Errorf("%s: %d %.200s", query, page.StatusCode, page.body)
		}
	}
	f.do("GET", "/?part=nosuch", "").want(t, 422)
	f.do("GET", "/?event=000000000001", "").want(t, 200, "Genesis", `previous_hash is that hash`)
	f.do("GET", "/?event=00000000000f", "").want(t, 200, "There is no event with this id")
	f.do("GET", "/?event=zzz", "").want(t, 200, "There is no event with this id")
}

// Every part can be asked for alone, and is in the whole page.
func TestPageParts(t *testing.T) {
	f := start(t)
	f.do("POST", "/events", body).want(t, 201)
	whole := f.do("GET", "/", "").want(t, 200, "<!doctype html>")
	if policy := whole.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'self'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	if inline := regexp.MustCompile(`(?i)<style|style=|<script[^>]*>[^<]|\son[a-z]+=`).FindString(whole.body); inline != "" {
		t.Errorf("the policy forbids %q", inline)
	}
	for _, part := range parts {
		a := f.do("GET", "/?part="+part, "").want(t, 200, `id="`+part+`"`)
		if strings.Contains(a.body, "<html") {
			t.Errorf("part %s is the whole page", part)
		}
	}
	for _, m := range regexp.MustCompile(`(?:src|href)="(/page/[^"]*)"`).FindAllStringSubmatch(whole.body, -1) {
		a := f.do("GET", m[1], "").want(t, 200)
		if tag := a.Header.Get("ETag"); f.do("GET", m[1], "", "If-None-Match", tag).StatusCode != 304 {
			t.Errorf("%s is sent again", m[1])
		}
	}
	f.do("GET", "/page/page.html", "").want(t, 404)
	f.do("GET", "/page/nosuch.js", "").want(t, 404)
	f.send("GET", "/page/..%2fpage.go", "").want(t, 404)
}

// A token sees only the categories that it covers, and nobody anything without one.
func TestPageShowsWhatATokenCovers(t *testing.T) {
	f := startGuarded(t, Options{})
	for _, category := range []string{"service", "user"} {
		f.do("POST", "/events", strings.Replace(body, "service", category, 1), "Authorization", "Bearer admin").want(t, 201)
	}
	page := f.do("GET", "/", "")
	if page.StatusCode != 401 || !strings.Contains(page.body, `id="token"`) || strings.Contains(page.body, "docker") || strings.Contains(page.body, "0000000") {
		t.Errorf("without a token: %d %s", page.StatusCode, page.body)
	}
	f.do("GET", "/?part=events", "").want(t, 401)
	f.do("GET", "/", "", "Authorization", "Bearer wrong").want(t, 401)
	f.do("GET", "/", "", "Authorization", "Bearer append").want(t, 403)
	f.do("GET", "/", "", "Authorization", "Bearer read").want(t, 200, `data-id="000000000001"`, `data-id="000000000002"`)
	for _, path := range []string{"/", "/?event=000000000001", "/?event=000000000002", "/?limit=x"} {
		a := f.send("GET", path, "", "Authorization", "Bearer service")
		if strings.Contains(a.body, `data-id="000000000002"`) || strings.Contains(a.body, "category=user") || strings.Contains(a.body, ">user<") {
			t.Errorf("%s shows what the token does not cover", path)
		}
	}
	f.do("GET", "/?event=000000000001", "", "Authorization", "Bearer service").want(t, 200, "of another category")
	f.do("GET", "/?event=000000000002", "", "Authorization", "Bearer service").want(t, 200, "does not cover")
	if a := f.send("GET", "/?category=user", "", "Authorization", "Bearer service"); a.StatusCode != 403 || strings.Contains(a.body, "docker") {
		t.Errorf("another category: %d %s", a.StatusCode, a.body)
	}
}

// What a publisher wrote is text on the page, wherever it stands.
func TestPageEscapes(t *testing.T) {
	f := start(t)
	const evil = `\"><script>alert(1)</script>'{{.}}</textarea>`
	f.do("POST", "/events", `{"category":"user","action":"`+evil+`","actor":"`+evil+`","target":"`+evil+`","result":"`+evil+`","error":"`+evil+`","data":{"`+evil+`":"`+evil+`"}}`).want(t, 201)
	for _, path := range []string{"/", "/?event=000000000001", "/?actor=" + url.QueryEscape(strings.ReplaceAll(evil, `\"`, `"`)), "/?event=" + url.QueryEscape(evil), "/?nosuch" + url.QueryEscape(evil) + "=1"} {
		a := f.send("GET", path, "")
		if strings.Contains(a.body, "<script>alert") || strings.Contains(a.body, "</textarea>") {
			t.Errorf("%s has markup of the event", path)
		}
		if !strings.Contains(a.body, "&lt;script&gt;alert(1)") && !strings.HasPrefix(path, "/?event="+url.QueryEscape(`\`)) {
			t.Errorf("%s does not show the event's text", path)
		}
	}
}
