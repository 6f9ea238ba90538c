package httpapi

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"home.lab/event-store/ledger"
)

const (
	lately   = 30 * 24 * time.Hour // what the chart shows when the filters name no time
	maxBars  = 62
	barWidth = 10 // units, of which barGap are empty
	barGap   = 2
)

// A chart is the events of each day, hour or run of days by category, as bars in a space 100 units high.
type chart struct {
	Title    string
	Bars     []bar
	Width    int
	Peak     int64 // the highest bar's events
	From, To string
	Legend   []legend
}

// A bar links to the events that it stands for.
type bar struct {
	Link, Text string
	X          int
	Parts      []barPart
}

// A barPart is one category of a bar.
type barPart struct {
	Class     string
	X         int
	Y, Height float64
}

// A legend is a category's colour and how many events the chart has of it.
type legend struct {
	Name, Class, Link string
	Count             int64
}

// A bin counts the events of one bar.
type bin struct {
	from   time.Time
	counts map[string]int64 // by category
	total  int64
}

// pageChart counts what the filters choose, of the last 30 days when they name no start.
func (a *API) pageChart(ctx context.Context, s *screen, f ledger.Filter) error {
	first, last := a.span(f)
	if last.IsZero() {
		return nil
	}
	step := stepFor(last.Sub(first))
	first = first.Truncate(step)
	bins := make([]bin, last.Sub(first)/step+1)
	for i := range bins {
		bins[i] = bin{from: first.Add(time.Duration(i) * step), counts: map[string]int64{}}
	}
	if err := a.fillBins(ctx, bins, step, f, last); err != nil {
		return err
	}
	s.Chart = s.draw(bins, step)
	return nil
}

// span is the time that the chart shows: the filters', or the last 30 days before the newest event. Zero: no event.
func (a *API) span(f ledger.Filter) (first, last time.Time) {
	l := a.ledger.Status()
	if last = l.Last.UTC(); last.IsZero() {
		return first, last
	}
	if !f.End.IsZero() && f.End.Before(last) {
		last = f.End.UTC()
	}
	first = last.Add(-lately)
	if !f.Start.IsZero() {
		first = f.Start.UTC()
	}
	if began := l.First.UTC(); first.Before(began) {
		first = began
	}
	if last.Before(first) {
		last = time.Time{}
	}
	return first, last
}

// stepFor is how much time a bar stands for: hours up to two days, then whole days.
func stepFor(span time.Duration) time.Duration {
	const day = 24 * time.Hour
	if span <= 2*day {
		return time.Hour
	}
	return (span/maxBars/day + 1) * day
}

// draw makes bars of bins.
func (s *screen) draw(bins []bin, step time.Duration) chart {
	c := chart{Title: chartTitle(step), Width: len(bins) * barWidth, From: barTime(bins[0].from, step), To: barTime(bins[len(bins)-1].from, step)}
	sums := map[string]int64{}
	for _, b := range bins {
		c.Peak = max(c.Peak, b.total)
		for category, n := range b.counts {
			sums[category] += n
		}
	}
	if c.Peak == 0 {
		return chart{Title: c.Title}
	}
	categories := slices.Sorted(maps.Keys(sums))
	for i, b := range bins {
		c.Bars = append(c.Bars, s.bar(b, i*barWidth, step, categories, c.Peak))
	}
	for _, name := range categories {
		c.Legend = append(c.Legend, legend{name, s.class(name), pageLink(with(s.list, "category", name)), sums[name]})
	}
	return c
}

// bar stacks a bin's categories.
func (s *screen) bar(b bin, x int, step time.Duration, categories []string, peak int64) bar {
	end := b.from.Add(step - time.Microsecond)
	drawn := bar{X: x, Text: fmt.Sprintf("%s: %s events", barTime(b.from, step), number(b.total)), Link: pageLink(between(s.list, b.from, end))}
	top := 100.0
	var words []string
	for _, name := range categories {
		n := b.counts[name]
		if n == 0 {
			continue
		}
		height := 100 * float64(n) / float64(peak)
		top -= height
		drawn.Parts = append(drawn.Parts, barPart{s.class(name), x + barGap/2, max(top, 0), height})
		words = append(words, name+" "+number(n))
	}
	if len(words) > 0 {
		drawn.Text += " (" + strings.Join(words, ", ") + ")"
	}
	return drawn
}

// between gives the filters with another time range.
func between(list url.Values, from, to time.Time) url.Values {
	return with(with(list, "start_time", from.Format(time.RFC3339)), "end_time", to.Format("2006-01-02T15:04:05.999999Z07:00"))
}

func chartTitle(step time.Duration) string {
	switch {
	case step == time.Hour:
		return "Events per hour"
	case step == 24*time.Hour:
		return "Events per day"
	}
	return fmt.Sprintf("Events per %d days", step/(24*time.Hour))
}

func barTime(t time.Time, step time.Duration) string {
	if step == time.Hour {
		return t.Format("2006-01-02 15:00")
	}
	return t.Format(time.DateOnly)
}

// fillBins counts the events of each bin: days at once, hours one by one.
func (a *API) fillBins(ctx context.Context, bins []bin, step time.Duration, f ledger.Filter, last time.Time) error {
	f.Before, f.After, f.End = 0, 0, last
	if f.Start.Before(bins[0].from) {
		f.Start = bins[0].from
	}
	if step == time.Hour {
		for i := range bins {
			if i > 0 {
				f.Start = bins[i].from
			}
			if f.End = bins[i].from.Add(step - time.Microsecond); f.End.After(last) {
				f.End = last
			}
			c, err := a.ledger.Count(ctx, f)
			if err != nil {
				return fmt.Errorf("counting: %w", err)
			}
			bins[i].add(c.Categories)
		}
		return nil
	}
	c, err := a.ledger.Count(ctx, f)
	if err != nil {
		return fmt.Errorf("counting: %w", err)
	}
	for _, d := range c.Days {
		if at, err := time.Parse(time.DateOnly, d.Day); err == nil {
			bins[at.Sub(bins[0].from)/step].add(d.Categories)
		}
	}
	return nil
}

func (b *bin) add(counts map[string]int64) {
	for category, n := range counts {
		b.counts[category] += n
		b.total += n
	}
}
