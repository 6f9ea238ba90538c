package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// measured runs bench on little and gives its figures by name.
func measured(t *testing.T, args ...string) map[string]figure {
	t.Helper()
	dir := t.TempDir()
	args = append([]string{"bench", "--json", "--events", "1000", "--rounds", "1", "--time", "100ms", "--dir", dir}, args...)
	var r benchReport
	if err := json.Unmarshal([]byte(must(t, "", args...)), &r); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("the throwaway folder is still there: %v %v", left, err)
	}
	figures := map[string]figure{}
	for _, f := range r.Figures {
		if f.Value <= 0 || (f.Ceiling != "") != (f.Ratio > 0) {
			t.Errorf("%+v", f)
		}
		figures[f.Name] = f
	}
	return figures
}

func TestBenchMeasuresEverything(t *testing.T) {
	t.Parallel()
	figures := measured(t)
	for name, ceiling := range map[string]bool{
		"JetStream publish to commit": true, "core publish to commit": true, "HTTP append, 64 callers": true, "HTTP append, 1 caller": true,
		"bulk NDJSON, 4 callers": true, "get by id": false, "newest 50": false, "start-up": false, "verify, plain segments": true,
		"verify, sealed segments": true, "seal": true, "bytes per event on disk": false, "project while sealing": true,
		"only SHA-256 of each line": false, "only gunzip of the same segments": false, "only write + fdatasync, 1 event": false,
		"only chi handler that reads its body, 1 caller": false,
	} {
		if f, ok := figures[name]; !ok || ceiling != (f.Ratio > 0) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	if f := figures["HTTP append, 64 callers"]; f.P50 <= 0 || f.P99 < f.P50 {
		t.Errorf("latencies: %+v", f)
	}
}

func TestBenchPrintsATable(t *testing.T) {
	t.Parallel()
	out := must(t, "", "bench", "--events", "1000", "--rounds", "1", "--time", "100ms", "--phases", "verify", "--dir", t.TempDir())
	for _, want := range []string{"figure", "ratio", "ceiling", "verify, plain segments", "gunzip + SHA-256 of each line on all cores", "MB/s"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestBenchOfARunningStore(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	figures := measured(t, "--url", "http://"+n.http, "--nats-url", "nats://"+n.nats, "--phases", "jetstream,append")
	if _, ok := figures["JetStream publish to commit"]; !ok {
		t.Errorf("%+v", figures)
	}
	var s struct {
		TotalEvents int64 `json:"total_events"`
	}
	if err := json.Unmarshal([]byte(must(t, "", "status", "--json", "--url", "http://"+n.http)), &s); err != nil || s.TotalEvents <= 1000 {
		t.Errorf("the running store has %d events: %v", s.TotalEvents, err)
	}
}

func TestBenchRefusesWhatItCannotMeasure(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--phases", "speed"}, {"--events", "5"}, {"--rounds", "0"}, {"--time", "1ns"}, {"--nats-url", "nats://127.0.0.1:1"}} {
		if _, errs, code := eventstore(t, "", append([]string{"bench"}, args...)...); code != 2 || !strings.Contains(errs, args[0]) {
			t.Errorf("%q: code %d, %s", args, code, errs)
		}
	}
}
