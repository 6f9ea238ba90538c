package ingest

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
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

// Every setting that nats.go knows is compared, or is harmless.
func TestDriftOfEverySetting(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	bad := map[string]func(*jetstream.StreamConfig){
		"Subjects":           func(c *jetstream.StreamConfig) { c.Subjects = c.Subjects[:1] },
		"Retention":          func(c *jetstream.StreamConfig) { c.Retention = jetstream.InterestPolicy },
		"MaxConsumers":       func(c *jetstream.StreamConfig) { c.MaxConsumers = 5 },
		"MaxMsgs":            func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 },
		"MaxBytes":           func(c *jetstream.StreamConfig) { c.MaxBytes = -1 },
		"Discard":            func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld },
		"MaxAge":             func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour },
		"MaxMsgsPerSubject":  func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 },
		"MaxMsgSize":         func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 },
		"Storage":            func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage },
		"NoAck":              func(c *jetstream.StreamConfig) { c.NoAck = true },
		"Duplicates":         func(c *jetstream.StreamConfig) { c.Duplicates = time.Minute },
		"Mirror":             func(c *jetstream.StreamConfig) { c.Mirror = &jetstream.StreamSource{} },
		"Sealed":             func(c *jetstream.StreamConfig) { c.Sealed = true },
		"DenyDelete":         func(c *jetstream.StreamConfig) { c.DenyDelete = false },
		"DenyPurge":          func(c *jetstream.StreamConfig) { c.DenyPurge = true },
		"AllowRollup":        func(c *jetstream.StreamConfig) { c.AllowRollup = true },
		"SubjectTransform":   func(c *jetstream.StreamConfig) { c.SubjectTransform = &jetstream.SubjectTransformConfig{} },
		"ConsumerLimits":     func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = time.Hour },
		"AllowMsgTTL":        func(c *jetstream.StreamConfig) { c.AllowMsgTTL = true },
		"AllowMsgCounter":    func(c *jetstream.StreamConfig) { c.AllowMsgCounter = true },
		"AllowAtomicPublish": func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false },
		"AllowMsgSchedules":  func(c *jetstream.StreamConfig) { c.AllowMsgSchedules = true },
		"PersistMode":        func(c *jetstream.StreamConfig) { c.PersistMode = jetstream.AsyncPersistMode },
	}
	harmless := []string{"Name", "Description", "DiscardNewPerSubject", "Replicas", "Placement", "Sources", "Compression", "FirstSeq", "RePublish",
		"AllowDirect", "MirrorDirect", "Metadata", "Template", "SubjectDeleteMarkerTTL", "AllowBatchPublish"}
	for field := range reflect.TypeFor[jetstream.StreamConfig]().Fields() {
		if bad[field.Name] == nil && !slices.Contains(harmless, field.Name) {
			t.Errorf("nobody thought about %s", field.Name)
		}
	}
	if drift := f.ing.compare(f.ing.wanted()); len(drift) > 0 {
		t.Errorf("what is wanted drifts: %q", drift)
	}
	for name, set := range bad {
		c := f.ing.wanted()
		if set(&c); len(f.ing.compare(c)) != 1 {
			t.Errorf("%s: drift is %q", name, f.ing.compare(c))
		}
	}
}

// While messages are moved the stream has none of its subjects: that was named once for each.
func TestStreamWithoutItsSubjectsDriftsOnce(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	c := f.ing.wanted()
	c.Subjects = []string{"elsewhere"}
	if drift := f.ing.compare(c); len(drift) != 1 || !strings.HasPrefix(drift[0], "subjects is [elsewhere], want [events.>") {
		t.Errorf("%q", drift)
	}
}

// A setting of a stream that the embedded server does not know is an error,
// whatever the operator's configuration says.
func TestTheEmbeddedServerIsStrict(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte("jetstream: {strict: false}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := tryStart(t, filepath.Join(dir, "data"), Options{ServerConfig: file})
	if err != nil {
		t.Fatal(err)
	}
	m, err := f.ing.nc.Request("$JS.API.STREAM.CREATE.OTHER", []byte(`{"name":"OTHER","subjects":["other"],"deny_everything":true}`), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(m.Data), "unknown field") {
		t.Errorf("answer: %s", m.Data)
	}
}
