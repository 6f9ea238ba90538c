package httpapi

import (
	"slices"
	"strings"
	"time"

	"home.lab/event-store/ledger"
)

// A state is what the page says about ledger, stream, verification and retention.
type state struct {
	Chain, Health pill
	Reasons       []string
	Ledger        ledger.Status
	Segments      int
	Last          string // time of the head
	Stream        StreamStatus
	Fill          float64 // of the stream, 0 to 1
	Verified      string
	Report        *ledger.Report // the last; at most shownFindings of its findings
	More          int64          // findings that are not shown
	Cells         []kept
	Pending       retentionAnswer
}

// shownFindings is how many findings the page lists.
const shownFindings = 50

// A pill is one word on its colour: good, warn, bad or plain.
type pill struct{ Text, Class string }

// Kept is how long a category is kept, and what is there.
type kept struct {
	Name, Class, Description, Kept string
	Events, AgedOut                int64
}

func (a *API) pageState(sc *screen, c ledger.Config) state {
	l, v, stream := a.ledger.Status(), a.verifier.state(), a.streamStatus()
	s := state{Ledger: l, Segments: l.FileCount, Stream: stream, Cells: sc.cells(c, l), Pending: a.pending()}
	if !l.Last.IsZero() {
		s.Last = l.Last.UTC().Format(time.DateTime)
	}
	if stream.MaxBytes > 0 {
		s.Fill = float64(stream.Bytes) / float64(stream.MaxBytes)
	}
	s.verification(v)
	s.health(a.cannotCommit(stream), slices.Concat(stream.Drift, stream.Warnings))
	return s
}

// verification takes the last report, with its findings cut to what a page can show.
func (s *state) verification(v verifierState) {
	s.Chain = pill{"not verified yet", "plain"}
	switch {
	case v.LastError != "":
		s.Verified = "The last verification failed: " + v.LastError
	case v.Running:
		s.Verified = "A verification runs."
	}
	if v.Last == nil {
		return
	}
	report := *v.Last
	if n := len(report.Findings); n > shownFindings {
		report.Findings, s.More = report.Findings[:shownFindings], int64(n-shownFindings)
	}
	s.More += report.Omitted
	s.Report = &report
	s.Chain = pill{"chain valid", "good"}
	if !*v.valid() {
		s.Chain = pill{"chain invalid", "bad"}
	}
	if s.Verified == "" {
		s.Verified = "Verified " + time.Time(*v.LastAt).UTC().Format(time.DateTime) + " UTC, " + number(report.Events) + " events."
	}
}

func (s *state) health(cannot string, warnings []string) {
	s.Health = pill{"takes events", "good"}
	switch {
	case cannot != "":
		s.Health, s.Reasons = pill{"takes no events", "bad"}, []string{cannot}
	case len(warnings) > 0:
		s.Health, s.Reasons = pill{"takes events, look at the stream", "warn"}, warnings
	}
}

// cells lists the categories, those of the policy and those that still have events.
func (sc *screen) cells(c ledger.Config, l ledger.Status) []kept {
	var cells []kept
	add := func(name, description, age string) {
		if sc.grant.covers(name) {
			cells = append(cells, kept{name, sc.class(name), description, age, l.Categories[name], l.AgedOut[name]})
		}
	}
	for name, p := range c.Categories {
		add(name, p.Description, ledger.FormatAge(p.Retention))
	}
	for name, n := range l.Categories {
		if _, ok := c.Categories[name]; !ok && n > 0 && name != ledger.CategoryLedger {
			add(name, "", "no longer configured")
		}
	}
	add(ledger.CategoryLedger, "the store's own", ledger.FormatAge(0))
	slices.SortFunc(cells, func(a, b kept) int { return strings.Compare(a.Name, b.Name) })
	return cells
}
