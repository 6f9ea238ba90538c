package httpapi

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

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
	values, err := parameters(r)
	if err != nil {
		return err
	}
	ndjson := wantsNDJSON(r)
	filter, err := parseFilter(grantOf(r), values, ndjson)
	if err != nil {
		return err
	}
	w.Header().Set("Vary", "Accept")
	if r.Method == http.MethodHead {
		return a.head(w, r, values, filter, ndjson)
	}
	if ndjson && (filter.Limit == 0 || filter.Limit > maxLimit) {
		return a.lines(w, r, filter)
	}
	return a.page(w, r, values, filter, ndjson)
}

// head is HEAD /events: the header of the answer but for its length, without reading the events.
func (a *API) head(w http.ResponseWriter, r *http.Request, values url.Values, f ledger.Filter, ndjson bool) error {
	p, whole := newPage(f.Limit, ndjson), ndjson && (f.Limit == 0 || f.Limit > maxLimit)
	if !whole {
		f.Limit++
		if err := a.ledger.IDs(r.Context(), f, p.pass); err != nil {
			return fmt.Errorf("querying: %w", err)
		}
	}
	w.Header().Set("Content-Type", p.form.contentType)
	if p.more {
		w.Header().Set("Link", nextLink(r.URL.Path, values, f.Ascending, p.last))
	}
	return nil
}

// event is GET /events/{id}.
func (a *API) event(w http.ResponseWriter, r *http.Request) error {
	id, err := ledger.ParseID(strings.TrimPrefix(r.URL.Path, "/events/")) // the router's parameter may be escaped yet
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

// pass counts an event that belongs to the page, or notes that one follows it.
func (p *page) pass(id ledger.ID) error {
	if p.more = p.count == p.limit; !p.more {
		p.count, p.last = p.count+1, id
	}
	return nil
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
