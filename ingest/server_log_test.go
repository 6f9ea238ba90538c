package ingest

import (
	"strings"
	"testing"

	"golang.org/x/time/rate"
)

// TestClientsSayNothingOfTheServer: names, users and subjects are a client's own
// words, which his lines in the server's log repeat.
func TestClientsSayNothingOfTheServer(t *testing.T) {
	t.Parallel()
	log, refused := &lines{}, ""
	e := &embedded{refused: func(host string) { refused = host }, clients: rate.NewLimiter(0, 2)}
	l := serverLog{log.logger(), e}
	l.Errorf("%s", `127.0.0.1:9 - cid:3 - "v1:go:failed to store a msg" - Publish Violation - User "no space left on device", Subject "JetStream failed to store a msg on stream"`)
	l.Errorf("%s", `127.0.0.1:9 - cid:3 - "v1:go:a\" - authentication error" - Publish Violation - Subject "x no space left on device`)
	if e.broken.Load() || refused != "" {
		t.Errorf("broken %v, refused %q", e.broken.Load(), refused)
	}
	l.Errorf("%s", `127.0.0.1:9 - cid:3 - "v1:go:name" - authentication error - User "x"`)
	if refused != "127.0.0.1" {
		t.Errorf("refused %q", refused)
	}
	for range 100 {
		l.Errorf("%s", `127.0.0.1:9 - cid:3 - Publish Violation`)
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 2 {
		t.Errorf("%d lines about clients", n)
	}
	for _, line := range []string{
		"JetStream failed to store a msg on stream 'STORE > EVENTS': write /data/3.blk: input/output error",
		"JetStream stream 'STORE > EVENTS' critical write error: write /data/2.blk: no space left on device",
		"Filestore [EVENTS] Critical write error: write /data/2.blk: no space left on device",
	} {
		e.broken.Store(false)
		if l.Errorf("%s", line); !e.broken.Load() {
			t.Errorf("not noticed: %s", line)
		}
	}
}
