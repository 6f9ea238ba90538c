package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"home.lab/event-store/ledger"
)

// A field is a filter's input: all its values, and one empty when it has none.
type field struct {
	Name, Label, Hint string
	Values            []string
}

// A choice is a category to filter by.
type choice struct {
	Name, Class string
	Chosen      bool
}

// A row is one event of the list.
type row struct {
	event
	Class, ResultClass, Time, Link string
	Chosen                         bool
}

// An event is a stored line taken apart for showing.
type event struct {
	ID           string          `json:"id"`
	Timestamp    string          `json:"timestamp"`
	Category     string          `json:"category"`
	Action       string          `json:"action"`
	Actor        string          `json:"actor"`
	Target       string          `json:"target"`
	Payload      json.RawMessage `json:"data"`
	Result       string          `json:"result"`
	Error        string          `json:"error"`
	PreviousHash string          `json:"previous_hash"`
	Hash         string          `json:"hash"`
}

// fillRows lists events, and links to those that follow.
func (a *API) fillRows(r *http.Request, s *screen, f ledger.Filter, open string) error {
	s.Ascending = f.Ascending
	ask := f
	ask.Limit++
	err := a.ledger.Query(r.Context(), ask, func(line []byte) error {
		if len(s.Rows) == f.Limit {
			next, last := "before", s.Rows[len(s.Rows)-1].ID
			if f.Ascending {
				next = "after"
			}
			s.Next = pageLink(with(s.list, next, last))
			return nil
		}
		e := readEvent(line)
		s.Rows = append(s.Rows, row{event: e, Class: s.class(e.Category), ResultClass: resultClass(e.Result), Time: plainTime(e.Timestamp),
			Link: pageLink(with(s.list, "event", e.ID)), Chosen: e.ID == open})
		return nil
	})
	if err != nil {
		return fmt.Errorf("querying: %w", err)
	}
	return nil
}

// fillForm shows the filters as they are in the URL.
func (s *screen) fillForm() {
	s.Search = s.list.Get("q")
	s.Fields = []field{
		{Name: "action", Label: "Action"}, {Name: "actor", Label: "Actor"}, {Name: "target", Label: "Target"},
		{Name: "result", Label: "Result", Hint: "success"},
		{Name: "start_time", Label: "From", Hint: "2025-12-24"}, {Name: "end_time", Label: "To", Hint: "2025-12-24T10:00:00Z"},
	}
	for i := range s.Fields {
		input := &s.Fields[i]
		if input.Values = s.list[input.Name]; len(input.Values) == 0 {
			input.Values = []string{""}
			continue
		}
		s.Narrowed = true
	}
	for _, name := range []string{"limit", "order"} {
		if s.list.Has(name) {
			s.Kept = append(s.Kept, field{Name: name, Values: s.list[name]})
		}
	}
	names := slices.Clone(s.list["category"])
	for name := range s.classes {
		if s.grant.covers(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		s.Categories = append(s.Categories, choice{name, s.class(name), slices.Contains(s.list["category"], name)})
	}
	s.Filtered = s.Problem != ""
	for name := range s.list {
		s.Filtered = s.Filtered || name != "limit" && name != "order"
	}
}

// APILink is the same list from the API.
func (s *screen) APILink() string {
	link := url.URL{Path: "/events", RawQuery: s.list.Encode()}
	return link.String()
}

// ListLink is the page without the open event.
func (s *screen) ListLink() string { return pageLink(s.list) }

// class gives a category's colour.
func (s *screen) class(category string) string {
	if class, ok := s.classes[category]; ok {
		return class
	}
	return "other"
}

// classesOf gives each configured category one of ten colours, by name; the store's own has none.
func classesOf(c ledger.Config) map[string]string {
	var names []string
	for name := range c.Categories {
		names = append(names, name)
	}
	slices.Sort(names)
	classes := map[string]string{ledger.CategoryLedger: "own"}
	for i, name := range names {
		classes[name] = fmt.Sprintf("c%d", i%10)
	}
	return classes
}

func resultClass(result string) string {
	switch result {
	case "success", "failure", "pending":
		return result
	}
	return "other"
}

// readEvent takes a stored line apart. A damaged one shows what of it can be read.
func readEvent(line []byte) (e event) {
	_ = json.Unmarshal(line, &e) // verification is what reports damage
	return e
}

// plainTime is a stored timestamp as people write it, to the second.
func plainTime(timestamp string) string {
	t, err := time.Parse(timestampLayout, timestamp)
	if err != nil {
		return timestamp
	}
	return t.Format(time.DateTime)
}

func withoutEmpty(values url.Values) url.Values {
	filled := url.Values{}
	for name, given := range values {
		if kept := slices.DeleteFunc(slices.Clone(given), func(v string) bool { return v == "" }); len(kept) > 0 {
			filled[name] = kept
		}
	}
	return filled
}

// with gives a copy of values with one more.
func with(values url.Values, name, value string) url.Values {
	more := url.Values{}
	for k, v := range values {
		more[k] = v
	}
	more.Set(name, value)
	return more
}

func pageLink(values url.Values) string {
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}
