package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func cleanupCommand() *cobra.Command {
	cmd := passCommand("/cleanup", "aged out")
	cmd.Use, cmd.Short = "cleanup", "Run a retention pass now"
	cmd.Long = "Run a retention pass on a running store: chain the decision, rewrite the files, say what was aged out."
	cmd.Example = "  eventstore cleanup\n  eventstore cleanup --json | jq .bytes_freed"
	return cmd
}

func retentionCommand() *cobra.Command {
	cmd := passCommand("/cleanup?dry_run=true", "would age out")
	cmd.Use, cmd.Short = "retention", "Show what a retention pass would age out"
	cmd.Long = "Show, per segment and category, what a retention pass would age out now. It changes nothing; \"eventstore cleanup\" does."
	cmd.Example = "  eventstore retention --dry-run"
	cmd.Flags().Bool("dry-run", true, "show only, the one thing that this command does")
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if dry, _ := cmd.Flags().GetBool("dry-run"); !dry {
			return usage(fmt.Errorf("--dry-run=false: to age out, run \"eventstore cleanup\""))
		}
		return run(cmd, args)
	}
	return cmd
}

// passCommand calls POST /cleanup and shows its report.
func passCommand(path, verb string) *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			to := terminalOf(cmd.OutOrStdout())
			done := stopwatch(terminalOf(cmd.ErrOrStderr()))
			_, b, err := c.call(cmd.Context(), "POST", path, nil, nil)
			done()
			if err != nil {
				return err
			}
			if asJSON {
				return to.json(b)
			}
			return showPass(to, verb, b)
		},
	}
	c.addURL(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the store's answer")
	return cmd
}

// stopwatch shows on a terminal how long the store has been at it, from the second second on, until done is called.
func stopwatch(to terminal) (done func()) {
	if to.width == 0 {
		return func() {}
	}
	began, tick := time.Now(), time.NewTicker(time.Second)
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(to.out, "\r\x1b[Kthe store is at it: %s (about half a second for 100 MB of events)", time.Since(began).Round(time.Second))
			case <-end:
				fmt.Fprint(to.out, "\r\x1b[K")
				return
			}
		}
	}()
	return func() { tick.Stop(); close(end); <-ended }
}

type passCell struct {
	Segment  string
	Category string
	Count    int64
	Last     string `json:"last_timestamp"`
}

func showPass(to terminal, verb string, answer []byte) error {
	var r struct {
		AgedOut       int64 `json:"aged_out_events"`
		BytesFreed    int64 `json:"bytes_freed"`
		Cells         []passCell
		Segments      []struct{}
		Pending       []passCell
		PendingReason string `json:"pending_reason"`
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	if err := showCells(to, r.Cells); err != nil {
		return err
	}
	waiting := int64(0)
	for _, c := range r.Pending {
		waiting += c.Count
	}
	text := fmt.Sprintf("%s: %d events, %d cells; bytes given back: %d in %d segments", verb, r.AgedOut, len(r.Cells), r.BytesFreed, len(r.Segments))
	if waiting > 0 {
		text += "\n" + to.paint(yellow, fmt.Sprintf("pending: %d events, decided and still in the files", waiting))
	}
	if r.PendingReason != "" {
		text += ": " + printable(r.PendingReason)
	}
	_, err := fmt.Fprintln(to.out, text)
	return err
}

func showCells(to terminal, cells []passCell) error {
	if len(cells) == 0 {
		return nil
	}
	t := newTable(to, column{name: "SEGMENT", least: 22}, column{name: "CATEGORY", least: 6}, column{name: "EVENTS", least: 6}, column{name: "LAST", least: 20})
	var rows [][]string
	for _, c := range cells {
		rows = append(rows, []string{printable(c.Segment), printable(c.Category), strconv.FormatInt(c.Count, 10), printable(c.Last)})
	}
	t.fit(rows)
	if err := t.header(); err != nil {
		return err
	}
	for _, r := range rows {
		if err := t.row(r, ""); err != nil {
			return err
		}
	}
	return nil
}
