package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"home.lab/event-store/ledger/sample"
)

// A known is an event as its message tells: the model never asks the ledger.
type known struct {
	id                                      ID
	at                                      time.Time
	category, action, actor, target, result string
	text                                    string // lower case
}

// A model is a plain list of the events of a ledger, and the scan to compare
// every query with.
type model struct {
	t      *testing.T
	f      *feed
	sample *sample.Generator
	random *rand.Rand
	mu     sync.Mutex
	events []known
	gone   map[ID]bool
}

func newModel(t *testing.T, dir string, start time.Time) *model {
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	m := &model{t: t, f: &feed{t: t, l: open(t, dir, c)}, sample: sample.New(7), random: rand.New(rand.NewPCG(1, 2)), gone: map[ID]bool{}}
	m.f.at = start.Sub(epoch)
	return m
}

// take notes the messages that the feed sent.
func (m *model) take() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, msg := range m.f.log[len(m.events):] {
		k := known{id: ID(msg.Seq), at: msg.Time.Truncate(time.Microsecond), text: strings.ToLower(string(msg.Data))}
		if n := len(m.events); n > 0 && k.at.Before(m.events[n-1].at) {
			m.t.Fatal("the feed's clock stepped back")
		}
		if action, own := strings.CutPrefix(msg.Subject, subjectOwn); own {
			k.category, k.action, k.actor, k.result = CategoryLedger, action, ActorStore, "success"
		} else {
			var e struct{ Category, Action, Actor, Target, Result string }
			if err := json.Unmarshal(msg.Data, &e); err != nil {
				m.t.Fatal(err)
			}
			k.category, k.action, k.actor, k.target, k.result = e.Category, e.Action, e.Actor, e.Target, e.Result
		}
		m.events = append(m.events, k)
	}
}

// add sends n events, step apart.
func (m *model) add(n int, step time.Duration) {
	batch := make([]Message, n)
	for i := range batch {
		category, event := m.sample.Next()
		m.f.seq++
		m.f.at += step
		batch[i] = Message{Seq: m.f.seq, Time: epoch.Add(m.f.at), Subject: "events." + category, Data: event}
	}
	m.f.log = append(m.f.log, batch...)
	project(m.t, m.f.l, batch...)
	m.take()
}

func (m *model) known() []known {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.events
}

// parts of a filter, each of which may be there or not.
const filterParts = 10

// filter makes one with the parts of a mask, with values that occur, mostly.
func (m *model) filter(mask int, events []known) Filter {
	r := m.random
	pick := func() known { return events[r.IntN(len(events))] }
	values := func(of func(known) string) []string {
		v := []string{of(pick()), "nothing-like-this"}
		for range r.IntN(3) {
			v = append(v, of(pick()))
		}
		if v = slices.DeleteFunc(v, func(s string) bool { return s == "" }); r.IntN(8) > 0 {
			r.Shuffle(len(v), func(i, j int) { v[i], v[j] = v[j], v[i] })
		} else {
			v = v[:1]
		}
		return v
	}
	f := Filter{Before: events[len(events)-1].id + 1, Ascending: r.IntN(2) == 0, Limit: []int{0, 0, 1, 2, 50}[r.IntN(5)]}
	for part := range filterParts {
		if mask&(1<<part) == 0 {
			continue
		}
		switch part {
		case 0:
			f.Categories = values(func(k known) string { return k.category })
		case 1:
			f.Actions = values(func(k known) string { return k.action })
		case 2:
			f.Actors = values(func(k known) string { return k.actor })
		case 3:
			f.Targets = values(func(k known) string { return k.target })
		case 4:
			f.Results = values(func(k known) string { return k.result })
		case 5:
			f.Start = m.moment(pick().at)
		case 6:
			f.End = m.moment(pick().at)
		case 7:
			f.After = pick().id
		case 8:
			f.Before = pick().id
		case 9:
			f.Text = []string{"POSTGRES", "user-alice", "did not Finish", "node-0", "llama3.3", "no such text"}[r.IntN(6)]
		}
	}
	return f
}

// moment is a time near or at an event's: itself, beside it, its hour or its day.
func (m *model) moment(at time.Time) time.Time {
	switch m.random.IntN(5) {
	case 0:
		return at.Add(time.Nanosecond)
	case 1:
		return at.Add(-time.Microsecond)
	case 2:
		return at.Truncate(time.Hour)
	case 3:
		return at.Truncate(24 * time.Hour).Add(24*time.Hour - time.Microsecond)
	}
	return at
}

// scan is what a filter chooses, by looking at every event.
func (m *model) scan(f Filter, events []known) (all []known) {
	in := func(values []string, v string) bool { return len(values) == 0 || slices.Contains(values, v) }
	for _, k := range events {
		if !m.gone[k.id] && in(f.Categories, k.category) && in(f.Actions, k.action) && in(f.Actors, k.actor) && in(f.Targets, k.target) &&
			in(f.Results, k.result) && (f.Start.IsZero() || !k.at.Before(f.Start)) && (f.End.IsZero() || !k.at.After(f.End)) &&
			k.id > f.After && k.id < f.Before && strings.Contains(k.text, strings.ToLower(f.Text)) {
			all = append(all, k)
		}
	}
	if !f.Ascending {
		slices.Reverse(all)
	}
	return all
}

// check compares a query, its ids and its count with the scan.
func (m *model) check(state string, mask int) {
	m.t.Helper()
	events := m.known()
	f := m.filter(mask, events)
	all := m.scan(f, events)
	var want, got, ids []ID
	for _, k := range all {
		want = append(want, k.id)
	}
	if f.Limit > 0 {
		want = want[:min(len(want), f.Limit)]
	}
	ctx := context.Background()
	if err := m.f.l.Query(ctx, f, func(raw []byte) error {
		ln, err := parseLine(raw)
		got = append(got, ln.id)
		return err
	}); err != nil {
		m.t.Fatalf("%s: %+v: %v", state, f, err)
	}
	if !slices.Equal(got, want) {
		m.t.Fatalf("%s: %+v gives %d events, the scan %d: %v, not %v", state, f, len(got), len(want), got, want)
	}
	if err := m.f.l.IDs(ctx, f, func(id ID) error { ids = append(ids, id); return nil }); err != nil || !slices.Equal(ids, want) {
		m.t.Fatalf("%s: %+v gives %d ids, the scan %d: %v", state, f, len(ids), len(want), err)
	}
	m.checkCount(state, f, all)
}

func (m *model) checkCount(state string, f Filter, all []known) {
	m.t.Helper()
	count, err := m.f.l.Count(context.Background(), f)
	if err != nil {
		m.t.Fatalf("%s: %+v: %v", state, f, err)
	}
	type cell struct{ day, category string }
	want, got := map[cell]int64{}, map[cell]int64{}
	for _, k := range all {
		want[cell{k.at.Format(time.DateOnly), k.category}]++
	}
	for _, d := range count.Days {
		for c, n := range d.Categories {
			got[cell{d.Day, c}] += n
		}
	}
	if !maps.Equal(got, want) || count.Events != int64(len(all)) {
		m.t.Fatalf("%s: %+v counts %d %v, the scan %d %v", state, f, count.Events, got, len(all), want)
	}
}

// checkAll checks every step-th combination of parts.
func (m *model) checkAll(state string, step int) {
	m.t.Helper()
	for mask := m.random.IntN(step); mask < 1<<filterParts; mask += step {
		m.check(state, mask)
	}
}

func TestEveryFilterIsAPlainScan(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newModel(t, dir, time.Now().Add(-41*day))
	m.f.own()
	m.take()
	m.add(900, 97*time.Second)
	m.f.settleSeals()
	m.take()
	for len(m.f.l.view.Load().active.lines.Load().ids) < nearLines+20 {
		m.add(10, 97*time.Second)
	}
	m.checkAll("sealed and active", 1)

	// Segments end and are sealed all the while.
	stop := make(chan struct{})
	var appender sync.WaitGroup
	appender.Go(func() {
		for range 40 {
			select {
			case <-stop:
				return
			case <-time.After(3 * time.Millisecond):
				m.add(20, 11*time.Second)
			}
		}
	})
	m.checkAll("while events are appended", 3)
	close(stop)
	appender.Wait()
	m.f.settleSeals()
	m.take()

	closeLedger(t, m.f.l)
	m.f.l = open(t, dir, m.f.l.opts.Config)
	m.checkAll("after a restart", 5)
	m.damageIndexes(dir)
	m.ageOut(dir)
	closeLedger(t, m.f.l)
	mustValid(t, dir, VerifyOptions{})
}

// ageOut decides while the head is old, so that nothing is rewritten yet, and
// then lets the files be rewritten under queries.
func (m *model) ageOut(dir string) {
	m.f.at = time.Since(epoch) - 2*time.Hour
	m.f.logins(1)
	due := m.f.l.Due(epoch.Add(m.f.at))
	if len(due) < 5 {
		m.t.Fatalf("%d cells are due", len(due))
	}
	m.f.decide(due)
	m.take2()
	m.mu.Lock()
	for _, c := range due {
		first, _ := ParseID(c.FirstID)
		last := m.f.l.view.Load().segment(first).last
		for _, k := range m.events {
			if k.category == c.Category && k.id >= first && k.id <= last {
				m.gone[k.id] = true
			}
		}
	}
	m.mu.Unlock()
	m.checkAll("decided", 3)
	m.f.at = time.Since(epoch) - 10*time.Second
	m.f.logins(1)
	m.take2()
	m.checkAll("while files are rewritten", 9)
	if err := m.f.l.Rewritten(context.Background(), ID(m.f.seq)); err != nil {
		m.t.Fatal(err)
	}
	m.checkAll("rewritten", 2)
	closeLedger(m.t, m.f.l)
	m.f.l = open(m.t, dir, m.f.l.opts.Config)
	m.checkAll("rewritten, after a restart", 9)
	m.damageIndexes(dir)
}

// damageIndexes damages or removes indexes under the ledger and before it is
// opened: answers stay right, and the indexes are made again.
func (m *model) damageIndexes(dir string) {
	m.t.Helper()
	paths, _ := filepath.Glob(filepath.Join(dir, indexFolder, "*"+indexSuffix))
	if len(paths) < 5 {
		m.t.Fatalf("%d indexes", len(paths))
	}
	whole := map[string][]byte{}
	for _, p := range paths {
		whole[p], _ = os.ReadFile(p)
	}
	damages := map[string]func(i int, p string, b []byte) error{
		"removed":   func(_ int, p string, _ []byte) error { return os.Remove(p) },
		"cut":       func(_ int, p string, b []byte) error { return os.WriteFile(p, b[:m.random.IntN(len(b))], 0o600) },
		"another's": func(i int, p string, _ []byte) error { return os.WriteFile(p, whole[paths[(i+1)%len(paths)]], 0o600) },
		"older version": func(_ int, p string, b []byte) error {
			return os.WriteFile(p, append([]byte("ESINDEX\x00"), b[8:]...), 0o600)
		},
		"a flipped bit": func(_ int, p string, b []byte) error {
			b[m.random.IntN(len(b))] ^= 1 << m.random.IntN(8)
			return os.WriteFile(p, b, 0o600)
		},
	}
	for name, damage := range damages {
		for _, open := range []bool{true, false} {
			if !open {
				closeLedger(m.t, m.f.l)
			}
			for i, p := range paths {
				if err := damage(i, p, bytes.Clone(whole[p])); err != nil {
					m.t.Fatal(err)
				}
			}
			if open {
				m.f.l.cache.clear()
			} else {
				m.reopen(dir)
			}
			m.checkAll(fmt.Sprintf("index %s (under an open ledger: %t)", name, open), 83)
			if open {
				closeLedger(m.t, m.f.l)
				m.reopen(dir)
			}
			for _, p := range paths {
				if name == "a flipped bit" {
					os.WriteFile(p, whole[p], 0o600) // it is found by who reads that part
				} else if b, err := os.ReadFile(p); err != nil || !bytes.Equal(b, whole[p]) {
					m.t.Fatalf("index %s: %s was not made again as it was: %v", name, filepath.Base(p), err)
				}
			}
		}
	}
}

func (m *model) reopen(dir string) { m.f.l = open(m.t, dir, m.f.l.opts.Config) }

// take2 is take for messages of the feed's own making, which have no category
// in them.
func (m *model) take2() {
	for i, msg := range m.f.log[len(m.events):] {
		if category, ok := strings.CutPrefix(msg.Subject, "events."); ok {
			b := []byte(`{"category":"` + category + `","result":"success",` + string(msg.Data[1:]))
			m.f.log[len(m.events)+i].Data = b
		}
	}
	m.take()
}
