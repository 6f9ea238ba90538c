package main

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
)

const columnGap = 2

// A table prints rows in columns that line up. Columns grow with what is printed; on a terminal they are cut so that a
// row is one line.
type table struct {
	to      terminal
	columns []column
}

type column struct {
	name  string
	least int // it is never cut below this
	width int
}

func newTable(to terminal, columns ...column) *table { return &table{to, columns} }

// fit makes the columns wide enough for rows, and for their own names.
func (t *table) fit(rows [][]string) {
	for i := range t.columns {
		c := &t.columns[i]
		c.width = max(c.width, runewidth.StringWidth(c.name))
		for _, r := range rows {
			c.width = max(c.width, runewidth.StringWidth(r[i]))
		}
	}
	if t.to.width > 0 {
		t.shrink()
	}
}

// shrink takes from the widest column until a row fits, as long as there is one to take from.
func (t *table) shrink() {
	for t.total() > t.to.width {
		var widest *column
		for i := range t.columns {
			if c := &t.columns[i]; c.width > c.least && (widest == nil || c.width > widest.width) {
				widest = c
			}
		}
		if widest == nil {
			return
		}
		widest.width--
	}
}

func (t *table) total() int {
	n := columnGap * (len(t.columns) - 1)
	for _, c := range t.columns {
		n += c.width
	}
	return n
}

func (t *table) header() error {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = c.name
	}
	return t.row(names, bold)
}

// row prints cells, the last one in a style unless that is empty; a header has it throughout.
func (t *table) row(cells []string, style string) error {
	t.fit([][]string{cells})
	var b strings.Builder
	for i, c := range t.columns {
		text := cells[i]
		if t.to.width > 0 {
			text = runewidth.Truncate(text, c.width, "…")
		}
		fill := ""
		if i < len(t.columns)-1 {
			fill = strings.Repeat(" ", max(0, c.width-runewidth.StringWidth(text))+columnGap)
		}
		if style == bold || i == len(t.columns)-1 {
			text = t.to.paint(style, text)
		}
		b.WriteString(text + fill)
	}
	_, err := fmt.Fprintln(t.to.out, strings.TrimRight(b.String(), " "))
	return err
}

func newEventTable(to terminal) *table {
	return newTable(to, column{name: "ID", least: 12, width: 12}, column{name: "TIMESTAMP", least: 20, width: 27},
		column{name: "CATEGORY", least: 8}, column{name: "ACTION", least: 6}, column{name: "ACTOR", least: 6},
		column{name: "TARGET", least: 6}, column{name: "RESULT", least: 7})
}

// eventCells is an event's row in a table of events, and its style.
func eventCells(line []byte) (cells []string, style string, err error) {
	var e struct {
		ID, Timestamp, Category, Action, Actor, Result string
		Target                                         *string
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, "", fmt.Errorf("reading the answer: %w", err)
	}
	target := "-"
	if e.Target != nil {
		target = *e.Target
	}
	cells = []string{e.ID, e.Timestamp, e.Category, e.Action, e.Actor, target, e.Result}
	for i := range cells {
		cells[i] = printable(cells[i])
	}
	return cells, resultStyle(e.Result), nil
}

// events prints the lines of events under a header.
func (t *table) events(lines [][]byte) error {
	rows, styles := make([][]string, len(lines)), make([]string, len(lines))
	for i, line := range lines {
		var err error
		if rows[i], styles[i], err = eventCells(line); err != nil {
			return err
		}
	}
	t.fit(rows)
	if err := t.header(); err != nil {
		return err
	}
	for i, r := range rows {
		if err := t.row(r, styles[i]); err != nil {
			return err
		}
	}
	return nil
}
