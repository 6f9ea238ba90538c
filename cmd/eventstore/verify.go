package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"home.lab/event-store/ledger"
)

func verifyCommand() *cobra.Command {
	var dir string
	var asJSON bool
	var heads, require []string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify a ledger's files without a server",
		Long: `Verify a ledger's folder, or a copy of it, read-only.
Exit code: 0 valid, 1 invalid, 2 could not read (or wrong usage).`,
		Example: `  eventstore verify --data ./data
  eventstore verify --data ./data --head 00000000002a:9f86d081...  # a head noted elsewhere must be in the chain
  eventstore verify --data ./data --require security=365d --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := verifyOptions(heads, require)
			if err != nil {
				return usage(err)
			}
			if info, err := os.Stat(dir); err != nil {
				return exitError{2, fmt.Errorf("--data: %w", err)}
			} else if !info.IsDir() {
				return exitError{2, fmt.Errorf("--data: %s is no folder", dir)}
			}
			clear := func() {}
			if !asJSON && term.IsTerminal(int(os.Stderr.Fd())) {
				o.Progress, clear = progressLine(os.Stderr)
			}
			report, err := ledger.VerifyDir(cmd.Context(), dir, o)
			clear()
			if err != nil {
				return exitError{2, fmt.Errorf("verifying %s: %w", dir, err)}
			}
			if err := printReport(cmd.OutOrStdout(), report, asJSON); err != nil {
				return exitError{2, err}
			}
			if report.Status != "valid" {
				return exitError{1, nil}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "data", "./data", "the ledger's `DIR`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the report as JSON")
	cmd.Flags().StringArrayVar(&heads, "head", nil, "`ID:HASH` that must be in the chain (repeatable)")
	cmd.Flags().StringArrayVar(&require, "require", nil, "`CATEGORY=DURATION` that must not have been aged out earlier (repeatable)")
	return cmd
}

var hashText = regexp.MustCompile(`^[0-9a-f]{64}$`)

func verifyOptions(heads, require []string) (ledger.VerifyOptions, error) {
	o := ledger.VerifyOptions{}
	for _, h := range heads {
		id, hash, _ := strings.Cut(h, ":")
		parsed, err := ledger.ParseID(id)
		if err != nil || !hashText.MatchString(hash) {
			return o, fmt.Errorf("--head: %q: write ID:HASH, 12 and 64 lower-case hex digits", h)
		}
		o.Heads = append(o.Heads, ledger.Head{ID: parsed, Hash: hash})
	}
	for _, r := range require {
		category, text, ok := strings.Cut(r, "=")
		retention, err := parseDuration(text)
		if !ok || category == "" || err != nil {
			return o, fmt.Errorf("--require: %q: write CATEGORY=DURATION, as security=365d or security=forever", r)
		}
		if o.Require == nil {
			o.Require = map[string]time.Duration{}
		}
		o.Require[category] = retention
	}
	return o, nil
}

// progressLine returns a progress function that keeps one line on a terminal, and one that clears it. Several
// goroutines may call the first.
func progressLine(w io.Writer) (func(ledger.VerifyProgress), func()) {
	const width = 30
	var mu sync.Mutex
	var last time.Time
	show := func(p ledger.VerifyProgress) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < 100*time.Millisecond || p.BytesTotal <= 0 {
			return
		}
		last = time.Now()
		n := int(min(p.BytesDone, p.BytesTotal) * width / p.BytesTotal)
		fmt.Fprintf(w, "\r\x1b[K[%s%s] %s of %s, %d of %d segments", strings.Repeat("#", n), strings.Repeat(".", width-n),
			formatSize(p.BytesDone), formatSize(p.BytesTotal), p.SegmentsDone, p.SegmentsTotal)
	}
	return show, func() { fmt.Fprint(w, "\r\x1b[K") }
}

func printReport(w io.Writer, r *ledger.Report, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return printLine(w, b)
	}
	var b strings.Builder
	verdict := r.Message
	if r.Status != "valid" {
		verdict = r.Error
	}
	fmt.Fprintf(&b, "%s: %s\n", r.Status, printable(verdict))
	for _, f := range r.Findings {
		fmt.Fprintln(&b, "  "+printable(findingText(f)))
	}
	if r.Omitted > 0 {
		fmt.Fprintf(&b, "  and %d more\n", r.Omitted)
	}
	fmt.Fprintf(&b, "events       %d\n", r.Events)
	fmt.Fprintf(&b, "aged out     %d\n", r.AgedOut)
	for _, m := range r.Missing {
		fmt.Fprintf(&b, "missing      %s to %s: the stream lost them\n", m.FirstID, m.LastID)
	}
	for _, p := range r.Policies {
		if len(p.Shortened) > 0 {
			fmt.Fprintf(&b, "shortened    %s by event %s at %s\n", strings.Join(p.Shortened, ", "), p.ID, p.Timestamp)
		}
	}
	fmt.Fprintf(&b, "head         %s:%s\n", r.Head.ID, r.Head.Hash)
	fmt.Fprintf(&b, "checked      %s\n", strings.Join(r.Checked, ", "))
	fmt.Fprintf(&b, "not checked  %s\n", strings.Join(r.NotChecked, ", "))
	fmt.Fprintf(&b, "took         %s\n", time.Duration(r.DurationMS)*time.Millisecond)
	_, err := io.WriteString(w, b.String())
	return err
}

// findingText is one line: kind, place, message.
func findingText(f ledger.Finding) string {
	text := f.Kind
	if f.File != "" {
		text += " " + f.File
		if f.Line > 0 {
			text += fmt.Sprintf(":%d", f.Line)
		}
	}
	if f.ID != "" {
		text += " event " + f.ID
	}
	return text + ": " + f.Message
}
