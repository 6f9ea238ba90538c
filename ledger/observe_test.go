package ledger

import (
	"log/slog"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"
)

// What is counted elsewhere is what was done: each commit with its events, bytes and fsyncs, and each rejection once.
func TestCommitsAndRejectionsAreTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var total Commit
	rejected := map[string]int{}
	dir := t.TempDir()
	l, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Committed: func(c Commit) {
		mu.Lock()
		defer mu.Unlock()
		total.Events, total.Bytes, total.Fsyncs, total.Took = total.Events+c.Events, total.Bytes+c.Bytes, total.Fsyncs+c.Fsyncs, total.Took+c.Took
	}, Rejected: func(reason string) {
		mu.Lock()
		defer mu.Unlock()
		rejected[reason]++
	}})
	if err != nil {
		t.Fatal(err)
	}
	unknown, own := message(5, `{}`), message(6, `{}`)
	unknown.Subject, own.Subject = "events.nowhere", "eventstore.ledger.segment_sealed"
	bad := []Message{message(2, `{`), message(3, `{"actor":"a"}`), message(4, `{"actor":"`+strings.Repeat("a", 2<<20)+`"}`), unknown, own}
	project(t, l, append([]Message{login(1)}, bad...)...)
	for _, m := range bad { // a comparison projects again and rejects nothing
		if _, err := l.Compare().Matches(m); err != nil {
			t.Fatal(err)
		}
	}
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
	mu.Lock()
	defer mu.Unlock()
	size := int64(len(strings.Join(allLines(t, dir), "")) + 1) // the last newline is cut off
	if total.Events != 6 || total.Bytes != size || total.Fsyncs < 2 || total.Took <= 0 {
		t.Errorf("told of %+v, on disk are 6 events and %d bytes", total, size)
	}
	want := map[string]int{"malformed": 1, "invalid": 1, "too_large": 1, "category": 1, "own_message": 1}
	if !maps.Equal(rejected, want) {
		t.Errorf("told of rejections %v, want %v", rejected, want)
	}
}

// What a failed commit loses is projected again, and was not told of before.
func TestRejectionsAndTestimoniesAreToldOnceDespiteAFailedCommit(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	rejected, testified := 0, map[ID]string{}
	dir := t.TempDir()
	l, err := Open(t.Context(), Options{Dir: dir, Logger: slog.New(slog.DiscardHandler), Rejected: func(string) {
		mu.Lock()
		defer mu.Unlock()
		rejected++
	}, Testified: func(id ID, category string) {
		mu.Lock()
		defer mu.Unlock()
		if testified[id] != "" {
			t.Errorf("told of the testimony %s twice", id)
		}
		testified[id] = category
	}})
	if err != nil {
		t.Fatal(err)
	}
	f := &feed{t: t, l: l, at: time.Since(epoch)}
	f.own()
	f.logins(1)
	said, err := l.Testify(ActionChanged, map[string]any{"count": 1})
	if err != nil {
		t.Fatal(err)
	}
	first := f.seq + 1
	own, bad := message(first, string(said.Data)), message(first+1, `{`)
	own.Subject, own.Time, bad.Time = subjectOwn+said.Action, epoch.Add(f.at), epoch.Add(f.at)
	for range 3 {
		l.synced.file.Close() // the next write fails
		if err := l.Project(t.Context(), []Message{own, bad}); err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(t.Context(), ID(first+1)); err == nil {
			t.Fatal("committed")
		}
		if err := l.Recover(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	mu.Lock()
	if rejected != 0 || len(testified) != 0 {
		t.Errorf("told of %d rejections and the testimonies %v, none is committed", rejected, testified)
	}
	mu.Unlock()
	project(t, l, own, bad)
	closeLedger(t, l)
	if rejected != 1 || len(testified) != 1 || testified[ID(first)] != "config" {
		t.Errorf("told of %d rejections and the testimonies %v", rejected, testified)
	}
	mustValid(t, dir, VerifyOptions{})
}
