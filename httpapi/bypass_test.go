package httpapi

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// raw sends a request line as it stands, which no client library would, and gives the answer.
func (f *fixture) raw(method, target string, header ...string) (*http.Response, string) {
	f.t.Helper()
	c, err := net.Dial("tcp", f.server.Listener.Addr().String())
	if err != nil {
		f.t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n", method, target)
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(c, "%s: %s\r\n", header[i], header[i+1])
	}
	fmt.Fprint(c, "\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		f.t.Fatalf("%s %s: %v", method, target, err)
	}
	if res.Header.Get("Content-Type") == "text/event-stream" {
		return res, "" // it has no end
	}
	var text strings.Builder
	bufio.NewReader(res.Body).WriteTo(&text)
	return res, text.String()
}

// traversals are ways to write "..", and what lies above: files of this machine and of the data folder.
func traversals() []string {
	var all []string
	files := []string{"etc/passwd", "ledger.key", "data/ledger.key", "go.mod", "proc/self/environ", "LOCK"}
	ups := []string{"../", "..%2f", "..%2F", "%2e%2e/", "%2e%2e%2f", "..\\", "..%5c", "%252e%252e%252f", "..;/", ".../", "....//", "..%00/", "%c0%ae%c0%ae/",
		"/..//", "./../", "..%u2215", "\u2025/", "..%ef%bc%8f"}
	for _, up := range ups {
		for _, file := range files {
			all = append(all, "/"+strings.Repeat(up, 6)+file, "/events/"+strings.Repeat(up, 6)+file, "/page/"+strings.Repeat(up, 6)+file)
		}
	}
	return all
}

// bypasses are other spellings of protected paths.
func bypasses() []string {
	var all []string
	for _, path := range []string{"events", "status", "verify", "metrics", "events/000000000001", "cleanup", "events/stream"} {
		for _, form := range []string{"//%s", "/./%s", "/%s/", "/%s//", "/%s/.", "/x/../%s", "/health/../%s", "/health/..%%2f%s", "/health;/%s", "/health/%s", "/health%%2f..%%2f%s",
			"/%s%%20", "/%s%%09", "/%s%%00", "/%s.json", "/%s;a=b", "/%s?x#/health", "/%%2f%s", "/;/%s", "/health?/../%s", "/%s#/health", "http://localhost/%s", "http://127.0.0.1/health/../%s"} {
			all = append(all, fmt.Sprintf(form, path))
		}
		all = append(all, "/"+strings.ToUpper(path), "/"+strings.Replace(path, "e", "%65", 1), "/"+strings.Replace(path, "t", "%74", 1))
	}
	return all
}

// No path, however it is written, leads to a file, nor past the need for a token.
func TestNoPathLeadsAroundTheDoor(t *testing.T) {
	f := startGuarded(t, Options{})
	f.do("POST", "/events", body, "Authorization", "Bearer admin").want(t, 201)
	key, err := os.ReadFile(filepath.Join(f.dir, "ledger.key"))
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{strings.TrimSpace(string(key)), "root:x:0", "PATH=", "module home.lab", "previous_hash", "total_events", `"docker"`}
	cases := append(traversals(), bypasses()...)
	if len(cases) < 300 {
		t.Fatalf("%d cases", len(cases))
	}
	for _, target := range cases {
		for _, credentials := range [][]string{nil, {"Authorization", "Bearer read"}} {
			res, text := f.raw("GET", target, credentials...)
			open := res.StatusCode == 200 && strings.HasPrefix(text, `{"status":"healthy"`) // it is /health all the same
			if credentials == nil && res.StatusCode < 400 && !open {
				t.Errorf("%s: %d without a token: %.80s", target, res.StatusCode, text)
			}
			for _, secret := range secrets {
				if credentials == nil && strings.Contains(text, secret) || credentials != nil && strings.Contains(text, secrets[0]) {
					t.Errorf("%s shows %q", target, secret)
				}
			}
			if res.StatusCode >= 500 {
				t.Errorf("%s: %d %s", target, res.StatusCode, text)
			}
		}
	}
	for _, header := range []string{"X-Original-URL", "X-Rewrite-URL", "X-Forwarded-For", "X-Forwarded-User", "X-HTTP-Method-Override", "Forwarded", "X-Real-IP", "Proxy-Authorization"} {
		for _, value := range []string{"/health", "127.0.0.1", "admin", "GET", "Bearer admin"} {
			if res, text := f.raw("GET", "/status", header, value); res.StatusCode != 401 {
				t.Errorf("%s: %s: %d %.80s", header, value, res.StatusCode, text)
			}
		}
	}
	for _, method := range []string{"HEAD", "TRACE", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "PROPFIND", "get"} {
		if res, text := f.raw(method, "/status"); res.StatusCode < 400 || strings.Contains(text, "total_events") {
			t.Errorf("%s /status: %d %.80s", method, res.StatusCode, text)
		}
	}
	if n := f.ledger.Status().TotalEvents; n != 1 {
		t.Errorf("%d events", n)
	}
}

// Two Authorization headers are not one that somebody else put first.
func TestTwoCredentialsAreNone(t *testing.T) {
	f := startGuarded(t, Options{})
	for _, pair := range [][2]string{{"Bearer admin", "Bearer x"}, {"Bearer x", "Bearer admin"}, {"Bearer admin", "Bearer admin"}, {"Basic eDp5", "Bearer admin"}} {
		if res, text := f.raw("GET", "/status", "Authorization", pair[0], "Authorization", pair[1]); res.StatusCode != 401 {
			t.Errorf("%q: %d %.80s", pair, res.StatusCode, text)
		}
	}
}

// Parameters of every kind give a filter or name what is wrong; a limited token never gets beyond its categories.
func FuzzParameters(f *testing.F) {
	for _, s := range []string{"", "category=ai&limit=5", "category=ai&category=security", "start_time=2025-12-24", "end_time=2025-12-24T10:00:00+01:00",
		"before=000000000001&after=x", "order=asc&q=%ff", "limit=-1&limit=2", "nosuch=1", "q=%00", "start_time=9999-12-31", "=", "&&", "%zz"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	limited := grant{scopes: []string{ScopeRead}, categories: []string{"ai", "user"}}
	f.Fuzz(func(t *testing.T, query string, ndjson bool) {
		values, err := url.ParseQuery(query)
		if err != nil {
			return
		}
		filter, err := parseFilter(limited, values, ndjson)
		if err != nil {
			if p := problemOf(err); p.Status != 422 && p.Status != 403 && p.Status != 400 {
				t.Errorf("%q: %d %v", query, p.Status, err)
			}
			return
		}
		if len(filter.Categories) == 0 {
			t.Errorf("%q: no category is forced in", query)
		}
		for _, c := range filter.Categories {
			if !limited.covers(c) {
				t.Errorf("%q reads category %q", query, c)
			}
		}
		if filter.Limit < 0 || !ndjson && filter.Limit > maxLimit {
			t.Errorf("%q: limit %d", query, filter.Limit)
		}
	})
}

func FuzzHeaders(f *testing.F) {
	for _, s := range []string{"application/json", "application/x-ndjson;q=0", "*/*", "application/x-ndjson; q=0.000, text/html", ";", "respond-async; wait=1", "k", "\x7f", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r := &http.Request{Header: http.Header{"Accept": {text}, "Content-Type": {text}, "Prefer": {text}, "Idempotency-Key": {text}}, Host: text}
		wantsNDJSON(r)
		respondAsync(r)
		thisHost(text)
		if _, err := appendType(r); err != nil && problemOf(err).Status != 415 {
			t.Errorf("Content-Type %q: %v", text, err)
		}
		key, err := idempotencyKey(r)
		if err != nil && problemOf(err).Status != 422 || err == nil && (key != text || key == "") {
			t.Errorf("Idempotency-Key %q: %q %v", text, key, err)
		}
	})
}
