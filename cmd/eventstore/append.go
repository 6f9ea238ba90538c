package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

func appendCommand() *cobra.Command {
	var c client
	var ndjson bool
	var key string
	names := []struct{ name, text string }{
		{"category", "category of the event"},
		{"action", "what was done"},
		{"actor", "who did it"},
		{"target", "what it was done to"},
		{"data", "details, a `JSON` object"},
		{"result", "success, failure or pending (default success)"},
		{"error", "what went wrong"},
	}
	cmd := &cobra.Command{
		Use:   "append [-]",
		Short: "Append an event and print it as stored",
		Long: `Append an event: from flags, or with - a JSON event from standard input, or with --ndjson one event a line from
standard input (at most 1,000, all or nothing). Ends with 0 when it is chained and on disk, and with 3 when it is in the
stream and not chained yet: then it must not be sent again.`,
		Example: `  eventstore append --category service --action restarted --actor docker --target ollama --data '{"tries":2}'
  echo '{"category":"user","action":"login","actor":"ada"}' | eventstore append -
  eventstore append --ndjson < events.ndjson`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"-"},
		RunE: func(cmd *cobra.Command, args []string) error {
			event := map[string]any{}
			for _, n := range names {
				f := cmd.Flag(n.name)
				if !utf8.ValidString(f.Value.String()) {
					return usage(fmt.Errorf("--%s: %q is not UTF-8", n.name, f.Value))
				}
				if f.Changed {
					event[n.name] = f.Value.String()
				}
			}
			header := http.Header{"Content-Type": {"application/json"}}
			if cmd.Flags().Changed("key") {
				header.Set("Idempotency-Key", key)
			}
			var body []byte
			var err error
			if stdin := len(args) > 0 || ndjson; stdin {
				if len(event) > 0 {
					return usage(errors.New("an event from standard input takes no flags for its fields"))
				}
				if ndjson {
					header.Set("Content-Type", "application/x-ndjson")
				}
				body, err = io.ReadAll(cmd.InOrStdin())
			} else {
				body, err = eventBody(event)
			}
			if err != nil {
				return err
			}
			return c.append(cmd, body, header)
		},
	}
	c.addURL(cmd)
	for _, n := range names {
		cmd.Flags().String(n.name, "", n.text)
	}
	cmd.Flags().StringVar(&key, "key", "", "idempotency key: the same key and event is stored once (within 10 minutes)")
	cmd.Flags().BoolVar(&ndjson, "ndjson", false, "read one event a line from standard input")
	return cmd
}

// append sends a body and prints the answer.
func (c *client) append(cmd *cobra.Command, body []byte, header http.Header) error {
	status, b, err := c.call(cmd.Context(), "POST", "/events", bytes.NewReader(body), header)
	if err != nil {
		return err
	}
	if err := printLine(cmd.OutOrStdout(), b); err != nil || status != http.StatusAccepted {
		return err
	}
	return exitError{3, errors.New("it is in the stream and will be chained, but is not yet: do not send it again")}
}

// eventBody makes the request of the flags given; which of them an event needs is for the store to say.
func eventBody(event map[string]any) ([]byte, error) {
	if len(event) == 0 {
		return nil, usage(errors.New("nothing to append: give --category, --action and --actor, or - for standard input"))
	}
	if data, ok := event["data"].(string); ok {
		if !json.Valid([]byte(data)) {
			return nil, usage(fmt.Errorf("--data: %q is not JSON", data))
		}
		event["data"] = json.RawMessage(data)
	}
	return json.Marshal(event)
}
