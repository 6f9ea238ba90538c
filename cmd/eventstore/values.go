package main

import (
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

func setFilled(to *string, s string) error {
	if s == "" {
		return fmt.Errorf("must not be empty")
	}
	*to = s
	return nil
}

func setAddress(to *string, s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is no address; write host:port, as 127.0.0.1:5101", s)
	}
	if _, err := net.LookupPort("tcp", port); err != nil {
		return fmt.Errorf("%q: no such port", s)
	}
	*to = s
	return nil
}

func setURL(to *string, s string) error {
	for part := range strings.SplitSeq(s, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" || !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme) {
			return fmt.Errorf("not a NATS URL; write nats://host:4222 (or tls, ws, wss; several with commas)")
		}
	}
	*to = s
	return nil
}

var streamName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`)

func setName(to *string, s string) error {
	if !streamName.MatchString(s) {
		return fmt.Errorf("%q: letters, digits, _ and - only", s)
	}
	*to = s
	return nil
}

var subjectPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

func setSubject(to *string, s string) error {
	if !subjectPrefix.MatchString(s) || s == "eventstore" || strings.HasPrefix(s, "eventstore.") || strings.HasPrefix(s, "_") {
		return fmt.Errorf("%q: tokens of letters, digits, _ and -, joined by dots; eventstore and what begins with _ are reserved", s)
	}
	*to = s
	return nil
}

func setLevel(to *slog.Level, s string) error {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError}
	level, ok := levels[s]
	if !ok {
		return fmt.Errorf("%q: one of debug, info, warn, error", s)
	}
	*to = level
	return nil
}

func setOneOf(to *string, s string, words ...string) error {
	if !slices.Contains(words, s) {
		return fmt.Errorf("%q: one of %s", s, strings.Join(words, ", "))
	}
	*to = s
	return nil
}

// setCount takes a whole number, at least 20: a few connections are kept for the store itself.
func setCount(to *int, s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 20 || n > 1_000_000 {
		return fmt.Errorf("%q: a number from 20 to 1000000", s)
	}
	*to = n
	return nil
}

func setBool(to *bool, s string) error {
	if s != "true" && s != "false" {
		return fmt.Errorf("%q: true or false", s)
	}
	*to = s == "true"
	return nil
}

// redactURLs hides the passwords and tokens of a comma-separated list of URLs.
func redactURLs(list string) string {
	var out []string
	for part := range strings.SplitSeq(list, ",") {
		if u, err := url.Parse(strings.TrimSpace(part)); err == nil && u.Host != "" {
			out = append(out, u.Scheme+"://"+u.Host)
		}
	}
	return strings.Join(out, ",")
}
