package httpapi

import (
	"log/slog"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"home.lab/event-store/ledger"
)

// shows checks that the metrics have lines that begin like that and end in the value.
func (a answer) shows(t *testing.T, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains("\n"+a.body, "\n"+want+"\n") {
			t.Errorf("metrics do not show %q:\n%s", want, grep(a.body, want[:strings.IndexAny(want+" ", "{ ")]))
		}
	}
}

func grep(text, word string) string {
	var found []string
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// measured is start with a ledger that tells of its commits.
func measured(t *testing.T) *fixture {
	t.Helper()
	m := NewMetrics("test")
	quiet := slog.New(slog.DiscardHandler)
	return startWith(t, ledger.Options{Logger: quiet, Committed: m.Committed, Rejected: m.Rejected}, Options{Metrics: m, Logger: quiet})
}

func TestMetricsCountWhatHappened(t *testing.T) {
	f := measured(t)
	f.do("GET", "/metrics", "").want(t, 200).shows(t,
		`eventstore_events_total{category="service",door="nats"} 0`, `eventstore_commit_events_count 0`)
	f.do("POST", "/events", body).want(t, 201)
	f.do("POST", "/events", body+"\n"+body, "Content-Type", "application/x-ndjson").want(t, 201)
	f.do("POST", "/events", `{"category":"security"`).want(t, 400)
	f.do("POST", "/events", `{"category":"security"}`).want(t, 422)
	f.do("POST", "/events", body, "Content-Type", "text/plain").want(t, 415)
	f.do("GET", "/events/000000000001", "").want(t, 200)
	f.do("GET", "/events/000000000002", "").want(t, 200)
	f.do("GET", "/nowhere/"+strings.Repeat("x", 50), "").want(t, 404)
	f.project(t, "service", `{"action":"a","actor":"b"}`)
	f.project(t, "service", `not an event`)
	f.stream.set(func() {
		f.stream.status = StreamStatus{Connected: true, Lag: 3, Bytes: 1000, MaxBytes: 2000, Drift: []string{"max_age"}, Warnings: []string{"full"}, Dropped: 2, ClockSkewMS: 1500}
	})
	f.tail("", "").next()
	a := f.do("GET", "/metrics", "").want(t, 200)
	a.shows(t,
		`eventstore_events_total{category="service",door="http"} 3`,
		`eventstore_events_total{category="service",door="nats"} 2`,
		`eventstore_events_total{category="security",door="http"} 0`,
		`eventstore_events_total{category="ledger",door="store"} 0`,
		`eventstore_ledger_events{category="service"} 5`,
		`eventstore_aged_out_events_total{category="service"} 0`,
		`eventstore_commit_events_sum 5`,
		`eventstore_rejected_events_total{reason="malformed"} 1`,
		`eventstore_refused_appends_total{reason="malformed"} 1`,
		`eventstore_refused_appends_total{reason="invalid"} 1`,
		`eventstore_refused_appends_total{reason="media_type"} 1`,
		`eventstore_http_requests_total{method="GET",route="/events/{id}",status="200"} 2`,
		`eventstore_http_requests_total{method="GET",route="none",status="404"} 1`,
		`eventstore_http_requests_total{method="POST",route="/events",status="201"} 2`,
		`eventstore_stream_lag_messages 3`, `eventstore_stream_bytes 1000`, `eventstore_stream_max_bytes 2000`,
		`eventstore_stream_drifts 1`, `eventstore_stream_warnings 1`, `eventstore_stream_drops_total 2`, `eventstore_clock_skew_seconds 1.5`,
		`eventstore_missing_ids_total 0`, `eventstore_segments 1`, `eventstore_head_id 5`, `eventstore_pending_events 0`, `eventstore_followers 1`, `eventstore_writable 1`,
	)
	if strings.Contains(a.body, "eventstore_chain_valid ") {
		t.Error("chain_valid is shown before any verification")
	}
	f.do("POST", "/verify", "").want(t, 200)
	a = f.do("GET", "/metrics", "").want(t, 200)
	a.shows(t, `eventstore_chain_valid 1`, `eventstore_verification_findings 0`)
	if !strings.Contains(a.body, "\neventstore_verification_age_seconds ") {
		t.Error("no verification age")
	}
	problems, err := promlint.New(strings.NewReader(a.body)).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("naming rules: %v %v", problems, err)
	}
	f.do("GET", "/metrics?x=1", "").want(t, 422)
}

// An event that was published and is not committed yet came in by no door.
func TestMetricsCountCommittedEventsOnly(t *testing.T) {
	f := measured(t)
	f.stream.set(func() { f.stream.hold = true })
	f.do("POST", "/events", body, "Prefer", "respond-async").want(t, 202)
	f.do("GET", "/metrics", "").want(t, 200).shows(t,
		`eventstore_events_total{category="service",door="http"} 0`, `eventstore_events_total{category="service",door="nats"} 0`)
	f.stream.set(func() { f.stream.hold = false })
	f.do("POST", "/events", body).want(t, 201)
	f.do("GET", "/metrics", "").want(t, 200).shows(t,
		`eventstore_events_total{category="service",door="http"} 2`, `eventstore_events_total{category="service",door="nats"} 0`)
}

// project is a message that a NATS publisher sent, and waits for its commit.
func (f *fixture) project(t *testing.T, category, payload string) {
	t.Helper()
	f.stream.mu.Lock()
	f.stream.seq++
	id := ledger.ID(f.stream.seq)
	err := f.ledger.Project(t.Context(), []ledger.Message{{Seq: f.stream.seq, Time: time.Now(), Subject: "events." + category, Data: []byte(payload)}})
	f.stream.mu.Unlock()
	if err == nil {
		err = f.ledger.Wait(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Metrics name routes, so that what a client makes up is no time series.
func TestMetricsNameNoPathOfAClient(t *testing.T) {
	f := measured(t)
	f.do("GET", "/events/zzz", "").want(t, 400)
	f.do("BREW", "/events", "").want(t, http.StatusMethodNotAllowed)
	a := f.do("GET", "/metrics", "").want(t, 200)
	a.shows(t, `eventstore_http_requests_total{method="other",route="none",status="405"} 1`)
	if strings.Contains(a.body, "zzz") || strings.Contains(a.body, "BREW") {
		t.Error("a client's own words are labels")
	}
}

// What alert rules and dashboard ask for is there.
func TestDeployUsesMetricsThatExist(t *testing.T) {
	f := measured(t)
	f.do("POST", "/events", body).want(t, 201)
	f.do("POST", "/verify", "").want(t, 200)
	shown := f.do("GET", "/metrics", "").want(t, 200).body
	for _, file := range []string{"../deploy/alerts.yml", "../deploy/alerts_test.yml", "../deploy/grafana-dashboard.json"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		names := regexp.MustCompile(`\beventstore_[a-z_]+`).FindAllString(string(b), -1)
		if len(names) < 10 {
			t.Errorf("%s names %d metrics", file, len(names))
		}
		for _, name := range names {
			if !regexp.MustCompile(`(?m)^` + name + `[{ ]`).MatchString(shown) {
				t.Errorf("%s uses %s, which /metrics does not show", file, name)
			}
		}
	}
}
