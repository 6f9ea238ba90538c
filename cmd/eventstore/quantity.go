package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// parseDuration takes Go's durations (12h, 1h30m, 2s), whole or broken days (30d, 0.5d), and `forever` (0).
func parseDuration(s string) (time.Duration, error) {
	if s == "forever" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if days, ok := strings.CutSuffix(s, "d"); ok {
		d, err = parseDays(days)
	}
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is no duration; write 30d, 12h, 2s", s)
	}
	return d, nil
}

func parseDays(s string) (time.Duration, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, err
	}
	if !(n > 0 && n < math.MaxInt64/float64(day)) {
		return 0, fmt.Errorf("out of range")
	}
	return time.Duration(n * float64(day)), nil
}

var units = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}, {"", 1},
}

// parseSize takes bytes with a unit: 100MB is 100,000,000, 100MiB is 104,857,600, 100 is 100 bytes.
func parseSize(s string) (int64, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(n*u.bytes >= 1 && n*u.bytes < math.MaxInt64) {
			break
		}
		return int64(math.Round(n * u.bytes)), nil
	}
	return 0, fmt.Errorf("%q is no size; write 100MB, 64MiB, 2GB", s)
}

// formatSize writes bytes for a reader: three digits and a decimal unit.
func formatSize(n int64) string {
	f, unit := float64(n), "B"
	for _, next := range []string{"kB", "MB", "GB", "TB"} {
		if f < 999.5 { // what is more would be written as 1e+03
			break
		}
		f, unit = f/1000, next
	}
	return strconv.FormatFloat(f, 'g', 3, 64) + " " + unit
}

func setSize(to *int64, s string) error {
	n, err := parseSize(s)
	if err == nil {
		*to = n
	}
	return err
}

// setSpan takes a duration that must end; `forever` is refused.
func setSpan(to *time.Duration, s string) error {
	d, err := parseDuration(s)
	if err == nil && (d < time.Second || d%time.Second != 0) {
		err = fmt.Errorf("%q: must be whole seconds, as 24h", s)
	}
	if err == nil {
		*to = d
	}
	return err
}

// setSync takes an interval, or `always` (0).
func setSync(to *time.Duration, s string) error {
	if s == "always" {
		*to = 0
		return nil
	}
	d, err := parseDuration(s)
	if err != nil || d == 0 {
		return fmt.Errorf("%q: a duration as 5s, or always", s)
	}
	*to = d
	return nil
}
