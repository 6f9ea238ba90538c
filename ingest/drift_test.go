package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// A stream that an operator made in a way that the store cannot read it: log,
// reason and drift name what is wrong with it, and the log does so once.
func TestAStreamThatCannotBeReadIsNamedAsTheCause(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		set           func(*jetstream.StreamConfig)
		drift, reason string
	}{
		{func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention is WorkQueue, want Limits", "workqueue stream"},
		{func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy }, "retention is Interest, want Limits", ""}, // it can be read, and loses what comes while it is not
		{func(c *jetstream.StreamConfig) { c.MaxConsumers = 1 }, "max_consumers is 1, want none", "maximum consumers"},
		{func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Second },
			"consumer_limits.inactive_threshold is 1s, want none", "inactive threshold"},
	} {
		t.Run(c.drift, func(t *testing.T) {
			t.Parallel()
			e := newExternal(t, "")
			cfg := jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>", "eventstore.ledger.>"}, Discard: jetstream.DiscardNew,
				MaxBytes: 64 << 20, MaxMsgSize: maxMsgSize, DenyDelete: true, AllowAtomicPublish: true, Duplicates: duplicateWindow}
			c.set(&cfg)
			if _, err := e.js().CreateStream(t.Context(), cfg); err != nil {
				t.Fatal(err)
			}
			var log lines
			f, err := tryStart(t, t.TempDir(), Options{URL: e.url(), Logger: log.logger()})
			if err != nil {
				t.Fatal(err)
			}
			if c.reason == "" {
				soon(t, "connected", func() bool { return f.ing.Status().Connected })
			} else {
				soon(t, "the reason", func() bool { s := f.ing.Status(); return !s.Connected && strings.Contains(s.Reason, c.reason) })
				time.Sleep(time.Second) // for some attempts
				if n := strings.Count(log.String(), "consumer stopped"); n != 1 {
					t.Errorf("told %d times:\n%s", n, log.String())
				}
			}
			if s := f.ing.Status(); len(s.Drift) != 1 || s.Drift[0] != c.drift {
				t.Errorf("drift is %q", s.Drift)
			}
			if !strings.Contains(log.String(), c.drift) {
				t.Errorf("the log does not say it:\n%s", log.String())
			}
		})
	}
}
