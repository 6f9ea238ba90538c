package httpapi

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-chi/chi/v5"

	"home.lab/event-store/ledger"
)

const (
	defaultLimit = 100
	maxLimit     = 10_000  // events in one array
	maxPage      = 8 << 20 // bytes of a page held in memory; what is beyond is read a second time
	flushEvery   = 250 * time.Millisecond
	stallTimeout = 30 * time.Second // a reader that takes nothing for so long is cut off
)

// query is GET /events: a page as a JSON array, or lines as NDJSON.
func (a *API) query(w http.ResponseWriter, r *http.Request) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return newProblem(http.StatusBadRequest, "the query is malformed: %v", err)
	}
	ndjson := wantsNDJSON(r)
	filter, err := parseFilter(grantOf(r), values, ndjson)
	if err != nil {
		return err
	}
	w.Header().Set("Vary", "Accept")
	if ndjson && (filter.Limit == 0 || filter.Limit > maxLimit) {
		return a.lines(w, r, filter)
	}
	return a.page(w, r, values, filter, ndjson)
}

// event is GET /events/{id}.
func (a *API) event(w http.ResponseWriter, r *http.Request) error {
	id, err := ledger.ParseID(chi.URLParam(r, "id"))
	if err != nil {
		return err
	}
	line, err := a.ledger.Get(id)
	if err != nil {
		return err
	}
	if g := grantOf(r); !g.covers(categoryOf(line)) {
		return newProblem(http.StatusForbidden, "token %s may not read this event's category", g.token)
	}
	w.Header().Set("Content-Type", "application/json")
	return writeLine(w, line)
}

// lines answers with every line that the filter lets through, as NDJSON and in constant memory.
func (a *API) lines(w http.ResponseWriter, r *http.Request, f ledger.Filter) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	if r.Method == http.MethodHead {
		return nil
	}
	out := newSender(w)
	if err := a.ledger.Query(r.Context(), f, out.line); err != nil {
		return fmt.Errorf("querying: %w", err)
	}
	return out.end()
}

// page answers with at most f.Limit events and, when more follow, a link to the next page (RFC 8288). That link stands
// before the first event, so the query runs first and its lines are kept; those above maxPage are only counted, and read
// again while they are sent.
func (a *API) page(w http.ResponseWriter, r *http.Request, values url.Values, f ledger.Filter, ndjson bool) error {
	out := newSender(w)
	p := newPage(f.Limit, ndjson)
	ask := f
	ask.Limit++
	if err := a.ledger.Query(r.Context(), ask, p.take); err != nil {
		return fmt.Errorf("querying: %w", err)
	}
	h := w.Header()
	h.Set("Content-Type", p.form.contentType)
	if p.more {
		h.Set("Link", nextLink(r.URL.Path, values, f.Ascending, p.last))
	}
	if p.kept == p.count {
		p.buf = append(p.buf, p.form.end...)
		h.Set("Content-Length", strconv.Itoa(len(p.buf)))
		out.Write(p.buf)
		return out.end()
	}
	if r.Method == http.MethodHead {
		return nil
	}
	return a.sendLong(r.Context(), out, f, p)
}

// sendLong sends a page of which only the first lines are kept.
func (a *API) sendLong(ctx context.Context, out *sender, f ledger.Filter, p *page) error {
	if _, err := out.Write(p.buf); err != nil {
		return err
	}
	f.Limit = p.count - p.kept
	if f.Ascending {
		f.After, f.Before = p.lastKept, p.last+1
	} else {
		f.Before, f.After = p.lastKept, p.last-1
	}
	err := a.ledger.Query(ctx, f, func(line []byte) error {
		if _, err := out.WriteString(p.form.between); err != nil {
			return err
		}
		if err := out.raw(line); err != nil {
			return err
		}
		_, err := out.WriteString(p.form.after)
		return err
	})
	if err != nil {
		return fmt.Errorf("querying: %w", err)
	}
	out.WriteString(p.form.end)
	return out.end()
}

// form is what stands around the lines of a page.
type form struct{ contentType, begin, between, after, end string }

var (
	arrayForm = form{"application/json", "[", ",\n", "", "]"}
	linesForm = form{"application/x-ndjson", "", "", "\n", ""}
)

// page collects the lines of one answer.
type page struct {
	form     form
	limit    int
	buf      []byte // the first kept lines, in their form but for its end
	kept     int
	count    int // of events that belong to the page
	lastKept ledger.ID
	last     ledger.ID
	more     bool // one more event follows
}

func newPage(limit int, ndjson bool) *page {
	p := &page{form: arrayForm, limit: limit}
	if ndjson {
		p.form = linesForm
	}
	p.buf = append(p.buf, p.form.begin...)
	return p
}

// take is called by the ledger for each line.
func (p *page) take(line []byte) error {
	if p.count == p.limit {
		p.more = true
		return nil
	}
	id, err := idOf(line)
	if err != nil {
		return err
	}
	if p.kept == p.count && len(p.buf)+len(line) <= maxPage {
		if p.kept > 0 {
			p.buf = append(p.buf, p.form.between...)
		}
		p.buf = append(append(p.buf, line...), p.form.after...)
		p.kept, p.lastKept = p.kept+1, id
	}
	p.count, p.last = p.count+1, id
	return nil
}

// idOf gives a stored line's id: its first member.
func idOf(line []byte) (ledger.ID, error) {
	const name = `{"id":"`
	if len(line) < len(name)+12 || string(line[:len(name)]) != name {
		return 0, fmt.Errorf("a stored line does not begin with its id: %.32q", line)
	}
	return ledger.ParseID(string(line[len(name) : len(name)+12]))
}

// categoryOf gives a stored line's category: its third member, behind two that no publisher chooses.
func categoryOf(line []byte) string {
	_, rest, _ := bytes.Cut(line, []byte(`","category":"`))
	category, _, _ := bytes.Cut(rest, []byte{'"'})
	return string(category)
}

// nextLink gives the Link header to the events that follow last.
func nextLink(path string, values url.Values, ascending bool, last ledger.ID) string {
	next := url.Values{}
	for k, v := range values {
		next[k] = v
	}
	if ascending {
		next.Set("after", last.String())
	} else {
		next.Set("before", last.String())
	}
	return "<" + path + "?" + next.Encode() + `>; rel="next"`
}

// sender writes lines to a client. A query takes as long as the ledger is large, so the server's write deadline is lifted
// for it; a client that takes nothing for stallTimeout is cut off instead.
type sender struct {
	*bufio.Writer
	control *http.ResponseController
	flushed time.Time
}

func newSender(w http.ResponseWriter) *sender {
	control := http.NewResponseController(w)
	control.SetWriteDeadline(time.Time{})
	return &sender{bufio.NewWriterSize(deadlineWriter{w, control}, 64<<10), control, time.Now()}
}

func (s *sender) line(line []byte) error {
	if err := s.raw(line); err != nil {
		return err
	}
	return s.WriteByte('\n')
}

// raw writes a line without its newline, after what waited for too long was flushed.
func (s *sender) raw(line []byte) error {
	if now := time.Now(); now.Sub(s.flushed) > flushEvery {
		s.flushed = now
		if err := s.push(); err != nil {
			return err
		}
	}
	_, err := s.Write(line)
	return err
}

// push sends what waits here and in the server.
func (s *sender) push() error {
	if err := s.Flush(); err != nil {
		return err
	}
	s.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	defer s.control.SetWriteDeadline(time.Time{})
	return s.control.Flush()
}

// end sends what is left; what the server still holds is sent when the handler returns, under a deadline too.
func (s *sender) end() error {
	if err := s.Flush(); err != nil {
		return err
	}
	s.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	return nil
}

// deadlineWriter gives each write stallTimeout.
type deadlineWriter struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (w deadlineWriter) Write(b []byte) (int, error) {
	w.control.SetWriteDeadline(time.Now().Add(stallTimeout))
	defer w.control.SetWriteDeadline(time.Time{})
	return w.ResponseWriter.Write(b)
}

// wantsNDJSON says whether the client accepts application/x-ndjson (RFC 9110, section 12.5.1).
func wantsNDJSON(r *http.Request) bool {
	for _, v := range r.Header["Accept"] {
		for media := range strings.SplitSeq(v, ",") {
			media, params, _ := strings.Cut(media, ";")
			if strings.EqualFold(strings.TrimSpace(media), "application/x-ndjson") {
				return strings.Trim(strings.ReplaceAll(params, " ", ""), ".0") != "q="
			}
		}
	}
	return false
}

// parseFilter reads the parameters of GET /events, for a token's categories; its problem names every one that is wrong.
func parseFilter(g grant, values url.Values, ndjson bool) (ledger.Filter, error) {
	f := ledger.Filter{Limit: defaultLimit}
	if ndjson {
		f.Limit = 0
	}
	var errs []fieldError
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := setParameter(&f, name, values[name], ndjson); err != nil {
			errs = append(errs, fieldError{Field: name, Message: err.Error()})
		}
	}
	if len(errs) > 0 {
		return f, invalid(errs...)
	}
	return f, g.narrow(&f)
}

// setParameter sets what one parameter says.
func setParameter(f *ledger.Filter, name string, given []string, ndjson bool) (err error) {
	switch name {
	case "category":
		f.Categories = given
		return nil
	case "action":
		f.Actions = given
		return nil
	case "actor":
		f.Actors = given
		return nil
	case "target":
		f.Targets = given
		return nil
	case "result":
		f.Results = given
		return nil
	}
	if len(given) > 1 {
		return fmt.Errorf("is given %d times, but takes one value", len(given))
	}
	v := given[0]
	switch name {
	case "start_time":
		f.Start, err = parseTime(v, false)
	case "end_time":
		f.End, err = parseTime(v, true)
	case "q":
		f.Text = v
	case "limit":
		f.Limit, err = parseLimit(v, ndjson)
	case "order":
		f.Ascending = v == "asc"
		if v != "asc" && v != "desc" {
			err = fmt.Errorf("must be asc or desc")
		}
	case "before":
		if f.Before, err = ledger.ParseID(v); err == nil && f.Before == 0 {
			err = fmt.Errorf("must be above 0, which no event has")
		}
	case "after":
		f.After, err = ledger.ParseID(v)
	default:
		err = fmt.Errorf("is not a parameter of this call")
	}
	return err
}

// parseTime reads a time (RFC 3339), or a date, which is the whole day in UTC: its beginning, or its last microsecond.
func parseTime(s string, end bool) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, s); err == nil {
		if end {
			return day.AddDate(0, 0, 1).Add(-time.Microsecond), nil
		}
		return day, nil
	}
	s = strings.ReplaceAll(strings.ToUpper(s), " ", "+") // a bare + in a query is a space
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return t, fmt.Errorf("must be a time like 2006-01-02T15:04:05Z or a date like 2006-01-02")
	}
	return t, nil
}

func parseLimit(s string, ndjson bool) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil || n < 1:
		return 0, fmt.Errorf("must be a number from 1")
	case n > maxLimit && !ndjson:
		return 0, fmt.Errorf("must be at most %d; application/x-ndjson has no limit", maxLimit)
	}
	return n, nil
}
