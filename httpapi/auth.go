package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"

	"home.lab/event-store/ledger"
)

// Scopes of a token. Admin may everything; the other two do not include each other.
const (
	ScopeAppend = "append" // POST /events
	ScopeRead   = "read"   // every GET, and POST /verify
	ScopeAdmin  = "admin"  // POST /cleanup, and everything else
)

// A Token lets its bearer in (RFC 6750). Only its digest is known here.
type Token struct {
	Name       string
	SHA256     [sha256.Size]byte
	Scopes     []string
	Categories []string // that it may append to and read; none: all
}

// A RefusedLogin is a request that was answered 401.
type RefusedLogin struct {
	Address string // of the client, without its port
	Reason  string // one of a few constant texts
}

// A Caller is who sent a request.
type Caller struct {
	Token   string // its name; empty where no tokens are configured
	Address string // without its port
}

func callerOf(r *http.Request) Caller {
	host, _, _ := net.SplitHostPort(r.RemoteAddr)
	return Caller{grantOf(r).token, host}
}

// grant is what a request may do.
type grant struct {
	token      string // its name
	scopes     []string
	categories []string
}

type grantKey struct{}

// grantOf gives the grant of a request that need let pass. In a store without tokens it is empty: it names no categories,
// so it covers all.
func grantOf(r *http.Request) grant {
	g, _ := r.Context().Value(grantKey{}).(grant)
	return g
}

func (g grant) may(scope string) bool {
	return slices.Contains(g.scopes, scope) || slices.Contains(g.scopes, ScopeAdmin)
}

func (g grant) covers(category string) bool {
	return len(g.categories) == 0 || slices.Contains(g.categories, category)
}

// login gives the grant of a request's token, and no grant to a request without one.
func (a *API) login(r *http.Request) (grant, error) {
	given := r.Header["Authorization"]
	switch {
	case len(a.tokens) == 0:
		return grant{scopes: []string{ScopeAdmin}}, nil
	case len(given) == 0:
		return grant{}, nil
	}
	secret, ok := bearer(given)
	if !ok {
		return grant{}, a.unauthorized(r, "invalid_request", "Authorization is not one Bearer token")
	}
	if t := a.find(secret); t != nil {
		return grant{t.Name, t.Scopes, t.Categories}, nil
	}
	return grant{}, a.unauthorized(r, "invalid_token", "the token is not known")
}

// find compares with every token, so that the time taken says nothing about them.
func (a *API) find(secret string) (found *Token) {
	sum := sha256.Sum256([]byte(secret))
	for i := range a.tokens {
		if subtle.ConstantTimeCompare(sum[:], a.tokens[i].SHA256[:]) == 1 {
			found = &a.tokens[i]
		}
	}
	return found
}

// bearer reads the header Authorization (RFC 6750, section 2.1). Tokens in a query or a form are not taken.
func bearer(given []string) (token string, ok bool) {
	if len(given) != 1 {
		return "", false
	}
	scheme, token, found := strings.Cut(given[0], " ")
	token = strings.TrimLeft(token, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > 1024 || strings.ContainsAny(token, " ,\t") {
		return "", false
	}
	return token, true
}

// challenge asks for a token (RFC 6750, section 3).
const challenge = `Bearer realm="event-store"`

// unauthorized is the 401, and tells who keeps count. code is that of RFC 6750, section 3.1.
func (a *API) unauthorized(r *http.Request, code, reason string) error {
	if a.refused != nil {
		a.refused(RefusedLogin{Address: callerOf(r).Address, Reason: reason})
	}
	p := newProblem(http.StatusUnauthorized, "%s", reason)
	p.header.Set("WWW-Authenticate", challenge)
	if code != "" {
		p.header.Set("WWW-Authenticate", challenge+`, error="`+code+`"`)
	}
	return p
}

// need lets only those pass whose token has the scope.
func (a *API) need(scope string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		if len(a.tokens) == 0 {
			return next
		}
		return a.handle(func(w http.ResponseWriter, r *http.Request) error {
			g, err := a.login(r)
			switch {
			case err != nil:
				return err
			case g.may(scope):
				next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), grantKey{}, g)))
				return nil
			case len(g.scopes) == 0:
				return a.unauthorized(r, "", "this call needs a token: Authorization: Bearer ...")
			}
			p := newProblem(http.StatusForbidden, "token %s lacks the scope %s", g.token, scope)
			p.header.Set("WWW-Authenticate", fmt.Sprintf(`%s, error="insufficient_scope", scope="%s"`, challenge, scope))
			return p
		})
	}
}

// permit refuses to append to categories that the token does not cover.
func (g grant) permit(drafts ...ledger.Draft) error {
	for _, d := range drafts {
		if !g.covers(d.Category()) {
			return newProblem(http.StatusForbidden, "token %s may not append to category %s", g.token, d.Category())
		}
	}
	return nil
}

// narrow limits a filter to what the token covers: without categories to those, with others not at all.
func (g grant) narrow(f *ledger.Filter) error {
	if len(g.categories) == 0 {
		return nil
	}
	for _, c := range f.Categories {
		if !g.covers(c) {
			return newProblem(http.StatusForbidden, "token %s may not read category %s", g.token, c)
		}
	}
	if len(f.Categories) == 0 {
		f.Categories = g.categories
	}
	return nil
}

// limit leaves in a status the events that the token covers. What is of the chain as a whole stays.
func (g grant) limit(s *ledger.Status) {
	s.Categories, s.AgedOut = g.counts(s.Categories), g.counts(s.AgedOut)
	if len(g.categories) > 0 {
		s.TotalEvents, s.AgedOutEvents = total(s.Categories), total(s.AgedOut)
	}
}

func total(counts map[string]int64) (sum int64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// counts are those of the categories that the token covers.
func (g grant) counts(all map[string]int64) map[string]int64 {
	covered := map[string]int64{}
	for category, n := range all {
		if g.covers(category) {
			covered[category] = n
		}
	}
	return covered
}
