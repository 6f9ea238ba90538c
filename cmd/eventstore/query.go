package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func queryCommand() *cobra.Command {
	var c client
	var output string
	lists := []struct{ flag, text string }{
		{"category", "category (repeatable: any of them)"},
		{"action", "action (repeatable)"},
		{"actor", "actor (repeatable)"},
		{"target", "target (repeatable)"},
		{"result", "result (repeatable)"},
	}
	singles := []struct{ flag, param, text string }{
		{"start-time", "start_time", "first time, RFC 3339 or a date (inclusive)"},
		{"end-time", "end_time", "last time, RFC 3339 or a date (inclusive)"},
		{"q", "q", "text in any field"},
		{"limit", "limit", "most events (default 100, at most 10000; ndjson: no limit)"},
		{"order", "order", "asc for oldest first"},
		{"before", "before", "only events before this `ID`"},
		{"after", "after", "only events after this `ID`"},
	}
	cmd := &cobra.Command{
		Use:   "query",
		Short: "Print events, newest first",
		Example: `  eventstore query --category security --category user --limit 20
  eventstore query --actor docker --start-time 2025-12-24 --end-time 2025-12-24
  eventstore query --order asc --output ndjson > events.ndjson`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !slices.Contains([]string{"table", "json", "ndjson"}, output) {
				return usage(fmt.Errorf("--output: %q: one of table, json, ndjson", output))
			}
			q := url.Values{}
			for _, l := range lists {
				values, err := cmd.Flags().GetStringArray(l.flag)
				if err != nil {
					return err
				}
				if len(values) > 0 {
					q[l.flag] = values
				}
			}
			for _, s := range singles {
				if f := cmd.Flag(s.flag); f.Changed {
					q.Set(s.param, f.Value.String())
				}
			}
			return query(cmd, &c, q, output)
		},
	}
	c.addURL(cmd)
	for _, l := range lists {
		cmd.Flags().StringArray(l.flag, nil, l.text)
	}
	for _, s := range singles {
		cmd.Flags().String(s.flag, "", s.text)
	}
	cmd.Flags().StringVar(&output, "output", "table", "table, json or ndjson")
	return cmd
}

func query(cmd *cobra.Command, c *client, q url.Values, output string) error {
	path := "/events"
	if len(q) > 0 {
		path += "?" + q.Encode()
	}
	if output == "ndjson" {
		return copyEvents(cmd, c, path)
	}
	_, b, err := c.call(cmd.Context(), "GET", path, nil, http.Header{"Accept": {"application/json"}})
	if err != nil {
		return err
	}
	if output == "json" {
		return printLine(cmd.OutOrStdout(), b)
	}
	return printTable(cmd.OutOrStdout(), b)
}

// copyEvents streams the lines as they come. An answer that breaks off is an error.
func copyEvents(cmd *cobra.Command, c *client, path string) error {
	res, err := c.do(cmd.Context(), "GET", path, nil, http.Header{"Accept": {"application/x-ndjson"}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
		return problem(res.Status, b)
	}
	if _, err := io.Copy(cmd.OutOrStdout(), res.Body); err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	return nil
}

func printTable(w io.Writer, b []byte) error {
	var events []struct {
		ID, Timestamp, Category, Action, Actor, Result string
		Target                                         *string
	}
	if err := json.Unmarshal(b, &events); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "ID\tTIMESTAMP\tCATEGORY\tACTION\tACTOR\tTARGET\tRESULT")
	for _, e := range events {
		target := "-"
		if e.Target != nil {
			target = printable(*e.Target)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.ID, e.Timestamp, e.Category,
			printable(e.Action), printable(e.Actor), target, printable(e.Result))
	}
	return tw.Flush()
}
