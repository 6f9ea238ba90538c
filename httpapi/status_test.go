package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

func TestStatus(t *testing.T) {
	f := start(t)
	m := f.do("GET", "/status", "").want(t, 200, `"chain_valid":null`, `"first_event_time":null`, `"drift":[]`, `"categories":{`, `"last_id":null`).decode(t)
	if m["total_events"] != 0.0 || m["last_hash"] != ledger.GenesisHash || m["clock_skew_ms"] != 7.0 {
		t.Error(m)
	}
	f.fill(3)
	f.do("POST", "/verify", "").want(t, 200)
	m = f.do("GET", "/status", "").want(t, 200, `"chain_valid":true`, `"last_id":"000000000003"`, `"verified_through":"000000000003"`).decode(t)
	if m["total_events"] != 3.0 || m["last_hash"] != f.ledger.Head().Hash || m["categories"].(map[string]any)["user"] != 2.0 {
		t.Error(m)
	}
	if _, err := time.Parse(timestampLayout, m["first_event_time"].(string)); err != nil || len(m["verified_at"].(string)) != len(timestampLayout) {
		t.Error(err, m)
	}
}

func TestHealth(t *testing.T) {
	f := start(t)
	f.fill(2)
	f.do("GET", "/health", "").want(t, 200, `"status":"healthy"`, `"event_count":2`, f.ledger.Head().Hash)
	f.stream.set(func() { f.stream.status.Drift = []string{"max_age is 1h"} })
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "max_age is 1h")
	f.stream.set(func() { f.stream.status.Drift, f.stream.status.Warnings = nil, []string{"stream is 90 % full"} })
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "90 % full")
	f.stream.set(func() { f.stream.status.Connected = false })
	f.do("GET", "/health", "").want(t, 503, `"status":"unhealthy"`, `"detail":"the stream is not connected"`)
	f.stream.set(func() {
		f.stream.status.Reason, f.stream.status.Drift = "no consumer", []string{"retention is WorkQueue", "max_age is 1h"}
	})
	f.do("GET", "/health", "").want(t, 503, `"detail":"the stream is not connected: no consumer; retention is WorkQueue; max_age is 1h"`)
	f.do("GET", "/status", "").want(t, 200, `"connected":false,"reason":"no consumer"`)
}

// damage changes one letter of the active segment.
func (f *fixture) damage() {
	f.t.Helper()
	names, err := filepath.Glob(filepath.Join(f.dir, "events_*.jsonl"))
	if err != nil || len(names) != 1 {
		f.t.Fatal(names, err)
	}
	b, err := os.ReadFile(names[0])
	if err != nil {
		f.t.Fatal(err)
	}
	file, err := os.OpenFile(names[0], os.O_WRONLY, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	_, err = file.WriteAt([]byte("N"), int64(bytes.Index(b, []byte("needle1")))) // in place: the file is never a shorter one
	if err := errors.Join(err, file.Close()); err != nil {
		f.t.Fatal(err)
	}
}

func TestBrokenChainIsSeen(t *testing.T) {
	f := start(t)
	f.fill(3)
	f.damage()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.api.Run(ctx) }()
	for range 500 {
		if f.api.verifier.state().Last != nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.do("GET", "/status", "").want(t, 200, `"chain_valid":false`)
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "Chain broken")
	f.do("POST", "/verify", "").want(t, 200, `"status":"invalid"`, `"error":"Chain broken at event 000000000002`, `"findings":[{`)
	f.do("GET", "/verify", "").want(t, 200, `"running":false`, `"status":"invalid"`)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	f.do("POST", "/verify", "").want(t, 503)
}

// What the files lack at a start the stream may bring back. The verification that found it broken does not stand for an
// hour then.
func TestAChainThatTheStreamMendsIsVerifiedAgain(t *testing.T) {
	f := start(t)
	f.fill(3)
	names, _ := filepath.Glob(filepath.Join(f.dir, "events_*.jsonl"))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	f.damage()
	f.stream.set(func() { f.stream.status.Lag = 2 })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.api.Run(ctx) }()
	f.became(false)
	if err := os.WriteFile(names[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	f.stream.set(func() { f.stream.status.Lag = 0 })
	f.became(true)
	f.do("GET", "/health", "").want(t, 200, `"status":"healthy"`)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// became waits until the background verification says so; nobody asks for one.
func (f *fixture) became(valid bool) {
	f.t.Helper()
	want := fmt.Sprintf(`"chain_valid":%t,`, valid)
	for end := time.Now().Add(20 * time.Second); !strings.Contains(f.do("GET", "/status", "").body, want); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("chain_valid did not become %t", valid)
		}
	}
}

// Damage of a chain that was valid at the start is seen when its hour comes, and so is its repair.
func TestChainValidIsMeasuredEveryHour(t *testing.T) {
	f := start(t)
	if f.api.verifyEvery != time.Hour {
		t.Errorf("every %v", f.api.verifyEvery)
	}
	f.api.verifyEvery = 20 * time.Millisecond
	f.fill(3)
	names, _ := filepath.Glob(filepath.Join(f.dir, "events_*.jsonl"))
	whole, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.api.Run(ctx) }()
	f.became(true)
	f.damage()
	f.became(false)
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "Chain broken at event 000000000002")
	if err := os.WriteFile(names[0], whole, 0o600); err != nil {
		t.Fatal(err)
	}
	f.became(true)
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
