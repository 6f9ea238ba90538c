package ingest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestDropsOfTheIngestQueueAreTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, []byte("jetstream: {max_buffered_msgs: 1}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lines
	f, err := tryStart(t, filepath.Join(dir, "data"), Options{ServerConfig: file, Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	if s := f.ing.Status(); s.Dropped != 0 || len(s.Warnings) != 0 {
		t.Fatalf("before: %+v", s)
	}
	nc := f.client()
	soon(t, "a drop", func() bool {
		for range 5000 {
			if err := nc.Publish("events.system", []byte(event)); err != nil {
				t.Fatal(err)
			}
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		return f.ing.Status().Dropped > 0
	})
	if w := f.ing.Status().Warnings; !slices.ContainsFunc(w, func(s string) bool { return strings.Contains(s, "dropped messages") }) {
		t.Errorf("warnings are %q", w)
	}
	soon(t, "drops in the log", func() bool { return strings.Contains(log.String(), "kind=dropped") })
}

func TestFullnessIsToldBeforeEventsAreRefused(t *testing.T) {
	t.Parallel()
	var log lines
	f, err := tryStart(t, t.TempDir(), Options{Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		f.get(put(t, f))
	}
	for _, c := range []struct {
		percent uint64
		want    string
		kind    string
	}{{79, "", ""}, {85, "85 % full", "nearly full"}, {97, "97 % full", "almost full"}} {
		cfg := f.ing.wanted()
		cfg.MaxBytes = int64(f.status().Bytes * 100 / c.percent)
		if _, err := f.ing.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		got := strings.Join(f.status().Warnings, "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("at %d %%: %q", c.percent, got)
		}
		if c.want != "" && !strings.Contains(log.String(), `kind="`+c.kind) {
			t.Errorf("at %d %% the log is silent", c.percent)
		}
		f.status()
		f.status()
	}
	if n := strings.Count(log.String(), "stream is in danger"); n != 2 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
	if _, _, err := f.ing.Append(t.Context(), f.draft("x"), ""); err != nil {
		t.Errorf("Append: %v", err)
	}
}

// status is the stream as it is now.
func (f *fixture) status() StreamStatus {
	f.t.Helper()
	if _, err := f.ing.check(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	return f.ing.Status()
}

// A store whose key is gone says so, where it is the only one to sign.
func TestAStoreWithoutItsKeyWarns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := start(t, dir)
	f.get(put(t, f))
	if w := f.status().Warnings; len(w) > 0 {
		t.Errorf("with its key: %q", w)
	}
	f.close()
	if err := os.Remove(filepath.Join(dir, "ledger.key")); err != nil {
		t.Fatal(err)
	}
	var log lines
	f, err := tryStart(t, dir, Options{Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	f.get(put(t, f)) // events go on
	f.status()
	if w := f.status().Warnings; len(w) != 1 || !strings.HasPrefix(w[0], "ledger.key is missing") {
		t.Errorf("warnings are %q", w)
	}
	if n := strings.Count(log.String(), "kind=keyless"); n != 1 {
		t.Errorf("told %d times:\n%s", n, log.String())
	}
}

// Status is kept fresh without being asked, and asks nobody.
func TestStatusIsFromMemory(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	f.get(put(t, f))
	soon(t, "the message in the status", func() bool { s := f.ing.Status(); return s.Messages > 0 && s.Connected && s.Lag == 0 })
	before := f.ing.nc.Stats().OutMsgs
	for range 1000 {
		f.ing.Status()
	}
	if n := f.ing.nc.Stats().OutMsgs - before; n > 500 { // the store itself sends a few
		t.Errorf("1,000 calls sent %d messages", n)
	}
}

func TestLateness(t *testing.T) {
	t.Parallel()
	var l lateness
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n, c := range []struct {
		last, head uint64
		seconds    int
		late       bool
	}{
		{10, 10, 0, false},
		{20, 10, 10, false},  // behind since 10 s
		{30, 19, 60, false},  // 20 is not committed yet
		{40, 19, 69, false},  //
		{40, 19, 70, true},   // for a minute
		{50, 20, 71, false},  // it is; 50 is not, since now
		{60, 49, 130, false}, //
		{60, 49, 131, true},
		{60, 60, 132, false},
		{0, 60, 1000, false}, // a stream made again
	} {
		now := at.Add(time.Duration(c.seconds) * time.Second)
		if l.observe(c.last, c.head, now); l.late(now) != c.late {
			t.Errorf("step %d: late is %v", n, !c.late)
		}
	}
}

// A setting that somebody changes while the store runs is told, and its
// repair too.
func TestDriftWhileRunningIsToldAndHeals(t *testing.T) {
	t.Parallel()
	var log lines
	f, err := tryStart(t, t.TempDir(), Options{Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	f.get(put(t, f))
	cfg := f.ing.wanted()
	cfg.MaxMsgs, cfg.MaxAge = 1000, time.Hour
	if _, err := f.ing.js.UpdateStream(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	soon(t, "drift in the log, without being asked", func() bool { return strings.Contains(log.String(), "stream settings differ") })
	if drift := strings.Join(f.ing.Status().Drift, "; "); !strings.Contains(drift, "max_age") || !strings.Contains(drift, "max_msgs") {
		t.Errorf("drift is %q", drift)
	}
	f.get(put(t, f)) // and events go on
	if _, err := f.ing.js.UpdateStream(t.Context(), f.ing.wanted()); err != nil {
		t.Fatal(err)
	}
	soon(t, "healed in the log", func() bool { return strings.Contains(log.String(), "as the ledger needs them") })
	if drift := f.ing.Status().Drift; len(drift) > 0 {
		t.Errorf("drift is still %q", drift)
	}
}

// Both sizes that the ledger relies on are told; a longer window does no harm.
func TestDriftOfMessageSizeAndDuplicateWindow(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	for _, c := range []struct {
		size   int32
		window time.Duration
		want   []string
	}{
		{maxMsgSize, 2 * duplicateWindow, nil},
		{2 * maxMsgSize, duplicateWindow, []string{"max_msg_size is 2097152, want 1048576"}},
		{maxMsgSize / 2, duplicateWindow, []string{"max_msg_size is 524288, want 1048576"}},
		{maxMsgSize, time.Minute, []string{"duplicate_window is 1m0s, want 10m0s"}},
		{-1, time.Second, []string{"max_msg_size is -1, want 1048576", "duplicate_window is 1s, want 10m0s"}},
		{maxMsgSize, duplicateWindow, nil},
	} {
		cfg := f.ing.wanted()
		cfg.MaxMsgSize, cfg.Duplicates = c.size, c.window
		if _, err := f.ing.js.UpdateStream(t.Context(), cfg); err != nil {
			t.Fatal(err)
		}
		if drift := f.status().Drift; !slices.Equal(drift, c.want) {
			t.Errorf("size %d and window %s: drift is %q, want %q", c.size, c.window, drift, c.want)
		}
	}
}
