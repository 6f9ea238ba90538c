package ledger

import (
	"testing"
	"time"
)

// What can be configured can be chained: FormatAge and ParseAge agree up to the
// longest duration.
func TestAges(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2s": 2 * time.Second, "36h30m": 36*time.Hour + 30*time.Minute, "1d12h": 36 * time.Hour, "99999d": 99999 * day,
		"106751d": 106751 * day, "2562047h": 2562047 * time.Hour, "forever": 0,
	} {
		if got, err := ParseAge(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if got, err := ParseAge(FormatAge(want)); err != nil || got != want {
			t.Errorf("%s written as %s: %v", text, FormatAge(want), err)
		}
	}
	for _, text := range []string{"", "0s", "0d", "-1d", "106752d", "106751d24h", "99999999999999999999d", "1.5d", "d", "never"} {
		if got, err := ParseAge(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
