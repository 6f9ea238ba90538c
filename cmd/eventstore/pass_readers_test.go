package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestReadersDuringARealPass asks the store for everything while it ages out: no error, and never half a segment.
func TestReadersDuringARealPass(t *testing.T) {
	t.Parallel()
	n := agedNode(t)
	security := must(t, "", "query", "--url", n.url(), "--category", "security", "--actor", "u", "--output", "ndjson")
	var stop atomic.Bool
	var rounds atomic.Int64
	var readers sync.WaitGroup
	read := func(round func() string) {
		readers.Go(func() {
			for !stop.Load() {
				if complaint := round(); complaint != "" {
					t.Error(complaint)
					return
				}
				rounds.Add(1)
			}
		})
	}
	get := func(path, accept string) (int, string) {
		req, _ := http.NewRequest("GET", n.url()+path, nil)
		req.Header.Set("Accept", accept)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		if err != nil {
			return 0, err.Error()
		}
		return res.StatusCode, string(b)
	}
	read(func() string {
		if code, body := get("/events?category=security&actor=u", "application/x-ndjson"); code != 200 || body != security {
			return fmt.Sprintf("a query answers %d with %d bytes of %d", code, len(body), len(security))
		}
		return ""
	})
	read(func() string {
		for id := 2; id < 300; id += 13 {
			if code, body := get(fmt.Sprintf("/events/%012x", id), ""); code != 200 && code != 410 {
				return fmt.Sprintf("event %d: %d %s", id, code, body)
			}
		}
		return ""
	})
	read(func() string {
		res, err := http.Post(n.url()+"/verify", "", nil)
		if err != nil {
			return err.Error()
		}
		defer res.Body.Close()
		if b, err := io.ReadAll(res.Body); err != nil || !strings.Contains(string(b), `"status":"valid"`) {
			return fmt.Sprintf("verify: %v %s", err, b)
		}
		return ""
	})
	preview := n.pass(t, "?dry_run=true")
	r := n.pass(t, "")
	for done := rounds.Load() + 6; rounds.Load() < done && !t.Failed(); {
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	readers.Wait()
	if r.AgedOut < 200 || r.Freed <= 0 || r.Freed != preview.Freed || len(r.Pending) != 0 {
		t.Errorf("previewed %+v, got %+v", preview, r)
	}
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}
