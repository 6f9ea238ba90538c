package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf16"

	"golang.org/x/term"
)

// A terminal is how text reaches its reader: cut to a width and in colour on a terminal, whole and plain elsewhere.
type terminal struct {
	out    io.Writer
	width  int // columns; 0: no terminal
	colour bool
}

func terminalOf(w io.Writer) terminal {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return terminal{out: w}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		width = 80
	}
	return terminal{w, width, os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Styles (ECMA-48, select graphic rendition).
const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (t terminal) paint(style, text string) string {
	if !t.colour || style == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// resultStyle is the colour of an event's result.
func resultStyle(result string) string {
	switch result {
	case "failure":
		return red
	case "pending":
		return yellow
	}
	return ""
}

// json prints JSON as it is; on a terminal, characters that would steer it become escapes of the same value.
func (t terminal) json(b []byte) error {
	b = bytes.TrimRight(b, "\n")
	if t.width > 0 {
		b = []byte(escaped(string(b)))
	}
	_, err := fmt.Fprintf(t.out, "%s\n", b)
	return err
}

func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\n' || r == '\t' {
			b.WriteRune(r)
			continue
		}
		for _, u := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, u)
		}
	}
	return b.String()
}

// printable replaces what is not printed but does something: an event's text must not steer the reader's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
