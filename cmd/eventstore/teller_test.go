package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// A testified event is one that the store itself sent.
type testified struct {
	Category, Action string
	Data             json.RawMessage
}

// testimonies are the store's own events of an action, oldest first, once there is one; with none all that there are of any.
func testimonies(t *testing.T, n *node, action string, flags ...string) []testified {
	t.Helper()
	args := append([]string{"query", "--url", n.url(), "--output", "json", "--actor", "event-store", "--category", "security", "--category", "config"}, flags...)
	if action != "" {
		args = append(args, "--action", action)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		found := decode[[]testified](t, must(t, "", args...))
		if len(found) > 0 || action == "" {
			slices.Reverse(found)
			return found
		}
		if time.Now().After(end) {
			t.Fatalf("no event %s", action)
		}
	}
}

// metrics are the store's, of its events.
func (n *node) metrics(t *testing.T, token string) string {
	t.Helper()
	req, err := http.NewRequest("GET", n.url()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var events strings.Builder
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "eventstore_events_total") {
			events.WriteString(line)
		}
	}
	return events.String()
}

func (n *node) guess(t *testing.T, token string) {
	t.Helper()
	req, err := http.NewRequest("GET", n.url()+"/status", nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if io.Copy(io.Discard, res.Body); res.StatusCode != 401 {
		t.Errorf("token %q: %d", token, res.StatusCode)
	}
}

// Refused logins at both doors, a clean-up by hand and a change of the configuration are events; an ordinary start, a
// restart and a look at what would age out are none.
func TestStoreTellsWhatHappensToIt(t *testing.T) {
	t.Parallel()
	secret, stanza := newToken(t, "--name", "boss", "--scope", "admin")
	file := writeFile(t, "boss.token", secret)
	n := startWith(t, stanza)
	admin := []string{"--url", n.url(), "--token-file", file}
	must(t, "", append([]string{"append", "--category", "user", "--action", "a", "--actor", "b"}, admin...)...)
	must(t, "", append([]string{"retention", "--dry-run"}, admin...)...)
	n.stop(t)
	n.start(t)
	if found := testimonies(t, n, "", "--token-file", file); len(found) > 0 {
		t.Errorf("told of nothing: %+v", found)
	}

	for range 5 {
		n.guess(t, "est_guess")
	}
	n.guess(t, "")
	if nc, err := nats.Connect("nats://"+n.nats, nats.UserInfo("root", "toor")); err == nil {
		nc.Close()
		t.Error("a guess opens NATS")
	}
	testimonies(t, n, "logins_refused", "--token-file", file)
	if m := n.metrics(t, strings.TrimSpace(secret)); !strings.Contains(m, `eventstore_events_total{category="security",door="store"}`) ||
		!strings.Contains(m, `eventstore_events_total{category="security",door="nats"} 0`+"\n") {
		t.Errorf("the door of the store's own event: %s", m)
	}
	must(t, "", append([]string{"cleanup"}, admin...)...)
	cleaned := testimonies(t, n, "cleanup_requested", "--token-file", file)
	if len(cleaned) != 1 || cleaned[0].Category != "config" || !strings.Contains(string(cleaned[0].Data), `"token":"boss"`) {
		t.Errorf("%+v", cleaned)
	}
	n.stop(t) // what the first event about refused logins did not have is told now
	changed := stanza + "categories: {ai: {retention: 10d}}\nserver: {open: true}\n"
	if err := os.WriteFile(n.args[1], []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	change := testimonies(t, n, "configuration_changed", "--token-file", file)
	want := `"changes":[{"from":"30d","key":"categories.ai.retention","to":"10d"},{"from":"false","key":"server.open","to":"true"}]`
	if len(change) != 1 || change[0].Category != "config" || !strings.Contains(string(change[0].Data), want) {
		t.Errorf("%+v", change)
	}
	checkRefused(t, testimonies(t, n, "logins_refused", "--token-file", file))
	before := len(testimonies(t, n, "", "--token-file", file))
	n.stop(t)
	n.start(t)
	if after := len(testimonies(t, n, "", "--token-file", file)); after != before {
		t.Errorf("a restart is told: %d events, then %d", before, after)
	}
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}

// checkRefused wants the seven refused logins of the test, in one event or in two when the machine is slow.
func checkRefused(t *testing.T, found []testified) {
	t.Helper()
	sources := map[string]int{}
	for _, e := range found {
		got := decode[struct {
			Count   int
			Sources []struct {
				Door, Address, Reason string
				Count                 int
			}
		}](t, string(e.Data))
		sum := 0
		for _, s := range got.Sources {
			sources[s.Door+" "+s.Address+" "+s.Reason] += s.Count
			sum += s.Count
		}
		if e.Category != "security" || sum != got.Count || strings.Contains(string(e.Data), "guess") || strings.Contains(string(e.Data), "toor") {
			t.Errorf("%s %s", e.Category, e.Data)
		}
	}
	want := map[string]int{"http 127.0.0.1 the token is not known": 5, "nats 127.0.0.1 the credentials are not known": 1,
		"http 127.0.0.1 this call needs a token: Authorization: Bearer ...": 1}
	if !maps.Equal(sources, want) {
		t.Errorf("refused: %v", sources)
	}
}

// Every key is a setting that is told or one that says where something is; no secret is among them.
func TestSettingsKnowEveryKey(t *testing.T) {
	c := DefaultConfig()
	for _, k := range keys { // those that are empty by default
		if def := DefaultConfig(); def.settings()[k.name] == "" && k.name != "nats.url" {
			if err := k.set(&c, "sesame"); err != nil {
				t.Fatal(err)
			}
		}
	}
	c.NATSURL = "nats://u:sesame@host:4222"
	c.Tokens = []token{{"ci", digestA, []string{"append", "read"}, []string{"ai"}}}
	c.NATSUsers = []natsUser{{"grafana", hashed(t, "sesame"), "", nil}}
	s := c.settings()
	for _, k := range keys {
		if _, ok := s[k.name]; !ok && !slices.Contains(untoldKeys, k.name) {
			t.Errorf("%s is not told", k.name)
		}
	}
	if got := s["auth.tokens.ci"]; got != "append, read of ai (sha256 ca978112ca1b)" {
		t.Errorf("token: %s", got)
	}
	for _, secret := range []string{"nats.password", "nats.token"} {
		if s[secret] != "set" {
			t.Errorf("%s: %s", secret, s[secret])
		}
	}
	if s["nats.url"] != "nats://host:4222" || strings.Contains(s["nats.users.grafana"], c.NATSUsers[0].bcrypt) {
		t.Errorf("secrets: %v", s)
	}
	moved := c
	moved.ServerListen, moved.NATSListen, moved.DataDir = "127.0.0.1:9", "127.0.0.1:8", "elsewhere"
	if changed := changes(s, moved.settings()); len(changed) > 0 {
		t.Errorf("other ports and another folder are a change: %v", changed)
	}
}

func TestSettingsThatCannotBeReadAreNoChange(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop(t)
	if err := os.WriteFile(filepath.Join(n.dir, settingsFile), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	if found := testimonies(t, n, ""); len(found) > 0 {
		t.Errorf("told of nothing: %+v", found)
	}
	n.stop(t)
	if b, err := os.ReadFile(filepath.Join(n.dir, settingsFile)); err != nil || !json.Valid(b) {
		t.Errorf("%s %v", b, err)
	}
}

// A whole day of attempts is some 150 events, and a quiet minute makes the next one prompt again.
// No nats.url was remembered as "://", and a first one told as a change from that.
func TestNoURLIsNoSetting(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	n.stop(t)
	path := filepath.Join(n.dir, settingsFile)
	remembered, err := readSettings(path)
	if b, _ := os.ReadFile(path); err != nil || strings.Contains(string(b), "nats.url") {
		t.Errorf("%s %v", b, err)
	}
	remembered["nats.url"] = "://" // by a version before
	if err := writeSettings(path, remembered); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	if found := testimonies(t, n, ""); len(found) > 0 {
		t.Errorf("told of nothing: %+v", found)
	}
	n.stop(t)
	if b, err := os.ReadFile(path); err != nil || strings.Contains(string(b), "nats.url") {
		t.Errorf("%s %v", b, err)
	}
}

func TestRefusalsAreToldRarerWhileTheyGoOn(t *testing.T) {
	t.Parallel()
	told, wait := 0, refusalsFirst
	for at := time.Duration(0); at < 24*time.Hour; at += wait + gatherRefusals {
		told++
		wait = longer(wait, false)
	}
	if told < 100 || told > 160 {
		t.Errorf("%d events a day", told)
	}
	if wait = longer(wait, true); wait != refusalsFirst {
		t.Errorf("after a quiet time: %s", wait)
	}
}

// Who tries from ever new addresses costs no memory, and is counted whole.
func TestRefusalsAreBounded(t *testing.T) {
	t.Parallel()
	r := newRefusals()
	for i := range 10_000 {
		r.add("http", fmt.Sprintf("10.0.%d.%d", i/250, i%250), "x")
	}
	r.add("http", "10.0.0.0", "x")
	c := r.take()
	if c.count != 10_001 || len(c.sources) != maxSources || c.more != 10_001-maxSources-1 || c.sources[source{"http", "10.0.0.0", "x"}] != 2 {
		t.Errorf("%d refused, %d sources, %d more", c.count, len(c.sources), c.more)
	}
	if !r.none() {
		t.Error("they are still there")
	}
	r.add("nats", "10.0.0.1", "y")
	r.giveBack(c)
	again := r.take()
	sum := again.more
	for _, n := range again.sources {
		sum += n
	}
	if again.count != 10_002 || !again.since.Equal(c.since) || sum != again.count || len(again.sources) != maxSources {
		t.Errorf("given back: %d since %s, %d by source", again.count, again.since, sum)
	}
}
