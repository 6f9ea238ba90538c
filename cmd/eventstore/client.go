package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// A client calls a running store over HTTP.
type client struct {
	url       string
	tokenFile string
	secret    string // the token, once it was read: standard input gives it once
	tls       clientTLS
}

// addURL gives cmd the flag --url, whose default is EVENT_STORE_URL.
func (c *client) addURL(cmd *cobra.Command) {
	def := os.Getenv("EVENT_STORE_URL")
	if def == "" {
		def = "http://127.0.0.1:5101"
	}
	cmd.Flags().StringVar(&c.url, "url", def, "the store's `URL` (environment EVENT_STORE_URL)")
	cmd.Flags().StringVar(&c.tokenFile, "token-file", os.Getenv("EVENT_STORE_TOKEN_FILE"),
		"`FILE` with the token, - for standard input (environment EVENT_STORE_TOKEN_FILE; the token itself: EVENT_STORE_TOKEN)")
	c.tls.addFlags(cmd)
}

// token is the one to send; there may be none.
func (c *client) token() (_ string, err error) {
	switch {
	case c.secret != "":
	case c.tokenFile == "":
		c.secret = os.Getenv("EVENT_STORE_TOKEN")
	default:
		c.secret, err = readToken(c.tokenFile, os.Stdin)
	}
	return c.secret, err
}

// do sends one request and returns its answer, whatever its status.
func (c *client) do(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	base, err := url.Parse(c.url)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, usage(fmt.Errorf("--url: %q is no URL; write http://host:5101", c.url))
	}
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.url, "/")+path, body)
	if err != nil {
		return nil, usage(fmt.Errorf("--url: %w", err))
	}
	for k, v := range header {
		req.Header[k] = v
	}
	token, err := c.token()
	if err != nil {
		return nil, usage(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport, err := c.tls.transport()
	if err != nil {
		return nil, usage(err)
	}
	return (&http.Client{Transport: transport}).Do(req)
}

// call is do for an answer that must be a success (2xx) and is read whole.
func (c *client) call(ctx context.Context, method, path string, body io.Reader, header http.Header) (int, []byte, error) {
	res, err := c.do(ctx, method, path, body, header)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, nil, fmt.Errorf("reading the answer: %w", err)
	}
	if res.StatusCode/100 != 2 {
		return res.StatusCode, b, problem(res.Status, b)
	}
	return res.StatusCode, b, nil
}

// problem makes an error of an RFC 9457 answer: its detail, and a line for each of several fields.
func problem(status string, body []byte) error {
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
		Errors []struct {
			Field   string `json:"field"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if json.Unmarshal(body, &p) != nil || p.Detail+p.Title == "" {
		return fmt.Errorf("the store answered %s: %s", status, printable(string(bytes.TrimSpace(body[:min(len(body), 300)]))))
	}
	if p.Detail == "" {
		p.Detail = p.Title
	}
	text := fmt.Sprintf("the store answered %s: %s", status, printable(p.Detail))
	if len(p.Errors) == 1 {
		return errors.New(text) // the detail says it
	}
	for _, e := range p.Errors {
		text += "\n  " + printable(e.Field+": "+e.Message)
	}
	return errors.New(text)
}

func statusCommand() *cobra.Command {
	var c client
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Print the state of a running store",
		Example: "  eventstore status\n  eventstore status --json | jq .last_hash",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 30*time.Second)
			defer cancel()
			_, b, err := c.call(ctx, "GET", "/status", nil, nil)
			if err != nil {
				return err
			}
			if asJSON {
				return printLine(cmd.OutOrStdout(), b)
			}
			return printFields(cmd.OutOrStdout(), b)
		},
	}
	c.addURL(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return cmd
}

func printLine(w io.Writer, b []byte) error {
	_, err := fmt.Fprintf(w, "%s\n", bytes.TrimRight(b, "\n"))
	return err
}

// printFields prints a JSON object as aligned lines in the answer's order; objects inside get dotted names.
func printFields(w io.Writer, b []byte) error {
	type field struct{ name, value string }
	var fields []field
	var walk func(prefix string, raw json.RawMessage) error
	walk = func(prefix string, raw json.RawMessage) error {
		dec := json.NewDecoder(bytes.NewReader(raw))
		if t, err := dec.Token(); err != nil || t != json.Delim('{') {
			return errors.New("the store answered no JSON object")
		}
		for dec.More() {
			name, err := dec.Token()
			if err != nil {
				return err
			}
			var value json.RawMessage
			if err := dec.Decode(&value); err != nil {
				return err
			}
			full := prefix + fmt.Sprint(name)
			if value[0] == '{' {
				if err := walk(full+".", value); err != nil {
					return err
				}
				continue
			}
			var text string
			if json.Unmarshal(value, &text) != nil || string(value) == "null" {
				text = string(value)
			}
			fields = append(fields, field{full, printable(text)})
		}
		return nil
	}
	if err := walk("", b); err != nil {
		return err
	}
	width := 0
	for _, f := range fields {
		width = max(width, len(f.name))
	}
	for _, f := range fields {
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, f.name, f.value); err != nil {
			return err
		}
	}
	return nil
}

func healthCommand() *cobra.Command {
	var c client
	cmd := &cobra.Command{
		Use:     "health",
		Short:   "Exit 0 when the store takes events, 1 when not",
		Example: "  eventstore health && echo up",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			_, b, err := c.call(ctx, "GET", "/health", nil, nil)
			if err != nil {
				return err
			}
			return printLine(cmd.OutOrStdout(), b)
		},
	}
	c.addURL(cmd)
	return cmd
}
