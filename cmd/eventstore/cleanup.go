package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

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
			_, b, err := c.call(cmd.Context(), "POST", path, nil, nil)
			if err != nil {
				return err
			}
			if asJSON {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), string(bytes.TrimSpace(b)))
				return err
			}
			return showPass(cmd.OutOrStdout(), verb, b)
		},
	}
	c.addURL(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the store's answer")
	return cmd
}

func showPass(w io.Writer, verb string, answer []byte) error {
	var r struct {
		AgedOut    int64 `json:"aged_out_events"`
		BytesFreed int64 `json:"bytes_freed"`
		Cells      []struct {
			Segment  string `json:"segment"`
			Category string `json:"category"`
			Count    int64  `json:"count"`
			Last     string `json:"last_timestamp"`
		} `json:"cells"`
	}
	if err := json.Unmarshal(answer, &r); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i, cell := range r.Cells {
		if i == 0 {
			fmt.Fprintln(t, "SEGMENT\tCATEGORY\tEVENTS\tLAST")
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\n", printable(cell.Segment), printable(cell.Category), cell.Count, printable(cell.Last))
	}
	fmt.Fprintf(t, "%s %d events, %d bytes on disk\n", verb, r.AgedOut, r.BytesFreed)
	return t.Flush()
}
