package main

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
)

// fields are lines of a name and a value, which line up. On a terminal a long value goes on below its beginning.
type fields struct {
	to   terminal
	list []field
}

type field struct{ name, value, style string }

func (f *fields) add(name, format string, args ...any) {
	f.style("", name, format, args...)
}

// style is add in a style.
func (f *fields) style(style, name, format string, args ...any) {
	f.list = append(f.list, field{name, printable(fmt.Sprintf(format, args...)), style})
}

func (f *fields) print() error {
	names := 0
	for _, x := range f.list {
		names = max(names, len(x.name))
	}
	var b strings.Builder
	for _, x := range f.list {
		name := x.name
		for _, part := range f.to.wrap(x.value, names+columnGap) {
			fmt.Fprintf(&b, "%-*s%s\n", names+columnGap, name, f.to.paint(x.style, part))
			name = ""
		}
	}
	_, err := f.to.out.Write([]byte(b.String()))
	return err
}

// wrap breaks text between words so that it fits beside a margin. A word that is too long stays whole: it may be a hash
// that somebody wants to copy.
func (t terminal) wrap(text string, margin int) (lines []string) {
	if t.width == 0 {
		return []string{text}
	}
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && runewidth.StringWidth(line)+1+runewidth.StringWidth(word) > t.width-margin {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return append(lines, line)
}
