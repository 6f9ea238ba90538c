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
		if r := mustValid(t, dir, VerifyOptions{}); (r.Pending > 0) != (name != "after the rename") { // pending is no damage
			t.Errorf("%s: %d events are pending", name, r.Pending)
		}
		l := open(t, dir, Config{})
		if err := l.Rewritten(context.Background(), id); err != nil {
			t.Fatal(err)
		}
		closeLedger(t, l)
		if got := allLines(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s: not finished at the next start", name)
		}
		if r := mustValid(t, dir, VerifyOptions{}); r.Pending != 0 {
			t.Errorf("%s: %d events are pending afterwards", name, r.Pending)
		}
	}
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

// Nothing of what aged out stays in an index or in memory: not even a name.
func TestIndexForgetsWhoAgedOut(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c), at: time.Since(epoch) - 40*day}
	f.own()
	f.send("events.service", []byte(`{"action":"left-no-trace","actor":"forgotten","target":"somewhere"}`))
	f.mixed(450)
	f.at = time.Since(epoch) - 10*time.Second
	f.mixed(1)
	f.settleSeals()
	for _, name := range []string{"forgotten", "left-no-trace", "somewhere"} {
		if !bytes.Contains(indexes(t, dir), []byte(name)) {
			t.Fatalf("%s is in no index", name)
		}
	}
	find := func() (n int) {
		err := f.l.Query(t.Context(), Filter{Actors: []string{"forgotten"}}, func([]byte) error { n++; return nil })
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if find() != 1 {
		t.Fatal("the event is not found")
	}
	id := ageNow(t, f)
	if err := f.l.Rewritten(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"forgotten", "left-no-trace", "somewhere"} {
		if bytes.Contains(indexes(t, dir), []byte(name)) {
			t.Errorf("%s is still in an index", name)
		}
	}
	if find() != 0 || len(f.l.cache.lines.young)+len(f.l.cache.lines.old) > 0 {
		t.Error("the line is still in memory")
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// indexes is all that the index files hold.
func indexes(t *testing.T, dir string) (all []byte) {
	paths, _ := filepath.Glob(filepath.Join(dir, indexFolder, "*"))
	if len(paths) == 0 {
		t.Fatal("there are no indexes")
	}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
	}
	return all
}
