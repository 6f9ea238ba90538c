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

func printLine(w io.Writer, b []byte) error {
	_, err := fmt.Fprintf(w, "%s\n", bytes.TrimRight(b, "\n"))
	return err
}
