package httpapi

import (
	"fmt"
	"strconv"
)

// short is the beginning of a hash, for reading.
func short(hash string) string {
	if len(hash) <= 12 {
		return hash
	}
	return hash[:12] + "…"
}

// number writes an integer with its thousands apart.
func number(v any) string {
	text := fmt.Sprint(v)
	sign := ""
	if text[0] == '-' {
		sign, text = "-", text[1:]
	}
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return sign + text
}

// size writes a number of bytes.
func size(v any) string {
	n, err := strconv.ParseFloat(fmt.Sprint(v), 64)
	if err != nil {
		return fmt.Sprint(v)
	}
	for _, unit := range []string{"B", "kB", "MB", "GB"} {
		if n < 1000 {
			return strconv.FormatFloat(n, 'f', digits(n, unit), 64) + " " + unit
		}
		n /= 1000
	}
	return strconv.FormatFloat(n, 'f', 1, 64) + " TB"
}

// digits behind the point: none for bytes and from 100 on.
func digits(n float64, unit string) int {
	if unit == "B" || n >= 100 {
		return 0
	}
	return 1
}
