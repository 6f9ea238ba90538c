package httpapi

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-chi/chi/v5"

	"home.lab/event-store/ledger"
)

// passNothing is a Retention that has nothing to age out.
type passNothing struct{}

func (passNothing) Cleanup(context.Context, bool) (any, error) { return struct{}{}, nil }

// startGuarded gives a store whose tokens are named like their scopes; "service" and "ai" are limited to categories.
func startGuarded(t *testing.T, o Options) *fixture {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	o.Retention, o.Logger = passNothing{}, quiet
	o.Tokens = []Token{
		{Name: "append", SHA256: digest("append"), Scopes: []string{ScopeAppend}},
		{Name: "read", SHA256: digest("read"), Scopes: []string{ScopeRead}},
		{Name: "admin", SHA256: digest("admin"), Scopes: []string{ScopeAdmin}},
		{Name: "service", SHA256: digest("service"), Scopes: []string{ScopeAppend, ScopeRead}, Categories: []string{"service"}},
		{Name: "ai", SHA256: digest("ai"), Scopes: []string{ScopeAppend, ScopeRead}, Categories: []string{"ai", "user"}},
	}
	return startWith(t, ledger.Options{Logger: quiet}, o)
}

func digest(secret string) [32]byte { return sha256.Sum256([]byte(secret)) }

// openRoutes need no token.
var openRoutes = []string{"GET /health", "GET /page/{file}"}

// scopeOf is the scope that a route needs by the rule of the README.
func scopeOf(route string) string {
	switch {
	case slices.Contains(openRoutes, route):
		return ""
	case route == "POST /events":
		return ScopeAppend
	case route == "POST /verify", strings.HasPrefix(route, "GET "):
		return ScopeRead
	}
	return ScopeAdmin
}

// Every route that the router has, with every kind of credentials: 401 without a token that is known, 403 without the
// scope, and neither with it.
func TestEveryRouteNeedsItsScope(t *testing.T) {
	f := startGuarded(t, Options{})
	routes := map[string]string{}
	chi.Walk(f.api.Handler().(chi.Routes), func(method, pattern string, _ http.Handler, _ ...func(http.Handler) http.Handler) error {
		routes[method+" "+pattern] = strings.NewReplacer("{id}", "000000000001", "{file}", "style.css").Replace(pattern)
		return nil
	})
	if len(routes) < 9 {
		t.Fatalf("the router has only %d routes: %v", len(routes), routes)
	}
	f.do("POST", "/events", body, "Authorization", "Bearer admin").want(t, 201)
	for route, path := range routes {
		method, _, _ := strings.Cut(route, " ")
		scope := scopeOf(route)
		for _, credentials := range []string{"", "Bearer wrong", "Bearer", "Basic YWRtaW46YWRtaW4=", "Bearer append", "Bearer read", "Bearer admin"} {
			var header []string
			if credentials != "" {
				header = []string{"Authorization", credentials}
			}
			status := f.status(method, path, header...)
			_, name, _ := strings.Cut(credentials, " ")
			want := 401
			switch {
			case scope == "" || name == scope || name == "admin":
				want = 0
			case name == "append" || name == "read":
				want = 403
			}
			if want == 0 && (status == 401 || status == 403) || want != 0 && status != want {
				t.Errorf("%s with %q: %d, want %d", route, credentials, status, want)
			}
		}
	}
}

// status is the status of a request's answer, whose body is not waited for.
func (f *fixture) status(method, path string, header ...string) int {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, f.server.URL+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

func TestRefusalsSayWhatIsMissing(t *testing.T) {
	f := startGuarded(t, Options{})
	a := f.do("GET", "/events", "").want(t, 401, "needs a token")
	if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="event-store"` {
		t.Errorf("no token: %s", got)
	}
	a = f.do("GET", "/events", "", "Authorization", "Bearer x").want(t, 401, "not known")
	if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="event-store", error="invalid_token"` {
		t.Errorf("wrong token: %s", got)
	}
	a = f.do("POST", "/events", body, "Authorization", "Bearer read").want(t, 403, "lacks the scope append")
	if got := a.Header.Get("WWW-Authenticate"); got != `Bearer realm="event-store", error="insufficient_scope", scope="append"` {
		t.Errorf("wrong scope: %s", got)
	}
	f.do("GET", "/events?access_token=read", "").want(t, 401)
	f.do("GET", "/events", "", "Cookie", "token=read").want(t, 401)
	if n := f.ledger.Status().TotalEvents; n != 0 {
		t.Errorf("%d events came in", n)
	}
}

func TestTokensOfSomeCategories(t *testing.T) {
	f := startGuarded(t, Options{})
	event := func(category string) string { return `{"category":"` + category + `","action":"a","actor":"b"}` }
	const service, ai, admin = "Bearer service", "Bearer ai", "Bearer admin"
	f.do("POST", "/events", event("service"), "Authorization", service).want(t, 201)
	f.do("POST", "/events", event("ai"), "Authorization", service).want(t, 403, "may not append to category ai")
	f.do("POST", "/events", "["+event("service")+","+event("ai")+"]", "Authorization", service).want(t, 403)
	f.do("POST", "/events", event("service")+"\n"+event("ai"), "Authorization", service, "Content-Type", "application/x-ndjson").want(t, 403)
	f.do("POST", "/events", event("ai"), "Authorization", ai).want(t, 201)
	f.do("POST", "/events", event("user"), "Authorization", ai).want(t, 201)
	f.do("POST", "/events", event("security"), "Authorization", admin).want(t, 201)

	for _, c := range []struct {
		token, query string
		status       int
		categories   string
	}{
		{service, "", 200, "service"},
		{ai, "", 200, "ai user"},
		{ai, "?category=user", 200, "user"},
		{ai, "?category=user&category=security", 403, ""},
		{ai, "?category=security", 403, ""},
		{ai, "?q=security", 200, ""},
		{service, "?limit=1&order=asc", 200, "service"},
		{admin, "", 200, "ai security service user"},
	} {
		for _, accept := range []string{"application/json", "application/x-ndjson"} {
			a := f.do("GET", "/events"+c.query, "", "Authorization", c.token, "Accept", accept).want(t, c.status)
			if c.status == 200 && categoriesIn(a.body) != c.categories {
				t.Errorf("%s %s: %q, want %q", c.token, c.query, categoriesIn(a.body), c.categories)
			}
		}
	}
	f.do("GET", "/events/000000000002", "", "Authorization", service).want(t, 403)
	f.do("GET", "/events/000000000002", "", "Authorization", ai).want(t, 200)
	f.do("GET", "/events/000000000009", "", "Authorization", ai).want(t, 404)
	status := f.do("GET", "/status", "", "Authorization", ai).want(t, 200).decode(t)
	if got := fmt.Sprint(status["categories"], status["total_events"]); got != "map[ai:1 user:1] 2" {
		t.Errorf("status shows %s", got)
	}
	f.do("GET", "/status", "", "Authorization", admin).want(t, 200, `"total_events":4`)
	if counts := f.do("GET", "/events/count", "", "Authorization", ai).want(t, 200).body; strings.Contains(counts, "service") || !strings.Contains(counts, `"user"`) {
		t.Errorf("counts show %s", counts)
	}
	f.do("GET", "/events/count?category=security", "", "Authorization", ai).want(t, 403)
	f.do("GET", "/events/stream?category=security", "", "Authorization", ai).want(t, 403)
	f.do("POST", "/verify", "", "Authorization", service).want(t, 200, `"valid"`)
}

// categoriesIn names the categories of the events in an answer.
func categoriesIn(body string) string {
	var found []string
	for _, part := range strings.Split(body, `"category":"`)[1:] {
		category, _, _ := strings.Cut(part, `"`)
		found = append(found, category)
	}
	slices.Sort(found)
	return strings.Join(slices.Compact(found), " ")
}

// A category that stands in a publisher's text is not taken for the event's.
func TestCategoryOfALineIsItsOwn(t *testing.T) {
	f := startGuarded(t, Options{})
	trap := `{"category":"security","action":"\",\"category\":\"ai\"","actor":"b","data":{"category":"ai"},"target":",\"category\":\"ai\""}`
	f.do("POST", "/events", trap, "Authorization", "Bearer admin").want(t, 201)
	f.do("GET", "/events/000000000001", "", "Authorization", "Bearer ai").want(t, 403)
}

func TestMetricsMayBeOpen(t *testing.T) {
	f := startGuarded(t, Options{OpenMetrics: true})
	if got := f.status("GET", "/metrics"); got != 200 {
		t.Errorf("without a token: %d", got)
	}
}

func TestRefusedLoginsAreTold(t *testing.T) {
	var mu sync.Mutex
	var told []RefusedLogin
	f := startGuarded(t, Options{Refused: func(r RefusedLogin) { mu.Lock(); told = append(told, r); mu.Unlock() }})
	f.do("GET", "/events", "", "Authorization", "Bearer wrong").want(t, 401)
	f.do("GET", "/events", "").want(t, 401)
	f.do("POST", "/events", body, "Authorization", "Bearer read").want(t, 403)
	f.do("GET", "/health", "", "Authorization", "Bearer wrong").want(t, 200)
	mu.Lock()
	defer mu.Unlock()
	if len(told) != 2 || told[0].Address != "127.0.0.1" || told[0].Reason == told[1].Reason {
		t.Errorf("told: %+v", told)
	}
}

// A clean-up that cannot be told does not begin; a look at one needs not be.
func TestCleanupIsToldBeforeItBegins(t *testing.T) {
	var callers []Caller
	tell := error(nil)
	passes := &counting{}
	f := startWith(t, ledger.Options{Logger: slog.New(slog.DiscardHandler)}, Options{Logger: slog.New(slog.DiscardHandler), Retention: passes,
		Tokens:   []Token{{Name: "boss", SHA256: digest("admin"), Scopes: []string{ScopeAdmin}}},
		Cleaning: func(_ context.Context, by Caller) error { callers = append(callers, by); return tell }})
	admin := []string{"Authorization", "Bearer admin"}
	f.send("POST", "/cleanup?dry_run=true", "", admin...).want(t, 200)
	if len(callers) != 0 || passes.n != 1 {
		t.Errorf("a dry run: told %v, %d passes", callers, passes.n)
	}
	f.send("POST", "/cleanup", "", admin...).want(t, 200)
	if len(callers) != 1 || callers[0] != (Caller{"boss", "127.0.0.1"}) || passes.n != 2 {
		t.Errorf("told %v, %d passes", callers, passes.n)
	}
	tell = fmt.Errorf("telling: %w", ledger.ErrUnavailable)
	f.send("POST", "/cleanup", "", admin...).want(t, 503)
	if passes.n != 2 {
		t.Error("it began untold")
	}
}

// counting is a Retention that counts its calls.
type counting struct{ n int }

func (c *counting) Cleanup(context.Context, bool) (any, error) { c.n++; return struct{}{}, nil }

func FuzzBearer(f *testing.F) {
	for _, s := range []string{"Bearer abc", "bearer  abc", "Bearer", "Bearer a b", "Basic abc", "Bearer a,Bearer b", "Bearer \x00", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		token, ok := bearer([]string{header})
		if ok && (token == "" || len(token) > 1024 || strings.ContainsAny(token, " ,\t") || !strings.HasSuffix(header, token)) {
			t.Errorf("%q gives the token %q", header, token)
		}
		if !ok && token != "" && header == "Bearer "+token && !strings.ContainsAny(token, " ,\t") && len(token) <= 1024 {
			t.Errorf("%q is refused", header)
		}
	})
}
