package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

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
standard input (at most 1,000, all or nothing). Ends with 0 when it is chained and on disk.`,
		Example: `  eventstore append --category service --action restarted --actor docker --target ollama --data '{"tries":2}'
  echo '{"category":"user","action":"login","actor":"ada"}' | eventstore append -
  eventstore append --ndjson < events.ndjson`,
		Args:      cobra.MatchAll(cobra.MaximumNArgs(1), cobra.OnlyValidArgs),
		ValidArgs: []string{"-"},
		RunE: func(cmd *cobra.Command, args []string) error {
			event := map[string]any{}
			for _, n := range names {
				if f := cmd.Flag(n.name); f.Changed {
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
			_, b, err := c.call(cmd.Context(), "POST", "/events", bytes.NewReader(body), header)
			if err != nil {
				return err
			}
			return printLine(cmd.OutOrStdout(), b)
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
