package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// aged is a feed with a ledger whose clock is now, so that files are rewritten:
// three segments of service and security events, 40 days ago, then a day of now.
func agedFeed(t *testing.T) (*feed, string) { return agedFeedUntil(t, time.Now()) }

// agedFeedUntil is agedFeed with another time for now.
func agedFeedUntil(t *testing.T, now time.Time) (*feed, string) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.at = now.Sub(epoch) - 40*day
	f.own()
	f.mixed(450)
	f.at = now.Sub(epoch) - 10*time.Second
	f.mixed(1)
	f.settleSeals()
	return f, dir
}

func (f *feed) mixed(n int) {
	for i := range n {
		f.at -= time.Second - time.Millisecond
		f.send([]string{"events.service", "events.service", "events.security"}[i%3], login(f.seq+1).Data)
	}
}

func (f *feed) decide(cells []Cell) ID {
	own, n, err := f.l.Decide(cells)
	if err != nil || n != len(cells) {
		f.t.Fatal(err, n)
	}
	f.at -= time.Second - time.Millisecond
	f.send(subjectOwn+own.Action, own.Data)
	return ID(f.seq)
}

func rejectedAt(t *testing.T, l *Ledger, id ID) bool {
	raw, err := l.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(raw, []byte(`"action":"event_rejected"`))
}

func ageNow(t *testing.T, f *feed) ID {
	due := f.l.Due(epoch.Add(f.at))
	if len(due) == 0 {
		t.Fatal("nothing is due")
	}
	for _, c := range due {
		if c.Category != "service" {
			t.Fatalf("%s is due", c.Category)
		}
	}
	id := f.decide(due)
	if rejectedAt(t, f.l, id) {
		t.Fatal("the decision was rejected")
	}
	return id
}

func TestAgedOutEventsLeaveAProvableChain(t *testing.T) {
	f, dir := agedFeed(t)
	before := f.l.Status()
	copied := t.TempDir()
	if err := os.CopyFS(copied+"/data", os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	mustValid(t, copied+"/data", VerifyOptions{})
	id := ageNow(t, f)
	check := func(l *Ledger) {
		t.Helper()
		if err := l.Rewritten(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		s := l.Status()
		if s.AgedOutEvents == 0 || s.TotalEvents != before.TotalEvents+1-s.AgedOutEvents {
			t.Errorf("%d events, %d aged out, %d before", s.TotalEvents, s.AgedOutEvents, before.TotalEvents)
		}
		n := int64(0)
		counts := map[string]int64{}
		l.Query(context.Background(), Filter{}, func(raw []byte) error {
			ln, err := parseLine(raw)
			counts[string(ln.category)]++
			n++
			return err
		})
		if n != s.TotalEvents || counts["service"] != s.Categories["service"] || counts["security"] != s.Categories["security"] {
			t.Errorf("query finds %d %v, status says %d %v", n, counts, s.TotalEvents, s.Categories)
		}
		gone := 0
		for id := ID(1); id <= l.Head().ID; id++ {
			if _, err := l.Get(id); errors.Is(err, ErrAgedOut) {
				gone++
			} else if err != nil {
				t.Fatal(id, err)
			}
		}
		if int64(gone) != s.AgedOutEvents {
			t.Errorf("%d ids are gone, %d aged out", gone, s.AgedOutEvents)
		}
		if s.TotalSizeBytes >= before.TotalSizeBytes {
			t.Errorf("%d bytes, %d before", s.TotalSizeBytes, before.TotalSizeBytes)
		}
	}
	check(f.l)
	if r, err := f.l.Verify(context.Background(), VerifyOptions{}); err != nil || r.Status != "valid" {
		t.Fatal(err, r)
	}
	closeLedger(t, f.l)
	r := mustValid(t, dir, VerifyOptions{})
	if r.AgedOut == 0 {
		t.Error("nothing aged out")
	}
	f.l = open(t, dir, Config{})
	check(f.l)
	if due := f.l.Due(time.Now()); len(due) != 0 {
		t.Errorf("due again: %v", due)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

func TestForgedDecisionsChangeNothing(t *testing.T) {
	f, dir := agedFeed(t)
	now := epoch.Add(f.at)
	due := f.l.Due(now)
	own, _, _ := f.l.Decide(due)
	send := func(data []byte) bool {
		f.at -= time.Second - time.Millisecond
		f.send(subjectOwn+actionAged, data)
		return rejectedAt(t, f.l, ID(f.seq))
	}
	if !send(bytes.Replace(own.Data, []byte(`"count":`), []byte(`"count":1`), 1)) {
		t.Error("an edited decision was believed")
	}
	young := f.l.Due(now.Add(400 * day))
	for _, c := range young {
		if c.Category == CategoryLedger {
			t.Error("category ledger is due")
		}
	}
	early, _, _ := f.l.Decide(young)
	if !send(early.Data) {
		t.Error("a premature decision was believed")
	}
	wrong := slices.Clone(due)
	wrong[0].digest = GenesisHash
	other, _, _ := f.l.Decide(wrong)
	if !send(other.Data) {
		t.Error("a decision about another manifest was believed")
	}
	if got := f.l.Status().AgedOutEvents; got != 0 {
		t.Errorf("%d events aged out", got)
	}
	if send(own.Data) {
		t.Error("the right decision was not believed")
	}
	aged := f.l.Status().AgedOutEvents
	if send(own.Data) || f.l.Status().AgedOutEvents != aged {
		t.Error("a repetition must be chained and have no effect")
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

func TestShorteningSparesOlderEventsForAWeek(t *testing.T) {
	c := DefaultConfig()
	short := DefaultConfig()
	short.Categories["security"] = Policy{Retention: time.Hour}
	at := func(d time.Duration) micros { return micros(d / time.Microsecond) }
	configs := []configSince{{config: c}, {from: 2, since: at(100 * day), config: short}}
	for _, tc := range []struct {
		first, last, at time.Duration
		want            bool
	}{
		{10 * day, 11 * day, 101 * day, false},                // the year still holds
		{10 * day, 11 * day, 107*day - 1, false},              // a week is not over
		{10 * day, 11 * day, 107 * day, true},                 // it is
		{101 * day, 101*day + 1, 101*day + 2*time.Hour, true}, // younger than the shortening
		{101 * day, 102 * day, 102 * day, false},              // too young
	} {
		if got := justified(configs, "security", at(tc.first), at(tc.last), at(tc.at)); got != tc.want {
			t.Errorf("%v: %v", tc, got)
		}
	}
	configs[0].config, configs[1].config = short, c // lengthened: acts at once
	if justified(configs, "security", at(10*day), at(11*day), at(101*day)) {
		t.Error("a lengthened retention acts at once")
	}
}

func TestKilledAtEveryStepOfAPass(t *testing.T) {
	f, dir := agedFeed(t)
	closeLedger(t, f.l)
	f.l = open(t, dir, Config{})
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	old, _ := os.ReadFile(zips[0])
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	done, _ := os.ReadFile(zips[0])
	want := allLines(t, dir)
	if bytes.Equal(old, done) {
		t.Fatal("nothing was rewritten")
	}
	for name, damage := range map[string]func(){
		"after the decision": func() { os.WriteFile(zips[0], old, 0o600) },
		"mid-rewrite":        func() { os.WriteFile(zips[0], old, 0o600); os.WriteFile(zips[0]+".tmp", done[:len(done)/2], 0o600) },
		"before the rename":  func() { os.WriteFile(zips[0], old, 0o600); os.WriteFile(zips[0]+".tmp", done, 0o600) },
		"after the rename":   func() {},
	} {
		damage()
		mustValid(t, dir, VerifyOptions{}) // decided and not rewritten is pending, not damage
		l := open(t, dir, Config{})
		if err := l.Rewritten(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		closeLedger(t, l)
		if got := allLines(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s: not finished at the next start", name)
		}
		mustValid(t, dir, VerifyOptions{})
	}
}

// TestForgeriesBesideAGap has somebody rewrite a sealed segment after ageing
// out, with every hash made to fit.
func TestForgeriesBesideAGap(t *testing.T) {
	f, dir := agedFeed(t)
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	whole, _ := os.ReadFile(zips[0])
	var lines [][]byte
	eachLine(zips[0], true, func(raw []byte, _ int64) error { lines = append(lines, bytes.Clone(raw)); return nil })
	at := slices.IndexFunc(lines, func(b []byte) bool { return bytes.Contains(b, []byte(`"category":"security"`)) })
	forge := func(t *testing.T, kind string, lines [][]byte) {
		var z bytes.Buffer
		w := newZipper(&z)
		for _, raw := range lines {
			w.add(append(bytes.Clone(raw), '\n'))
		}
		w.flush()
		os.WriteFile(zips[0], z.Bytes(), 0o600)
		defer os.WriteFile(zips[0], whole, 0o600)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == kind }) {
			t.Errorf("want %s, got %+v", kind, r.Findings)
		}
	}
	t.Run("a survivor rewritten", func(t *testing.T) {
		forged := slices.Clone(lines)
		ln, _ := parseLine(bytes.Replace(lines[at], []byte(`"login"`), []byte(`"loser"`), 1))
		raw, _, hash := ln.append(nil, nil)
		forged[at] = bytes.TrimSuffix(raw, []byte("\n"))
		after := bytes.Clone(forged[at+1]) // a gap: its previous_hash binds nothing
		copy(after[bytes.Index(after, []byte(`"previous_hash":"`))+17:], hash[:])
		forged[at+1] = after
		forge(t, "root_mismatch", forged)
	})
	t.Run("a survivor hidden in a gap", func(t *testing.T) {
		a, _ := parseLine(lines[at-1])
		b, _ := parseLine(lines[at+1])
		if a.gap == nil || b.gap == nil {
			t.Fatal("the survivor stands between two gaps")
		}
		text := `{"aged_out":{"first_id":"` + a.gap.first.String() + `","last_id":"` + b.gap.last.String() + `","count":5},"previous_hash":"` +
			string(a.prev) + `","hash":"` + string(b.hash) + `"}`
		forge(t, "gap_unjustified", slices.Concat(lines[:at-1], [][]byte{[]byte(text)}, lines[at+2:]))
	})
	if !strings.Contains(string(lines[at-1]), "aged_out") {
		t.Error("no gap before the survivor")
	}
	mustValid(t, dir, VerifyOptions{})
}

func TestReadersDuringAPassSeeNoError(t *testing.T) {
	f, dir := agedFeed(t)
	ctx, cancel := context.WithCancel(context.Background())
	var readers sync.WaitGroup
	var rounds atomic.Int64
	loop := func(read func() error) {
		readers.Go(func() {
			for ctx.Err() == nil {
				if err := read(); err != nil {
					t.Error(err)
					return
				}
				rounds.Add(1)
			}
		})
	}
	security := func() (n int, err error) {
		return n, f.l.Query(context.Background(), Filter{Categories: []string{"security"}}, func([]byte) error { n++; return nil })
	}
	want, err := security()
	if err != nil {
		t.Fatal(err)
	}
	loop(func() error {
		if n, err := security(); err != nil || n != want {
			return fmt.Errorf("a query found %d of %d: %w", n, want, err)
		}
		return nil
	})
	loop(func() error {
		for id := ID(2); id < 400; id += 7 {
			if _, err := f.l.Get(id); err != nil && !errors.Is(err, ErrAgedOut) {
				return fmt.Errorf("get %s: %w", id, err)
			}
		}
		return nil
	})
	loop(func() error {
		r, err := f.l.Verify(context.Background(), VerifyOptions{})
		if err != nil || r.Status != "valid" {
			return fmt.Errorf("verify: %w %+v", err, r)
		}
		return nil
	})
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	for done := rounds.Load() + 6; rounds.Load() < done && !t.Failed(); {
		time.Sleep(time.Millisecond)
	}
	cancel()
	readers.Wait()
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// A signed configuration that was in force once and is sent again must not
// undo the one that came after it.
func TestReplayedConfigurationChangesNothing(t *testing.T) {
	dir := t.TempDir()
	short := DefaultConfig()
	short.Categories["security"] = Policy{Retention: time.Hour}
	f := &feed{t: t, l: open(t, dir, short)}
	f.logins(1)
	f.own()
	old := f.log[len(f.log)-1]
	closeLedger(t, f.l)

	f.l = open(t, dir, DefaultConfig())
	f.own()
	f.send(old.Subject, old.Data)
	if !rejectedAt(t, f.l, ID(f.seq)) {
		t.Errorf("the replayed configuration was believed: %v", f.l.view.Load().config)
	}
	current := f.log[len(f.log)-2]
	f.send(current.Subject, current.Data)
	if rejectedAt(t, f.l, ID(f.seq)) || len(f.l.OwnMessages()) > 0 {
		t.Error("the repetition of the configuration in force has an effect")
	}
	closeLedger(t, f.l)
	if r := mustValid(t, dir, VerifyOptions{}); len(r.Policies) != 3 {
		t.Errorf("policies %+v", r.Policies)
	}
}

// TestPassThatHasToWait: where files cannot be rewritten the decision stands,
// nobody waits for ever, and what can be rewritten is.
func TestPassThatHasToWait(t *testing.T) {
	finish := func(t *testing.T, f *feed, dir string, id ID) {
		if err := f.l.Rewritten(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		if cells, why := f.l.Pending(); len(cells) != 0 || why != "" {
			t.Errorf("pending %v %s", cells, why)
		}
		closeLedger(t, f.l)
		mustValid(t, dir, VerifyOptions{})
	}
	t.Run("clocks apart", func(t *testing.T) {
		f, dir := agedFeedUntil(t, time.Now().Add(-2*time.Hour)) // the stream's clock is behind
		due := f.l.Due(epoch.Add(f.at))
		id := ageNow(t, f)
		err := f.l.Rewritten(context.Background(), id)
		if !errors.Is(err, ErrPending) || !strings.Contains(err.Error(), "apart") {
			t.Fatal(err)
		}
		if cells, why := f.l.Pending(); !slices.Equal(cells, due) || why == "" {
			t.Errorf("pending %v %s, decided %v", cells, why, due)
		}
		if _, err := f.l.Get(2); !errors.Is(err, ErrAgedOut) {
			t.Errorf("a pending event: %v", err)
		}
		if r, err := f.l.Verify(context.Background(), VerifyOptions{}); err != nil || r.Status != "valid" {
			t.Errorf("pending is not damage: %v %+v", err, r)
		}
		f.at = time.Since(epoch)
		f.logins(1)
		finish(t, f, dir, id)
	})
	t.Run("a file that cannot be written", func(t *testing.T) {
		f, dir := agedFeed(t)
		due := f.l.Due(epoch.Add(f.at))
		inTheWay := filepath.Join(dir, due[0].Segment+suffixSealed+suffixTemp)
		if err := os.Mkdir(inTheWay, 0o700); err != nil {
			t.Fatal(err)
		}
		id := ageNow(t, f)
		err := f.l.Rewritten(context.Background(), id)
		if !errors.Is(err, ErrPending) || !strings.Contains(err.Error(), due[0].Segment) {
			t.Fatal(err)
		}
		if cells, _ := f.l.Pending(); !slices.Equal(cells, due[:1]) {
			t.Errorf("the others had to wait too: %v", cells)
		}
		if err := os.Remove(inTheWay); err != nil {
			t.Fatal(err)
		}
		finish(t, f, dir, id)
	})
}

func TestPreviewIsWhatAPassGivesBack(t *testing.T) {
	f, dir := agedFeed(t)
	due := f.l.Due(epoch.Add(f.at))
	var told atomic.Int64
	preview, err := f.l.Preview(context.Background(), due, func(done, total int) {
		if told.Add(1); total != len(due) {
			t.Errorf("%d of %d", done, total)
		}
	})
	if err != nil || len(preview) != len(due) || int(told.Load()) != len(due) {
		t.Fatal(err, preview, told.Load())
	}
	before := f.l.Status().TotalSizeBytes
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	freed := int64(0)
	for i, s := range f.l.Sizes(due) {
		if s.After != preview[i].After || preview[i].Before <= preview[i].After {
			t.Errorf("previewed %+v, got %+v", preview[i], s)
		}
		freed += preview[i].Before - preview[i].After
	}
	line, _ := f.l.Get(id)
	if got := before + int64(len(line)) + 1 - f.l.Status().TotalSizeBytes; got != freed {
		t.Errorf("%d bytes came back, previewed %d", got, freed)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := f.l.Preview(cancelled, due, func(int, int) {}); err == nil {
		t.Error("a preview goes on when nobody waits")
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// TestEveryByteOfAGapCounts changes each byte of a gap line in turn: none may
// stay unnoticed.
func TestEveryByteOfAGapCounts(t *testing.T) {
	f, dir := agedFeed(t)
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, f.l)
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	lines := allLines(t, dir)
	at := slices.IndexFunc(lines, func(s string) bool { return strings.HasPrefix(s, `{"aged_out"`) })
	if at < 0 {
		t.Fatal("no gap")
	}
	gapLine := strings.TrimSuffix(lines[at], "\n")
	whole, _ := os.ReadFile(zips[0])
	for i := range gapLine {
		forged := []byte(gapLine)
		forged[i]++
		var z bytes.Buffer
		w := newZipper(&z)
		eachLine(zips[0], true, func(raw []byte, _ int64) error {
			if string(raw) == gapLine {
				raw = forged
			}
			return w.add(append(bytes.Clone(raw), '\n'))
		})
		w.flush()
		os.WriteFile(zips[0], z.Bytes(), 0o600)
		if r, err := VerifyDir(context.Background(), dir, VerifyOptions{}); err != nil || r.Status == "valid" {
			t.Errorf("byte %d: %v, valid: %s", i, err, forged)
		}
		os.WriteFile(zips[0], whole, 0o600)
	}
	mustValid(t, dir, VerifyOptions{})
}
