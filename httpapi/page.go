package httpapi

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"home.lab/event-store/ledger"
)

//go:embed page
var pageFiles embed.FS

var pageTemplates = template.Must(template.New("").Funcs(template.FuncMap{
	"short": short, "number": number, "bytes": size, "join": func(s []string) string { return strings.Join(s, ", ") },
}).ParseFS(pageFiles, "page/*.html"))

// pagePolicy lets the page load its own files and nothing else; there is no script or style inside the HTML.
const pagePolicy = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// A screen is what the page shows for one URL. Its query has the parameters of GET /events, which it mirrors, and two of
// the page's own: event, the id of the event that is open, and part, the only part that is wanted (by the page's scripts).
type screen struct {
	list       url.Values // the filters, as GET /events takes them
	part       string     // the only one that is wanted; "": all
	grant      grant      // whose eyes it is for
	classes    map[string]string
	Locked     bool // the store wants a token and was given none
	Problem    string
	Version    string
	Head       string
	Search     string
	Fields     []field
	Narrowed   bool // one of Fields is filled
	Kept       []field
	Categories []choice
	Filtered   bool
	Ascending  bool
	Rows       []row
	Next       string
	Chart      chart
	Later      bool // the chart comes when it is asked for
	State      state
	Event      *detail
}

// parts are what the page's scripts ask for one by one.
var parts = []string{"events", "event", "state", "lately"}

// front is GET /. Who has a token sends it with a script, which comes with the page: so the page itself is for everybody,
// and what it shows is not.
func (a *API) front() http.HandlerFunc {
	screen := a.need(ScopeRead)(a.bounded(maxOthers)(a.handle(a.screen)))
	return func(w http.ResponseWriter, r *http.Request) {
		if len(a.tokens) == 0 || r.Header.Get("Authorization") != "" || r.URL.Query().Has("part") {
			screen.ServeHTTP(w, r)
			return
		}
		a.handle(a.locked)(w, r)
	}
}

// locked is the page for who gave no token.
func (a *API) locked(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("WWW-Authenticate", challenge)
	s := &screen{Locked: true}
	return s.write(w, http.StatusUnauthorized)
}

// screen is the page, readable without scripts.
func (a *API) screen(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r)
	if err != nil {
		return err
	}
	if filled := withoutEmpty(values); filled.Encode() != values.Encode() { // a form sends its empty fields too
		http.Redirect(w, r, pageLink(filled), http.StatusSeeOther)
		return nil
	}
	part := values.Get("part")
	if part != "" && !slices.Contains(parts, part) {
		return invalid(fieldError{Field: "part", Message: "must be one of " + strings.Join(parts, ", ")})
	}
	s, status, err := a.fill(r, values, part)
	if err != nil {
		return err
	}
	return s.write(w, status)
}

// write renders the whole page or one part of it.
func (s *screen) write(w http.ResponseWriter, status int) error {
	name := s.part
	if name == "" {
		name = "page.html"
	}
	var b bytes.Buffer
	if err := pageTemplates.ExecuteTemplate(&b, name, s); err != nil {
		return fmt.Errorf("rendering the page: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, err := w.Write(b.Bytes())
	return err
}

// fill gives what the page shows, or the one part of it, and its status: 422 with the problem on it when a filter is wrong.
func (a *API) fill(r *http.Request, values url.Values, part string) (s *screen, status int, err error) {
	open := values.Get("event")
	values.Del("event")
	values.Del("part")
	config := a.ledger.Config()
	s = &screen{list: values, part: part, grant: grantOf(r), classes: classesOf(config), Version: a.version}
	if head := a.ledger.Head(); head.ID > 0 {
		s.Head = head.ID.String()
	}
	filter, err := parseFilter(s.grant, values, false)
	if status = http.StatusOK; err != nil {
		p := problemOf(err)
		s.Problem, status = p.Detail, p.Status
	} else if err := a.fillLists(r, s, filter, open); err != nil {
		return nil, 0, err
	}
	s.fillForm()
	if s.wants("state") {
		s.State = a.pageState(s, config)
	}
	if s.wants("event") && open != "" {
		if s.Event, err = a.pageEvent(r.Context(), s, open); err != nil {
			return nil, 0, err
		}
	}
	return s, status, nil
}

// wants says whether a part is to be shown.
func (s *screen) wants(part string) bool { return s.part == "" || s.part == part }

// fillLists gives what the filters choose: the rows, and the chart above them. To count what has a text means to read
// everything, so the page comes before that chart, which its scripts ask for.
func (a *API) fillLists(r *http.Request, s *screen, f ledger.Filter, open string) error {
	s.Later = s.part == "" && f.Text != ""
	if s.wants("lately") && !s.Later {
		if err := a.pageChart(r.Context(), s, f); err != nil {
			return err
		}
	}
	if s.wants("events") {
		return a.fillRows(r, s, f, open)
	}
	return nil
}

// asset is GET /page/{file}: the page's style, scripts and icon.
func (a *API) asset(w http.ResponseWriter, r *http.Request) error {
	name := chi.URLParam(r, "file")
	b, err := pageFiles.ReadFile("page/" + name)
	if err != nil || strings.HasSuffix(name, ".html") {
		return noRoute(w, r)
	}
	h := w.Header()
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Cache-Control", "no-cache")
	h.Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(b)))
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(b))
	return nil
}
