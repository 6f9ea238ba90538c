package ledger

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// FormatVersion is the version of lines, manifests and own messages.
const FormatVersion = 1

// CategoryLedger is the reserved category of the store's own messages.
const CategoryLedger = "ledger"

// CategoryError takes the rejected messages whose category is not known.
const CategoryError = "error"

// ActorStore is the reserved actor of what the store itself says.
const ActorStore = "event-store"

// A Policy says what a category is and how long its events are kept.
type Policy struct {
	Description string
	Retention   time.Duration // 0: forever
}

// A Config is what shapes the projection. The one in force is chained: the
// defaults until a ledger_configured event says otherwise.
type Config struct {
	Categories  map[string]Policy
	MaxFileSize int64         // bytes of lines after which a segment ends
	MaxFileAge  time.Duration // between a segment's first event and its last
}

const day = 24 * time.Hour

// DefaultConfig is what holds in a ledger without a ledger_configured event.
func DefaultConfig() Config {
	return Config{
		Categories: map[string]Policy{
			"system":      {"hosts, boots, updates", 90 * day},
			"service":     {"containers and services", 30 * day},
			"security":    {"logins, permissions, secrets", 365 * day},
			"ai":          {"models and inference", 30 * day},
			"user":        {"what people do", 90 * day},
			"config":      {"changes of configuration", 180 * day},
			CategoryError: {"errors, and messages that were no events", 30 * day},
		},
		MaxFileSize: 100_000_000,
		MaxFileAge:  day,
	}
}

var categoryName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

// Validate says what in the configuration cannot be.
func (c Config) Validate() error {
	for name, p := range c.Categories {
		if !categoryName.MatchString(name) {
			return fmt.Errorf("category %q: want lower-case letters, digits, _ and -, at most 32", name)
		}
		if name == CategoryLedger {
			return fmt.Errorf("category %q is reserved", name)
		}
		if p.Retention < 0 || p.Retention%time.Second != 0 {
			return fmt.Errorf("category %q: retention must be whole seconds, not negative", name)
		}
	}
	if _, ok := c.Categories[CategoryError]; !ok {
		return errors.New(`category "error" must be configured`)
	}
	if len(c.Categories) > 200 {
		return errors.New("more than 200 categories")
	}
	if c.MaxFileSize < 64<<10 {
		return errors.New("max_file_size must be at least 64KiB")
	}
	if c.MaxFileAge < time.Second || c.MaxFileAge%time.Second != 0 {
		return errors.New("max_file_age must be whole seconds, at least 1s")
	}
	return nil
}

// equal compares what is chained; descriptions are not.
func (c Config) equal(o Config) bool {
	return c.MaxFileSize == o.MaxFileSize && c.MaxFileAge == o.MaxFileAge &&
		maps.EqualFunc(c.Categories, o.Categories, func(a, b Policy) bool { return a.Retention == b.Retention })
}

// statement is the canonical JSON that ledger_configured chains. replaces is the
// id of the event whose configuration is in force, 0 for the defaults.
func (c Config) statement(replaces ID) []byte {
	b := []byte(`{"categories":{`)
	for i, name := range slices.Sorted(maps.Keys(c.Categories)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `"%s":{"retention":"%s"}`, name, FormatAge(c.Categories[name].Retention))
	}
	return fmt.Appendf(b, `},"format":%d,"max_file_age":"%s","max_file_size":%d,"replaces":"%s"}`,
		FormatVersion, FormatAge(c.MaxFileAge), c.MaxFileSize, replaces)
}

// parseConfig reads the data of a ledger_configured event: a configuration and
// the id of the event whose configuration it replaces, 0 for the defaults.
func parseConfig(data []byte) (Config, ID, error) {
	var d struct {
		Categories map[string]struct {
			Retention string `json:"retention"`
		} `json:"categories"`
		Format      int    `json:"format"`
		MaxFileAge  string `json:"max_file_age"`
		MaxFileSize int64  `json:"max_file_size"`
		Replaces    string `json:"replaces"`
		Signature   string `json:"signature"`
	}
	if err := json.Unmarshal(data, &d, json.RejectUnknownMembers(true)); err != nil {
		return Config{}, 0, errors.New("not a configuration")
	}
	if d.Format != FormatVersion {
		return Config{}, 0, fmt.Errorf("format %d is not known", d.Format)
	}
	replaces, err := ParseID(d.Replaces)
	if err != nil {
		return Config{}, 0, fmt.Errorf("replaces: %w", err)
	}
	c := Config{Categories: map[string]Policy{}, MaxFileSize: d.MaxFileSize}
	if c.MaxFileAge, err = ParseAge(d.MaxFileAge); err != nil {
		return Config{}, 0, err
	}
	for name, p := range d.Categories {
		age, err := ParseAge(p.Retention)
		if err != nil {
			return Config{}, 0, err
		}
		c.Categories[name] = Policy{Retention: age}
	}
	return c, replaces, c.Validate()
}

// ParseAge reads an age: "30d", "12h", "2s", "1d12h", or "forever", which is 0.
func ParseAge(s string) (time.Duration, error) {
	if s == "forever" {
		return 0, nil
	}
	var days time.Duration
	rest := s
	if n, tail, ok := strings.Cut(s, "d"); ok {
		v, err := strconv.ParseUint(n, 10, 64)
		if err != nil || v > uint64(math.MaxInt64/day) {
			return 0, fmt.Errorf("age %q: want 30d, 12h, 2s or forever", s)
		}
		if days, rest = time.Duration(v)*day, tail; rest == "" {
			rest = "0s"
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 || days+d <= 0 {
		return 0, fmt.Errorf("age %q: want 30d, 12h, 2s or forever", s)
	}
	return days + d, nil
}

// FormatAge is the shortest text that ParseAge reads back.
func FormatAge(d time.Duration) string {
	switch {
	case d == 0:
		return "forever"
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	case d%time.Hour == 0:
		return strconv.FormatInt(int64(d/time.Hour), 10) + "h"
	case d%time.Minute == 0:
		return strconv.FormatInt(int64(d/time.Minute), 10) + "m"
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + "s"
}
