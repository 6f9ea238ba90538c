package main

import (
	"fmt"
	"io"
	"runtime"
	"text/tabwriter"
	"time"
)

// A benchReport is what bench prints.
type benchReport struct {
	Version  string   `json:"version"`
	Platform string   `json:"platform"`
	Cores    int      `json:"cores"`
	Events   int      `json:"events"`
	Rounds   int      `json:"rounds"`
	Figures  []figure `json:"figures"`
	TookMS   int64    `json:"took_ms"`
}

// A figure is one measured value, and where it has one, the ceiling beside it: the same without a ledger.
type figure struct {
	Name         string  `json:"name"`
	Value        float64 `json:"value"`
	Unit         string  `json:"unit"`
	P50          float64 `json:"p50_ms,omitempty"`
	P99          float64 `json:"p99_ms,omitempty"`
	Ceiling      string  `json:"ceiling,omitempty"`
	CeilingValue float64 `json:"ceiling_value,omitempty"`
	Ratio        float64 `json:"ratio,omitempty"`
}

func newBenchReport(o benchOptions) *benchReport {
	return &benchReport{Version: version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Cores: cores(), Events: o.events,
		Rounds: o.rounds, Figures: []figure{}}
}

func (r *benchReport) add(f figure) {
	if f.CeilingValue > 0 {
		f.Ratio = f.Value / f.CeilingValue
	}
	r.Figures = append(r.Figures, f)
}

// rate is a figure of a pace and its ceiling's pace.
func rate(name string, l pace, ceiling string, c pace) figure {
	return figure{Name: name, Value: l.rate, Unit: "events/s", P50: milliseconds(l.p50), P99: milliseconds(l.p99), Ceiling: ceiling, CeilingValue: c.rate}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// print writes the table.
func (r *benchReport) print(w io.Writer) error {
	fmt.Fprintf(w, "eventstore %s, %s, %d cores, %d events, median of %d rounds, %s\n\n", r.Version, r.Platform, r.Cores, r.Events,
		r.Rounds, (time.Duration(r.TookMS) * time.Millisecond).Round(time.Second))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "figure\tvalue\t\tp50 ms\tp99 ms\tratio\tceiling\t\t")
	for _, f := range r.Figures {
		latency, ceiling := "\t", "\t\t"
		if f.P99 > 0 {
			latency = fmt.Sprintf("%.2f\t%.2f", f.P50, f.P99)
		}
		if f.Ceiling != "" {
			ceiling = fmt.Sprintf("%.2f\t%s\t%s", f.Ratio, number(f.CeilingValue), f.Ceiling)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t\n", f.Name, number(f.Value), f.Unit, latency, ceiling)
	}
	return t.Flush()
}

// number writes a value with as many digits as it deserves.
func number(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.1f", v)
}
