package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func statusCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Print the state of a running store",
		Long: `Print the state of a running store.

Exit code: 0 the store answered, whatever its state is, 1 it did not, or refused, 2 wrong usage. What tells of the state by
its exit code is "eventstore health" (events are taken) and "eventstore verify" (the chain is valid).`,
		Example: "  eventstore status\n  eventstore status --json | jq -r .last_hash",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
			defer cancel()
			_, b, err := c.call(ctx, "GET", "/status", nil, nil)
			if err != nil {
				return err
			}
			to := terminalOf(cmd.OutOrStdout())
			if asJSON {
				return to.json(b)
			}
			var s storeStatus
			if err := json.Unmarshal(b, &s); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			return s.print(to, time.Now())
		},
	}
	c.addURL(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the store's answer")
	return cmd
}

// storeStatus is what GET /status answers.
type storeStatus struct {
	TotalEvents     int64            `json:"total_events"`
	ChainValid      *bool            `json:"chain_valid"`
	First           *time.Time       `json:"first_event_time"`
	Last            *time.Time       `json:"last_event_time"`
	LastHash        string           `json:"last_hash"`
	LastID          string           `json:"last_id"`
	Files           int              `json:"file_count"`
	Bytes           int64            `json:"total_size_bytes"`
	AgedOut         int64            `json:"aged_out_events"`
	Missing         int64            `json:"missing_ids"`
	VerifiedAt      *time.Time       `json:"verified_at"`
	VerifiedThrough string           `json:"verified_through"`
	VerifyError     string           `json:"verify_error"`
	Categories      map[string]int64 `json:"categories"`
	Retention       struct {
		PendingEvents int64 `json:"pending_events"`
		Waits         string
	}
	Stream struct {
		Connected bool
		Reason    string
		Lag       int64
		Messages  int64
		Bytes     int64
		MaxBytes  int64 `json:"max_bytes"`
		Drift     []string
		Warnings  []string
		Moved     []json.RawMessage
	}
	ClockSkewMS int64 `json:"clock_skew_ms"`
	Version     string
}

func (s *storeStatus) print(to terminal, now time.Time) error {
	f := &fields{to: to}
	style, text := s.chain(now)
	f.style(style, "chain", "%s", text)
	if s.VerifyError != "" {
		f.style(red, "", "the last verification failed: %s", s.VerifyError)
	}
	f.add("events", "%d", s.TotalEvents)
	if s.First != nil && s.Last != nil {
		f.add("", "%s to %s", s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339))
	}
	f.add("categories", "%s", counts(s.Categories))
	s.gone(f)
	if s.LastID != "" {
		f.add("head", "%s", s.LastID)
		f.add("", "%s", s.LastHash)
	}
	f.add("files", "%d, %s", s.Files, formatSize(s.Bytes))
	s.stream(f)
	f.add("version", "%s", s.Version)
	return f.print()
}

// chain says what the last verification found, and when it began.
func (s *storeStatus) chain(now time.Time) (style, text string) {
	if s.ChainValid == nil || s.VerifiedAt == nil {
		return yellow, "not verified yet"
	}
	since := fmt.Sprintf("verified %s ago", now.Sub(*s.VerifiedAt).Round(time.Second))
	if s.VerifiedThrough != "" {
		since += " through " + s.VerifiedThrough
	}
	if *s.ChainValid {
		return green, "valid, " + since
	}
	return red, "INVALID, " + since + "; eventstore verify says what is wrong"
}

// gone is what is no longer there.
func (s *storeStatus) gone(f *fields) {
	f.add("aged out", "%d", s.AgedOut)
	if s.Retention.PendingEvents > 0 {
		f.style(yellow, "pending", "%s", strings.TrimSuffix(fmt.Sprintf("%d events, decided to age out, wait in the files: %s", s.Retention.PendingEvents, s.Retention.Waits), ": "))
	}
	if s.Missing > 0 {
		f.style(yellow, "missing", "%d ids that the stream lost", s.Missing)
	}
}

func (s *storeStatus) stream(f *fields) {
	if !s.Stream.Connected {
		f.style(red, "stream", "%s", strings.TrimSuffix("not connected: "+s.Stream.Reason, ": "))
	} else {
		f.add("stream", "connected, lag %d, %d messages, %s of %s, clock skew %d ms", s.Stream.Lag, s.Stream.Messages, formatSize(s.Stream.Bytes), formatSize(s.Stream.MaxBytes), s.ClockSkewMS)
	}
	for _, text := range slices.Concat(s.Stream.Drift, s.Stream.Warnings) {
		f.style(yellow, "warning", "%s", text)
	}
	for _, m := range s.Stream.Moved {
		f.style(yellow, "moved", "%s", m)
	}
}

// counts lists categories with their events, the most first.
func counts(categories map[string]int64) string {
	names := slices.SortedFunc(maps.Keys(categories), func(a, b string) int {
		return cmp.Or(cmp.Compare(categories[b], categories[a]), cmp.Compare(a, b))
	})
	parts := make([]string, len(names))
	for i, name := range names {
		parts[i] = fmt.Sprintf("%s %d", name, categories[name])
	}
	return strings.Join(parts, ", ")
}

func healthCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "health",
		Short:   "Exit 0 when the store takes events, 1 when not",
		Example: "  eventstore health && echo up\n  eventstore health --json | jq -r .status",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			to := terminalOf(cmd.OutOrStdout())
			_, b, err := c.call(ctx, "GET", "/health", nil, nil)
			if asJSON && json.Valid(b) {
				if printed := to.json(b); err == nil {
					return printed
				}
				return exitError{code: 1}
			}
			if err != nil {
				return err
			}
			return printHealth(to, b)
		},
	}
	c.addURL(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the store's answer")
	return cmd
}

func printHealth(to terminal, answer []byte) error {
	var h struct {
		Status  string
		Events  int64 `json:"event_count"`
		Reasons []string
	}
	if err := json.Unmarshal(answer, &h); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	style := green
	if h.Status != "healthy" {
		style = yellow
	}
	text := to.paint(style, printable(h.Status)) + fmt.Sprintf(", %d events", h.Events)
	for _, r := range h.Reasons {
		text += "\n  " + printable(r)
	}
	_, err := fmt.Fprintln(to.out, text)
	return err
}
