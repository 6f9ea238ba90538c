package httpapi

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"home.lab/event-store/ledger"
)

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
	err := g.narrow(&f)
	return f, err
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

// rfc3339 is the form of a time (RFC 3339, section 5.6). time.Parse takes more: a comma, an hour of one digit, an offset of
// a day.
var rfc3339 = regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$`)

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
	if t.IsZero() && end { // the zero time stands for no end
		t = t.Add(-1)
	}
	if err != nil || !rfc3339.MatchString(s) {
		return t, fmt.Errorf("must be a time like 2006-01-02T15:04:05Z or a date like 2006-01-02")
	}
	return t, nil
}

func parseLimit(s string, ndjson bool) (int, error) {
	n, err := strconv.Atoi(s)
	switch {
	case err != nil || n < 1 || s != strconv.Itoa(n): // not +5 or 05, which are no integers of JSON
		return 0, fmt.Errorf("must be a number from 1")
	case n > maxLimit && !ndjson:
		return 0, fmt.Errorf("must be at most %d; application/x-ndjson has no limit", maxLimit)
	}
	return n, nil
}
