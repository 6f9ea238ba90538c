package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-runewidth"

	"home.lab/event-store/ledger"
)

const someStatus = `{"total_events":117,"chain_valid":%VALID%,"first_event_time":"2025-12-24T10:00:00.000000Z",
"last_event_time":"2025-12-25T10:00:00.000000Z","last_hash":"c9754b1a","last_id":"00000000014f","file_count":4,"total_size_bytes":17700,
"aged_out_events":220,"missing_ids":2,"verified_at":"2025-12-25T10:00:00.000000Z","verified_through":"00000000014f",
"categories":{"ledger":4,"security":111,"service":2},"retention":{"pending_cells":1,"pending_events":20,"waits":"the clocks are apart"},
"stream":{"connected":true,"lag":0,"messages":336,"bytes":51459,"max_bytes":8589934592,"drift":["max_age is \u001b[2J set"],"warnings":[],"moved":[]}}`

func printedStatus(t *testing.T, valid string, to terminal) string {
	t.Helper()
	var s storeStatus
	if err := json.Unmarshal([]byte(strings.Replace(someStatus, "%VALID%", valid, 1)), &s); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	to.out = &out
	if err := s.print(to, time.Date(2025, 12, 25, 10, 1, 30, 0, time.UTC)); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestStatusSaysWhatMatters(t *testing.T) {
	text := printedStatus(t, "true", terminal{})
	for _, want := range []string{"valid, verified 1m30s ago through 00000000014f", "117", "security 111, ledger 4, service 2", "c9754b1a",
		"20 events, decided to age out, wait in the files: the clocks are apart", "2 ids that the stream lost", "max_age is \uFFFD[2J set"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Contains(text, "\x1b") {
		t.Errorf("colour outside a terminal: %q", text)
	}
	away := storeStatus{}
	away.Stream.Reason, away.Stream.Drift = "no consumer", []string{"retention is WorkQueue"}
	f := &fields{}
	away.stream(f)
	if text := fmt.Sprint(f); !strings.Contains(text, "not connected: no consumer") || !strings.Contains(text, "retention is WorkQueue") {
		t.Errorf("a stream that cannot be read: %s", text)
	}
	if text := printedStatus(t, "false", terminal{width: 80, colour: true}); !strings.Contains(text, "\x1b[31mINVALID") {
		t.Errorf("%q", text)
	}
	if text := printedStatus(t, "null", terminal{width: 80}); !strings.Contains(text, "not verified yet") || strings.Contains(text, "\x1b") {
		t.Errorf("%q", text)
	}
}

func TestFieldsFitTheTerminal(t *testing.T) {
	for width := 50; width < 120; width += 3 {
		for line := range strings.Lines(printedStatus(t, "true", terminal{width: width})) {
			if n := runewidth.StringWidth(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("%d columns on %d: %q", n, width, line)
			}
		}
	}
}

func TestProgressFitsTheTerminal(t *testing.T) {
	for width := 20; width < 120; width++ {
		for _, done := range []int64{0, 1, 5e8, 999_999_999, 1e9, 2e9} {
			if strings.Contains(formatSize(done), "e+") {
				t.Errorf("%d bytes are %s", done, formatSize(done))
			}
			text := progressText(ledger.VerifyProgress{SegmentsDone: 12, SegmentsTotal: 345, BytesDone: done, BytesTotal: 1e9}, width)
			if len(text) >= width {
				t.Errorf("%d columns on %d: %q", len(text), width, text)
			}
			if width > 100 && strings.Count(text, "#") != int(min(done, 1e9)*40/1e9) {
				t.Errorf("%d of 1e9: %q", done, text)
			}
		}
	}
}

func TestVerdictNamesEveryFinding(t *testing.T) {
	r := &ledger.Report{Status: "invalid", Error: "Chain broken", Findings: []ledger.Finding{
		{Kind: "hash_mismatch", ID: "00000000002a", File: "events_1.jsonl", Line: 42, Message: "expected \x1b[2J"}}, Omitted: 3}
	text := verdict(terminal{}, r)
	if text != "invalid: Chain broken\n  hash_mismatch events_1.jsonl:42 event 00000000002a: expected \uFFFD[2J\n  and 3 more\n" {
		t.Errorf("%q", text)
	}
}

func TestReportListsHolesShorteningsAndPendingEvents(t *testing.T) {
	var out bytes.Buffer
	r := &ledger.Report{Status: "valid", Message: "Chain integrity verified", Pending: 7,
		Missing: []ledger.MissingRange{{FirstID: "000000000003", LastID: "000000000005"}, {FirstID: "000000000009", LastID: "000000000009"}},
		Policies: []ledger.PolicyChange{{ID: "default"}, {ID: "000000000002", Timestamp: "2025-12-24T10:00:00.000000Z", Shortened: []string{"ai", "user"}},
			{ID: "000000000006", Timestamp: "2025-12-25T10:00:00.000000Z"}, {ID: "000000000007", Timestamp: "2025-12-26T10:00:00.000000Z", Shortened: []string{"security"}}}}
	if err := printReport(terminal{out: &out}, r, false); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		if name, value, _ := strings.Cut(line, " "); name == "pending" || name == "missing" || name == "shortened" {
			got = append(got, name+" "+strings.TrimSpace(value))
		}
	}
	want := []string{"pending 7 events, decided to age out and still in the files",
		"missing 000000000003 to 000000000005: the stream lost them", "missing 000000000009 to 000000000009: the stream lost them",
		"shortened ai, user by event 000000000002 at 2025-12-24T10:00:00.000000Z", "shortened security by event 000000000007 at 2025-12-26T10:00:00.000000Z"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
