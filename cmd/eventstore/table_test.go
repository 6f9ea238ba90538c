package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
)

// hostile is text that would clear the screen, set the title, turn the line around, or break it.
const hostile = "\x1b[2J\x1b]0;t\x07\u009b31m\u202eabc\u2066\nnext\r\ttab\u200b"

func eventLine(actor, target string) []byte {
	a, _ := json.Marshal(actor)
	g, _ := json.Marshal(target)
	return fmt.Appendf(nil, `{"id":"00000000002a","timestamp":"2025-12-24T10:00:00.000000Z","category":"service","action":"started","actor":%s,"target":%s,"result":"failure"}`, a, g)
}

func TestTableFitsTheTerminal(t *testing.T) {
	lines := [][]byte{eventLine("docker", "ollama"), eventLine(strings.Repeat("日本", 40), strings.Repeat("x", 200)), eventLine("e\u0301", hostile)}
	for width := 80; width <= 220; width += 7 {
		var out bytes.Buffer
		if err := newEventTable(terminal{out: &out, width: width}).events(lines); err != nil {
			t.Fatal(err)
		}
		rows := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
		if len(rows) != 4 {
			t.Fatalf("%d rows: %q", len(rows), out.String())
		}
		for _, row := range rows {
			if n := runewidth.StringWidth(row); n > width {
				t.Errorf("%d columns on %d: %q", n, width, row)
			}
		}
		if strings.ContainsAny(out.String(), "\x1b\r\t\u009b\u202e\u2066\u200b") {
			t.Errorf("it steers the terminal: %q", out.String())
		}
	}
}

func TestTableOutsideATerminalIsWhole(t *testing.T) {
	long := strings.Repeat("x", 300)
	var out bytes.Buffer
	if err := newEventTable(terminalOf(&out)).events([][]byte{eventLine("docker", long), eventLine("d", "日本")}); err != nil {
		t.Fatal(err)
	}
	rows := strings.Split(out.String(), "\n")
	if !strings.Contains(rows[1], "  "+long+"  failure") || strings.Contains(out.String(), "\x1b") {
		t.Errorf("%q", out.String())
	}
	if at := runewidth.StringWidth(rows[2][:strings.Index(rows[2], "failure")]); at != strings.Index(rows[1], "failure") {
		t.Errorf("the columns do not line up: %q", rows)
	}
}

func TestColours(t *testing.T) {
	var out bytes.Buffer
	if err := newEventTable(terminal{out: &out, width: 120, colour: true}).events([][]byte{eventLine("a", "b")}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "\x1b[31mfailure\x1b[0m") {
		t.Errorf("%q", out.String())
	}
}

// On a terminal JSON is the same value without a character that steers it.
func TestJSONOnATerminal(t *testing.T) {
	line := eventLine(hostile, "日本 😀 \U000e0041")
	var out bytes.Buffer
	if err := (terminal{out: &out, width: 80}).json(line); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(out.String(), "\x1b\r\u009b\u202e\u2066\u200b\U000e0041") || !strings.Contains(out.String(), "日本 😀") {
		t.Errorf("%q", out.String())
	}
	var got, want any
	if json.Unmarshal(out.Bytes(), &got) != nil || json.Unmarshal(line, &want) != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("another value: %q", out.String())
	}
	out.Reset()
	if err := (terminal{out: &out}).json(line); err != nil || out.String() != string(line)+"\n" {
		t.Errorf("outside a terminal it is as stored: %q", out.String())
	}
}
