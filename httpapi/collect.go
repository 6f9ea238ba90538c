package httpapi

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"home.lab/event-store/ledger"
)

// collector asks ledger, stream and verification at each scrape. It is unchecked (prometheus.Collector): categories come
// and go with the configuration.
type collector struct {
	*API
	base map[string]int64 // events that were in the chain at the start, by category
}

// Describe gives nothing, which makes the collector an unchecked one.
func (collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	s := c.ledger.Status()
	c.collectEvents(ch, s)
	c.collectLedger(ch, s)
	c.collectStream(ch, c.stream.StreamStatus())
	c.collectVerification(ch, c.verifier.state())
}

// sample sends one value; labels are name and value in turn.
func sample(ch chan<- prometheus.Metric, kind prometheus.ValueType, name, help string, v float64, labels ...string) {
	var names, values []string
	for i := 0; i < len(labels); i += 2 {
		names, values = append(names, labels[i]), append(values, labels[i+1])
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, v, values...)
}

func gauge(ch chan<- prometheus.Metric, name, help string, v float64, labels ...string) {
	sample(ch, prometheus.GaugeValue, name, help, v, labels...)
}

func count(ch chan<- prometheus.Metric, name, help string, v float64, labels ...string) {
	sample(ch, prometheus.CounterValue, name, help, v, labels...)
}

// everChained gives how many events of each category the chain has had, also those that aged out.
func everChained(s ledger.Status) map[string]int64 {
	ever := map[string]int64{}
	for category, n := range s.Categories {
		ever[category] += n
	}
	for category, n := range s.AgedOut {
		ever[category] += n
	}
	return ever
}

// collectEvents sends a category's counters from the start on, also at 0: a series that begins with its first event
// hides that event from rate().
func (c collector) collectEvents(ch chan<- prometheus.Metric, s ledger.Status) {
	const chained, chainedHelp = "eventstore_events_total", "Events chained since the start, by category and by the door they came in."
	const kept, keptHelp = "eventstore_ledger_events", "Events in the ledger, by category."
	const aged, agedHelp = "eventstore_aged_out_events_total", "Events that aged out, by category."
	ever := everChained(s)
	for category := range c.ledger.Config().Categories {
		ever[category] += 0
	}
	ever[ledger.CategoryLedger] += 0
	for category, n := range ever {
		n -= c.base[category]
		gauge(ch, kept, keptHelp, float64(s.Categories[category]), "category", category)
		if category == ledger.CategoryLedger {
			count(ch, chained, chainedHelp, float64(n), "category", category, "door", doorStore)
			continue
		}
		byHTTP, own := c.metrics.doors.by(s.Head.ID, doorHTTP, category), c.metrics.doors.by(s.Head.ID, doorStore, category)
		count(ch, chained, chainedHelp, float64(byHTTP), "category", category, "door", doorHTTP)
		count(ch, chained, chainedHelp, float64(n-byHTTP-own), "category", category, "door", "nats")
		if own > 0 {
			count(ch, chained, chainedHelp, float64(own), "category", category, "door", doorStore)
		}
		count(ch, aged, agedHelp, float64(s.AgedOut[category]), "category", category)
	}
}

func (c collector) collectLedger(ch chan<- prometheus.Metric, s ledger.Status) {
	gauge(ch, "eventstore_segments", "Segments on disk, the active one included.", float64(s.FileCount))
	gauge(ch, "eventstore_ledger_bytes", "Bytes of segments and manifests on disk.", float64(s.TotalSizeBytes))
	gauge(ch, "eventstore_pending_events", "Events that were decided to age out and may still be in the files.", float64(c.pending().PendingEvents))
	gauge(ch, "eventstore_followers", "Open event streams.", float64(c.followers.count()))
	gauge(ch, "eventstore_head_id", "Id of the last committed event.", float64(s.Head.ID))
	count(ch, "eventstore_missing_ids_total", "Ids that the stream lacked.", float64(s.MissingIDs))
	gauge(ch, "eventstore_writable", "1 when events can be committed, 0 when the ledger has stopped.", one(c.ledger.Err() == nil))
	if !s.Head.Timestamp.IsZero() {
		gauge(ch, "eventstore_head_timestamp_seconds", "Time of the last committed event, Unix seconds.", float64(s.Head.Timestamp.UnixMicro())/1e6)
	}
}

func (c collector) collectStream(ch chan<- prometheus.Metric, s StreamStatus) {
	gauge(ch, "eventstore_stream_connected", "1 when the stream answers.", one(s.Connected))
	gauge(ch, "eventstore_stream_lag_messages", "Messages in the stream that are not committed to the ledger yet.", float64(s.Lag))
	gauge(ch, "eventstore_stream_messages", "Messages in the stream.", float64(s.Messages))
	gauge(ch, "eventstore_stream_bytes", "Bytes in the stream.", float64(s.Bytes))
	gauge(ch, "eventstore_stream_max_bytes", "Limit of the stream's bytes; a full stream refuses new events.", float64(s.MaxBytes))
	gauge(ch, "eventstore_stream_drifts", "Settings of the stream that could lose messages.", float64(len(s.Drift)))
	gauge(ch, "eventstore_stream_warnings", "What may lead to lost events, or did; GET /status names it.", float64(len(s.Warnings)))
	count(ch, "eventstore_stream_drops_total", "Times that the embedded NATS server said that it dropped messages.", float64(s.Dropped))
	gauge(ch, "eventstore_clock_skew_seconds", "Stream time minus local time.", float64(s.ClockSkewMS)/1e3)
}

// collectVerification sends chain_valid and its age only after a verification: before it, nothing is known.
func (c collector) collectVerification(ch chan<- prometheus.Metric, v verifierState) {
	gauge(ch, "eventstore_verification_running", "1 while a verification runs.", one(v.Running))
	if v.Last == nil {
		return
	}
	gauge(ch, "eventstore_chain_valid", "1 when the last verification found the chain valid, else 0.", one(*v.valid()))
	gauge(ch, "eventstore_verification_findings", "Findings of the last verification.", float64(int64(len(v.Last.Findings))+v.Last.Omitted))
	gauge(ch, "eventstore_verification_duration_seconds", "Time that the last verification took.", float64(v.Last.DurationMS)/1e3)
	gauge(ch, "eventstore_verification_age_seconds", "Time since the last verification began.", time.Since(time.Time(*v.LastAt)).Seconds())
}

func one(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
