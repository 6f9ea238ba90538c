package main

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/httpapi/apitest"
)

// What the program answers is what the description says that it serves, ageing out included.
func TestTheProgramAnswersAsDescribed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "store.yaml")
	if err := os.WriteFile(config, []byte("storage: {max_file_age: 1s}\ncategories: {service: {retention: 1s}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := &node{dir: filepath.Join(dir, "data"), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(dir, "log"), args: []string{"--config", config}}
	n.start(t)
	n.endWith(t)
	contract, err := apitest.New([]byte(fetch(t, nil, n, "GET", "/openapi.yaml", "", 200)))
	if err != nil {
		t.Fatal(err)
	}
	const event = `{"category":"service","action":"started","actor":"docker"}`
	for range 2 { // the second begins another segment
		fetch(t, contract, n, "POST", "/events", event, 201)
		time.Sleep(2100 * time.Millisecond)
	}
	fetch(t, contract, n, "POST", "/events", event, 201)
	for end := time.Now().Add(20 * time.Second); strings.Contains(fetch(t, contract, n, "POST", "/cleanup?dry_run=true", "", 200), `"aged_out_events":0`); {
		if time.Now().After(end) {
			t.Fatal("nothing is due after 20 s")
		}
		time.Sleep(100 * time.Millisecond)
	}
	fetch(t, contract, n, "POST", "/cleanup", "", 200)
	first := fetch(t, contract, n, "GET", "/events?order=asc&category=ledger", "", 200)
	if !strings.Contains(first, "events_aged_out") {
		t.Errorf("no decision in %s", first)
	}
	fetch(t, contract, n, "GET", "/events/000000000002", "", 410) // 1 is the configuration
	if page := fetch(t, contract, n, "GET", "/?event=000000000002", "", 200); !strings.Contains(page, "This event aged out") {
		t.Error("the page does not say that the event aged out")
	}
	if page := fetch(t, contract, n, "GET", "/?event=000000000001", "", 200); !strings.Contains(page, "aged out between") {
		t.Error("the page does not draw the gap behind the configuration")
	}
	fetch(t, contract, n, "POST", "/verify", "", 200)
	fetch(t, contract, n, "POST", "/verify", `{"require":{"service":"30d"}}`, 200)
	for _, path := range []string{"/verify", "/status", "/health", "/metrics", "/openapi.yaml", "/events?limit=2&q=docker", "/events/000000000001"} {
		fetch(t, contract, n, "GET", path, "", 200)
	}
	fetch(t, contract, n, "GET", "/events/ffffffffffff", "", 404)
	fetch(t, contract, n, "GET", "/status?x=1", "", 422)
	fetch(t, contract, n, "POST", "/cleanup?dry_run=perhaps", "", 422)
}

// fetch gives the answer's body after checking its status, and everything else against the contract when there is one.
func fetch(t *testing.T, contract *apitest.Contract, n *node, method, path, body string, status int) string {
	t.Helper()
	req, err := http.NewRequest(method, n.url()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Fatalf("%s %s: %d, want %d: %s", method, path, res.StatusCode, status, b)
	}
	if contract != nil {
		if err := contract.Check(req, []byte(body), res, b); err != nil {
			t.Errorf("openapi.yaml: %v", err)
		}
	}
	return string(b)
}
