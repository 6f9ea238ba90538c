package httpapi

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"home.lab/event-store/ledger"
)

// Metrics are what GET /metrics shows (Prometheus text format). It is made before the ledger is opened, so that it can be
// told of every commit; New adds what is asked of ledger, stream and verification at each scrape.
type Metrics struct {
	registry *prometheus.Registry

	commitTime   prometheus.Histogram
	commitEvents prometheus.Histogram
	commitBytes  prometheus.Counter
	fsyncs       prometheus.Counter
	rejected     *prometheus.CounterVec // reason
	refused      *prometheus.CounterVec // reason
	requests     *prometheus.CounterVec // route, method, status
	requestTime  *prometheus.HistogramVec
	known        sync.Map // of series by answered
	doors        doors
}

// NewMetrics gives metrics in a registry of their own.
func NewMetrics(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		commitTime: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "eventstore_commit_duration_seconds", Help: "Time to write and fsync one batch of events.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16)}), // 0.25 ms to 8 s
		commitEvents: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "eventstore_commit_events", Help: "Events in one commit.",
			Buckets: prometheus.ExponentialBuckets(1, 4, 9)}), // 1 to 65,536
		commitBytes: counter("eventstore_commit_bytes_total", "Bytes of events committed."),
		fsyncs:      counter("eventstore_fsyncs_total", "Fsyncs of segments and of the data folder by commits."),
		rejected:    counters("eventstore_rejected_events_total", "Messages chained as event_rejected, by reason.", "reason"),
		refused:     counters("eventstore_refused_appends_total", "POST /events requests refused, by reason.", "reason"),
		requests:    counters("eventstore_http_requests_total", "HTTP requests by route, method and status.", "route", "method", "status"),
		requestTime: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "eventstore_http_request_duration_seconds", Help: "Time of HTTP requests, from the header to the end of the answer.",
			Buckets: []float64{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10}}, []string{"route", "method"}),
		doors: doors{counts: map[door]int64{}},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "eventstore_build_info", Help: "1, with the version as its label.", ConstLabels: prometheus.Labels{"version": version}})
	build.Set(1)
	m.registry.MustRegister(m.commitTime, m.commitEvents, m.commitBytes, m.fsyncs, m.rejected, m.refused, m.requests, m.requestTime, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, reason := range []string{"malformed", "invalid", "too_large", "category", "own_message"} {
		m.rejected.WithLabelValues(reason)
	}
	for _, reason := range refusals {
		m.refused.WithLabelValues(reason)
	}
	return m
}

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// Committed takes a commit of the ledger (ledger.Options).
func (m *Metrics) Committed(c ledger.Commit) {
	m.commitTime.Observe(c.Took.Seconds())
	m.commitEvents.Observe(float64(c.Events))
	m.commitBytes.Add(float64(c.Bytes))
	m.fsyncs.Add(float64(c.Fsyncs))
}

// Rejected takes a message that became event_rejected (ledger.Options).
func (m *Metrics) Rejected(reason string) { m.rejected.WithLabelValues(reason).Inc() }

// Testified takes an event of the store's own in a publishers' category (ledger.Options).
func (m *Metrics) Testified(id ledger.ID, category string) {
	m.doors.add(0, arrival{id, door{doorStore, category}, 1})
}

// handler is GET /metrics.
func (m *Metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError})
}

// served counts one request. Routes are those of the router, never paths, and methods those that it has: what a client
// makes up must not become a time series.
func (m *Metrics) served(r *http.Request, status int, took time.Duration) {
	route, method := chi.RouteContext(r.Context()).RoutePattern(), r.Method
	if route == "" || route == "/*" {
		route = "none"
	}
	if method != http.MethodGet && method != http.MethodHead && method != http.MethodPost {
		method = "other"
	}
	s := m.series(answered{route, method, status})
	s.requests.Inc()
	s.time.Observe(took.Seconds())
	if route == "/events" && r.Method == http.MethodPost && status >= 400 {
		m.refused.WithLabelValues(refusal(status)).Inc()
	}
}

// answered is what requests are counted by.
type answered struct {
	route, method string
	status        int
}

// A series is what its requests count into.
type series struct {
	requests prometheus.Counter
	time     prometheus.Observer
}

// series finds the time series by one look-up, where the labels would take three with their hashes.
func (m *Metrics) series(by answered) series {
	if s, ok := m.known.Load(by); ok {
		return s.(series)
	}
	s := series{m.requests.WithLabelValues(by.route, by.method, strconv.Itoa(by.status)), m.requestTime.WithLabelValues(by.route, by.method)}
	m.known.Store(by, s)
	return s
}

var refusals = []string{"malformed", "invalid", "too_large", "media_type", "not_allowed", "busy", "unavailable"}

// refusal is one word for why an append was refused.
func refusal(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "malformed"
	case http.StatusRequestEntityTooLarge:
		return "too_large"
	case http.StatusUnsupportedMediaType:
		return "media_type"
	case http.StatusUnauthorized, http.StatusForbidden:
		return "not_allowed"
	case http.StatusTooManyRequests:
		return "busy"
	case http.StatusUnprocessableEntity:
		return "invalid"
	}
	return "unavailable"
}
