package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const (
	tailSilence   = time.Minute // the store sends a heartbeat every 15 s
	tailRetry     = time.Second
	tailRetryMost = 10 * time.Second
)

func tailCommand() *cobra.Command {
	var t tailing
	var o output
	var follow bool
	var count int
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Print the last events, and with -f those that come",
		Long: `Print the last events, oldest first; with -f go on with those that come, until it is interrupted. When the
connection breaks it goes on behind the last event: none is lost and none printed twice.

Exit code: 0 done, with -f when it is interrupted, 1 the store did not answer at the beginning, or refused, 2 wrong usage.`,
		Example: `  eventstore tail -f
  eventstore tail -n 50 --category security
  eventstore tail -f -n 0 --output ndjson | jq -c '[.actor, .action]'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := o.check(cmd); err != nil {
				return err
			}
			switch {
			case follow && o.json:
				o.form = "ndjson" // an array would have to end
			case follow && o.form == "json":
				return usage(errors.New("an array has an end: with -f use --output ndjson"))
			}
			if count < 0 {
				return usage(errors.New("-n: must not be negative"))
			}
			if t.filter, err = parametersOf(cmd, filterParameters); err != nil {
				return err
			}
			t.to, t.form = terminalOf(cmd.OutOrStdout()), o.form
			t.warn = func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), "eventstore: "+text) }
			if err := t.last(cmd.Context(), count); err != nil || !follow {
				return err
			}
			return t.follow(cmd.Context())
		},
	}
	t.client.addURL(cmd)
	addParameters(cmd, filterParameters)
	o.addFlags(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on with the events that come")
	cmd.Flags().IntVarP(&count, "lines", "n", 10, "how many of the last events")
	return cmd
}

// tailing prints events as they come.
type tailing struct {
	client client
	filter url.Values
	to     terminal
	form   string
	table  *table
	at     string // id of the last event that was seen
	warn   func(text string)
}

// last prints the newest n events, oldest first. Even for none of them it asks for one: what follows it is new.
func (t *tailing) last(ctx context.Context, n int) error {
	q := url.Values{"limit": {strconv.Itoa(max(n, 1))}}
	for name, values := range t.filter {
		q[name] = values
	}
	res, err := t.client.stream(ctx, withQuery("/events", q), http.Header{"Accept": {"application/x-ndjson"}})
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var lines [][]byte
	if err := eachTextLine(res.Body, func(line string) error { lines = append(lines, []byte(line)); return nil }); err != nil {
		return fmt.Errorf("the answer broke off: %w", err)
	}
	t.at = "000000000000"
	if len(lines) > 0 {
		cells, _, err := eventCells(lines[0])
		if err != nil {
			return err
		}
		t.at = cells[0]
	}
	slices.Reverse(lines)
	return t.begin(lines[len(lines)-min(n, len(lines)):])
}

// begin prints the first lines, and what stands above or around them.
func (t *tailing) begin(lines [][]byte) error {
	switch t.form {
	case "table":
		t.table = newEventTable(t.to)
		return t.table.events(lines)
	case "json":
		array := make([]string, len(lines))
		for i, line := range lines {
			array[i] = string(line)
		}
		return t.to.json([]byte("[" + strings.Join(array, ",\n") + "]"))
	}
	for _, line := range lines {
		if err := t.to.json(line); err != nil {
			return err
		}
	}
	return nil
}

// print prints one event that came.
func (t *tailing) print(line string) error {
	if t.form != "table" {
		return t.to.json([]byte(line))
	}
	cells, style, err := eventCells([]byte(line))
	if err != nil {
		return err
	}
	return t.table.row(cells, style)
}

// follow reads one stream after the other until ctx ends, which is how it is meant to end.
func (t *tailing) follow(ctx context.Context) error {
	wait := tailRetry
	for {
		at := t.at
		err := t.stream(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var refused statusError
		var output outputError
		if errors.As(err, &refused) && refused.status < 500 || errors.As(err, &output) {
			return err
		}
		if at != t.at {
			wait = tailRetry
		}
		t.warn(fmt.Sprintf("%s; trying again in %s", err, wait))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = min(2*wait, tailRetryMost)
	}
}

// An outputError says that nobody takes what is printed.
type outputError struct{ error }

// stream reads one stream to its end, which is an error.
func (t *tailing) stream(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(tailSilence, func() { cancel(errors.New("the store has been silent for " + tailSilence.String())) })
	defer silence.Stop()
	header := http.Header{"Accept": {"text/event-stream"}, "Last-Event-Id": {t.at}}
	res, err := t.client.stream(ctx, withQuery("/events/stream", t.filter), header)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var b block
	err = eachTextLine(res.Body, func(line string) error {
		silence.Reset(tailSilence)
		if line != "" {
			b.add(line)
			return nil
		}
		done := b
		b = block{}
		return t.take(done)
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		return errors.New("the store ended the stream")
	}
	return err
}

// take handles one block: an event, or an id that only moves the position.
func (t *tailing) take(b block) error {
	if b.event == "error" {
		return errors.New("the store says: " + printable(b.data))
	}
	if b.data != "" {
		if err := t.print(b.data); err != nil {
			return outputError{err}
		}
	}
	if b.id != "" {
		t.at = b.id
	}
	return nil
}

// A block is one of a stream of server-sent events; the store's have one line of data.
type block struct{ id, event, data string }

func (b *block) add(line string) {
	name, value, _ := strings.Cut(line, ":")
	value = strings.TrimPrefix(value, " ")
	switch name {
	case "id":
		b.id = value
	case "event":
		b.event = value
	case "data":
		b.data = value
	}
}
