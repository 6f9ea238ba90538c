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
			if !asJSON {
				o.Progress, clear = progressLine(terminalOf(cmd.ErrOrStderr()))
			}
			report, err := ledger.VerifyDir(cmd.Context(), dir, o)
			clear()
			if err != nil {
				return exitError{2, fmt.Errorf("verifying %s: %w", dir, err)}
			}
			if err := printReport(terminalOf(cmd.OutOrStdout()), report, asJSON); err != nil {
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
func progressLine(to terminal) (func(ledger.VerifyProgress), func()) {
	if to.width == 0 {
		return nil, func() {}
	}
	var mu sync.Mutex
	var last time.Time
	show := func(p ledger.VerifyProgress) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < 100*time.Millisecond || p.BytesTotal <= 0 {
			return
		}
		last = time.Now()
		fmt.Fprint(to.out, "\r\x1b[K"+progressText(p, to.width))
	}
	return show, func() { fmt.Fprint(to.out, "\r\x1b[K") }
}

// progressText is one line that fits a width: the figures first, and a bar where there is room for one.
func progressText(p ledger.VerifyProgress, width int) string {
	done := min(p.BytesDone, p.BytesTotal)
	text := fmt.Sprintf("%3d%%  %s of %s, %d of %d segments", done*100/p.BytesTotal, formatSize(done), formatSize(p.BytesTotal), p.SegmentsDone, p.SegmentsTotal)
	bar := min(40, width-1-len(text)-len("[]  "))
	if bar < 10 {
		return text[:min(len(text), width-1)]
	}
	n := int(done * int64(bar) / p.BytesTotal)
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", bar-n) + "]  " + text
}

func printReport(to terminal, r *ledger.Report, asJSON bool) error {
	if asJSON {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return to.json(b)
	}
	if _, err := io.WriteString(to.out, verdict(to, r)); err != nil {
		return err
	}
	f := &fields{to: to}
	f.add("events", "%d in %d segments", r.Events, r.Segments)
	f.add("aged out", "%d", r.AgedOut)
	if r.Pending > 0 {
		f.style(yellow, "pending", "%d events, decided to age out and still in the files", r.Pending)
	}
	for _, m := range r.Missing {
		f.style(yellow, "missing", "%s to %s: the stream lost them", m.FirstID, m.LastID)
	}
	for _, p := range r.Policies {
		if len(p.Shortened) > 0 {
			f.style(yellow, "shortened", "%s by event %s at %s", strings.Join(p.Shortened, ", "), p.ID, p.Timestamp)
		}
	}
	f.add("head", "%s:%s", r.Head.ID, r.Head.Hash)
	if r.PublicKey != "" {
		f.add("key", "%s", r.PublicKey)
	}
	f.add("checked", "%s", strings.Join(r.Checked, ", "))
	f.add("not checked", "%s", strings.Join(r.NotChecked, ", "))
	f.add("took", "%s", time.Duration(r.DurationMS)*time.Millisecond)
	return f.print()
}

// verdict is valid or invalid, with all findings.
func verdict(to terminal, r *ledger.Report) string {
	if r.Status == "valid" {
		return to.paint(green, r.Status) + ": " + printable(r.Message) + "\n"
	}
	text := to.paint(red, printable(r.Status)) + ": " + printable(r.Error) + "\n"
	for _, f := range r.Findings {
		text += "  " + printable(findingText(f)) + "\n"
	}
	if r.Omitted > 0 {
		text += fmt.Sprintf("  and %d more\n", r.Omitted)
	}
	return text
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
