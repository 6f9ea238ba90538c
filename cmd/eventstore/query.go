package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// A parameter is one of GET /events, with the flag for it.
type parameter struct {
	flag, name, text string
	many             bool // repeatable: any of the values
}

// filterParameters choose events; they are those of GET /events/stream too.
var filterParameters = []parameter{
	{"category", "category", "category (repeatable: any of them)", true},
	{"action", "action", "action (repeatable)", true},
	{"actor", "actor", "actor (repeatable)", true},
	{"target", "target", "target (repeatable)", true},
	{"result", "result", "result (repeatable)", true},
	{"start-time", "start_time", "first time, RFC 3339 or a date (inclusive)", false},
	{"end-time", "end_time", "last time, RFC 3339 or a date (inclusive)", false},
	{"q", "q", "text in any field", false},
}

var pageParameters = []parameter{
	{"limit", "limit", "most events (default 100, at most 10000; ndjson: no limit)", false},
	{"order", "order", "asc for oldest first", false},
	{"before", "before", "only events before this `ID`", false},
	{"after", "after", "only events after this `ID`", false},
}

func addParameters(cmd *cobra.Command, parameters []parameter) {
	for _, p := range parameters {
		if p.many {
			cmd.Flags().StringArray(p.flag, nil, p.text)
		} else {
			cmd.Flags().String(p.flag, "", p.text)
		}
	}
}

// parametersOf is the query that the flags given make.
func parametersOf(cmd *cobra.Command, parameters []parameter) (url.Values, error) {
	q := url.Values{}
	for _, p := range parameters {
		f := cmd.Flag(p.flag)
		switch {
		case !f.Changed:
		case p.many:
			values, err := cmd.Flags().GetStringArray(p.flag)
			if err != nil {
				return nil, err
			}
			q[p.name] = values
		default:
			q.Set(p.name, f.Value.String())
		}
	}
	return q, nil
}

// output is how events are printed: table, json or ndjson.
type output struct {
	form string
	json bool
}

func (o *output) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.form, "output", "table", "table, json or ndjson")
	cmd.Flags().BoolVar(&o.json, "json", false, "the same as --output json")
}

func (o *output) check(cmd *cobra.Command) error {
	if o.json {
		if cmd.Flags().Changed("output") && o.form != "json" {
			return usage(fmt.Errorf("--json and --output %s exclude each other", o.form))
		}
		o.form = "json"
	}
	if !slices.Contains([]string{"table", "json", "ndjson"}, o.form) {
		return usage(fmt.Errorf("--output: %q: one of table, json, ndjson", o.form))
	}
	return nil
}

func queryCommand() *cobra.Command {
	var c client
	var o output
	parameters := slices.Concat(filterParameters, pageParameters)
	cmd := &cobra.Command{
		Use:   "query",
		Short: "Print events, newest first",
		Long: `Print events, newest first.

Exit code: 0 done, also where no event matches, 1 the store did not answer, refused, or broke off, 2 wrong usage.`,
		Example: `  eventstore query --category security --category user --limit 20
  eventstore query --actor docker --start-time 2025-12-24 --end-time 2025-12-24
  eventstore query --order asc --output ndjson > events.ndjson`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(cmd); err != nil {
				return err
			}
			q, err := parametersOf(cmd, parameters)
			if err != nil {
				return err
			}
			return query(cmd, &c, q, o.form)
		},
	}
	c.addURL(cmd)
	addParameters(cmd, parameters)
	o.addFlags(cmd)
	return cmd
}

func query(cmd *cobra.Command, c *client, q url.Values, form string) error {
	path, to := withQuery("/events", q), terminalOf(cmd.OutOrStdout())
	if form == "ndjson" {
		return copyEvents(cmd, c, path, to)
	}
	_, b, err := c.call(cmd.Context(), "GET", path, nil, http.Header{"Accept": {"application/json"}})
	if err != nil {
		return err
	}
	if form == "json" {
		return to.json(b)
	}
	var events []json.RawMessage
	if err := json.Unmarshal(b, &events); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	lines := make([][]byte, len(events))
	for i, e := range events {
		lines[i] = e
	}
	return newEventTable(to).events(lines)
}

func withQuery(path string, q url.Values) string {
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	return path
}

// copyEvents streams the lines as they come. An answer that breaks off is an error.
func copyEvents(cmd *cobra.Command, c *client, path string, to terminal) error {
	res, err := c.stream(cmd.Context(), path, http.Header{"Accept": {"application/x-ndjson"}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if to.width == 0 {
		_, err = io.Copy(to.out, res.Body)
	} else {
		err = eachTextLine(res.Body, func(line string) error { return to.json([]byte(line)) })
	}
	if err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	return nil
}

// stream is call for an answer that is read as it comes. The caller closes its body.
func (c *client) stream(ctx context.Context, path string, header http.Header) (*http.Response, error) {
	res, err := c.do(ctx, "GET", path, nil, header)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		defer res.Body.Close()
		b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		return nil, statusError{res.StatusCode, problem(res.Status, b)}
	}
	return res, nil
}

// A statusError is an answer that is not 200.
type statusError struct {
	status int
	error
}

// eachTextLine calls f for each line, without its newline. An end within a line is an error.
func eachTextLine(r io.Reader, f func(line string) error) error {
	in := bufio.NewReader(r)
	for {
		line, err := in.ReadString('\n')
		if errors.Is(err, io.EOF) && line == "" {
			return nil
		}
		if errors.Is(err, io.EOF) {
			return io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
		if err := f(strings.TrimSuffix(line, "\n")); err != nil {
			return err
		}
	}
}
