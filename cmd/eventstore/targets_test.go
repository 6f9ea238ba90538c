package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"home.lab/event-store/httpapi"
	"home.lab/event-store/ingest"
	"home.lab/event-store/ledger"
	"home.lab/event-store/ledger/sample"
)

var (
	targetEvents = flag.Int("events", 20_000, "events of the ledger that TestQueryTargets asks")
	targetFolder = flag.String("ledger", "", "folder where TestQueryTargets keeps its ledger, to ask it again; default a temporary one")
)

// TestQueryTargets fills a ledger with a month of events, asks it what people
// and pages ask, and prints what that takes beside the targets. Slow machines
// fail no test: wrong answers do.
//
//	go test ./cmd/eventstore -run QueryTargets -v -timeout 30m -events 5000000
func TestQueryTargets(t *testing.T) {
	if *targetEvents > 100_000 && !testing.Verbose() {
		t.Fatal("the table is printed with -v")
	}
	dir := *targetFolder
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "data")
	}
	m := &month{t: t, dir: dir, events: *targetEvents, random: rand.New(rand.NewPCG(3, 4))}
	m.fill()
	m.measureSizes()
	m.measureHandler()
	m.measureProcess()
	m.print()
}

// A month is a ledger of events over 30 days, and what was measured of it.
type month struct {
	t      *testing.T
	dir    string
	events int
	random *rand.Rand
	start  time.Time
	last   ledger.ID
	rows   []targetRow
}

// A targetRow is a line of the table. More is what no target is set for.
type targetRow struct{ name, target, measured, verdict, more string }

// row adds a measurement that should be below a target.
func (m *month) row(name string, target, measured float64, unit, more string) {
	verdict := "yes"
	if measured >= target {
		verdict = "NO"
	}
	m.rows = append(m.rows, targetRow{name, fmt.Sprintf("< %g %s", target, unit), fmt.Sprintf("%.3g %s", measured, unit), verdict, more})
}

func (m *month) print() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d events\ttarget\tmeasured\theld\t\n", m.last)
	for _, r := range m.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", r.name, r.target, r.measured, r.verdict, r.more)
	}
	w.Flush()
	m.t.Log("\n" + b.String())
}

func (m *month) open() *ledger.Ledger {
	m.t.Helper()
	l, err := ledger.Open(m.t.Context(), ledger.Options{Dir: m.dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		m.t.Fatal(err)
	}
	return l
}

// fill projects the month through the write path of the running store, the
// ledger's own messages between, unless an earlier run has.
func (m *month) fill() {
	l := m.open()
	defer l.Close()
	m.start = time.Now().Add(-30 * 24 * time.Hour)
	if m.last = l.Head().ID; m.last > 0 {
		m.start = l.Status().First
		return
	}
	s, began := sample.New(1), time.Now()
	step := 30 * 24 * time.Hour / time.Duration(m.events+1)
	at := m.start
	send := func(msgs ...ledger.Message) {
		for i := range msgs {
			at = at.Add(step)
			msgs[i].Seq, msgs[i].Time = uint64(l.Projected())+uint64(i)+1, at
		}
		if err := l.Project(m.t.Context(), msgs); err != nil {
			m.t.Fatal(err)
		}
	}
	own := func() {
		for _, o := range l.OwnMessages() {
			send(ledger.Message{Subject: "eventstore.ledger." + o.Action, Data: o.Data})
		}
	}
	const batch = 10_000
	for n := 0; n < m.events; n += batch {
		msgs := make([]ledger.Message, min(batch, m.events-n))
		for i := range msgs {
			category, event := s.Next()
			msgs[i] = ledger.Message{Subject: "events." + category, Data: event}
		}
		send(msgs...)
		if err := sealing(m.t.Context(), m.dir); err != nil {
			m.t.Fatal(err)
		}
		own()
	}
	if err := l.Wait(m.t.Context(), l.Projected()); err != nil {
		m.t.Fatal(err)
	}
	m.last = l.Head().ID
	m.t.Logf("filled with %d events in %s", m.last, time.Since(began).Round(time.Second))
}

// measureSizes compares the indexes with the lines.
func (m *month) measureSizes() {
	var lines, indexes int64
	for _, path := range m.glob("*.manifest.json") {
		var manifest struct{ Bytes int64 }
		b, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(b, &manifest)
		}
		if err != nil {
			m.t.Fatal(err)
		}
		lines += manifest.Bytes
	}
	for _, path := range m.glob("index/*.idx") {
		info, err := os.Stat(path)
		if err != nil {
			m.t.Fatal(err)
		}
		indexes += info.Size()
	}
	if lines > 0 {
		m.row("indexes of the lines they are for", 5, 100*float64(indexes)/float64(lines), "%", fmt.Sprintf("%d of %d bytes", indexes, lines))
	}
}

func (m *month) glob(pattern string) []string {
	paths, err := filepath.Glob(filepath.Join(m.dir, pattern))
	if err != nil {
		m.t.Fatal(err)
	}
	return paths
}

// measureHandler asks the API's handler, without a network between.
func (m *month) measureHandler() {
	began := time.Now()
	l := m.open()
	m.row("opening the ledger", 1000, milliseconds(time.Since(began)), "ms", "with its indexes")
	in, err := ingest.Open(m.t.Context(), ingest.Options{Dir: filepath.Join(m.dir, "jetstream"), Logger: slog.New(slog.DiscardHandler)}, l)
	if err != nil {
		m.t.Fatal(err)
	}
	api := httpapi.New(httpapi.Options{Ledger: l, Stream: stream{in}, Logger: slog.New(slog.DiscardHandler)}).Handler()
	defer l.Close()
	defer in.Close()
	categories := []string{"service", "system", "security", "ai", "user", "config", "error"}
	actors := m.actors(api)
	query := func(of ...string) func(int) string {
		return func(i int) string {
			v := url.Values{"limit": {"50"}}
			for k := 0; k < len(of); k += 2 {
				v.Add(of[k], of[k+1])
			}
			return "/events?" + v.Encode()
		}
	}
	m.measure(api, "newest 50", 1, 200, query())
	m.measure(api, "newest 50 of a category", 1, 200, func(i int) string { return query("category", categories[i%7])(i) })
	m.measure(api, "newest 50 of the rare actor", 1, 200, query("actor", sample.RareActor))
	day := func(i int) string { return m.start.AddDate(0, 0, 1+i*7%28).Format(time.DateOnly) }
	m.measure(api, "newest 50 of actor, category and a day", 1, 200, func(i int) string {
		return query("actor", actors[i%20%len(actors)], "category", categories[i%4], "start_time", day(i%20), "end_time", day(i%20))(i)
	})
	m.measure(api, "get by id", 0.5, 2000, func(int) string { return "/events/" + ledger.ID(1+m.random.Int64N(int64(m.last))).String() })
	m.measure(api, "count by category and day", 20, 50, func(int) string { return "/events/count" })
	m.measure(api, "count of an actor", 20, 50, func(i int) string { return "/events/count?actor=" + actors[i%20%len(actors)] })
	m.measure(api, "status", 0.2, 1000, func(int) string { return "/status" })
}

// actors are those of the newest events.
func (m *month) actors(api http.Handler) (names []string) {
	var events []struct{ Actor string }
	if err := json.Unmarshal(m.ask(api, "/events?limit=1000"), &events); err != nil {
		m.t.Fatal(err)
	}
	for _, e := range events {
		if !slices.Contains(names, e.Actor) {
			names = append(names, e.Actor)
		}
	}
	return names
}

func (m *month) ask(api http.Handler, path string) []byte {
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequestWithContext(m.t.Context(), "GET", path, nil))
	if w.Code != http.StatusOK {
		m.t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	return w.Body.Bytes()
}

// measure asks n times and takes the median. What was asked for the first time
// is told beside it: it has to inflate what the next one finds in memory.
func (m *month) measure(api http.Handler, name string, target float64, n int, path func(i int) string) {
	asked := map[string]bool{}
	var first, all []time.Duration
	for i := range n {
		p := path(i)
		began := time.Now()
		m.ask(api, p)
		took := time.Since(began)
		if all = append(all, took); !asked[p] {
			asked[p] = true
			first = append(first, took)
		}
	}
	m.row(name, target, milliseconds(quantile(all, 0.5)), "ms",
		fmt.Sprintf("p99 %.3g ms; for the first time: p50 %.3g ms, %d of %d", milliseconds(quantile(all, 0.99)), milliseconds(quantile(first, 0.5)), len(first), n))
}

func quantile(d []time.Duration, q float64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[min(len(d)-1, int(q*float64(len(d))))]
}

// measureProcess starts the program itself on the ledger, with its NATS.
func (m *month) measureProcess() {
	dir := m.t.TempDir()
	n := &node{dir: m.dir, http: freeAddress(m.t), nats: freeAddress(m.t), log: filepath.Join(dir, "log")}
	n.endWith(m.t)
	m.row("start of the program", 1000, milliseconds(m.startTimed(n, time.Minute)), "ms", "until it is healthy")
	for i := range 200 {
		m.get(n, []string{"/events?limit=50&actor=" + sample.RareActor, "/status", "/events?category=ai&limit=50", "/events/count",
			"/events/" + ledger.ID(1+m.random.Int64N(int64(m.last))).String()}[i%5])
	}
	for end := time.Now().Add(10 * time.Minute); !strings.Contains(m.get(n, "/status"), `"chain_valid":true`); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			m.t.Fatal("the background verification did not end with a valid chain")
		}
	}
	m.row("resident memory with the embedded NATS", 150, memory(m.t, n, "VmRSS"), "MiB",
		fmt.Sprintf("after the background verification; at most %.0f", memory(m.t, n, "VmHWM")))
	n.stop(m.t)
	if err := os.RemoveAll(filepath.Join(m.dir, "index")); err != nil {
		m.t.Fatal(err)
	}
	m.row("start of the program without any index", 60, m.startTimed(n, 10*time.Minute).Seconds(), "s", "until it is healthy")
	n.stop(m.t)
}

// startTimed starts the store and gives the time until it is healthy.
func (m *month) startTimed(n *node, patience time.Duration) time.Duration {
	began := time.Now()
	n.launch(m.t)
	for time.Since(began) < patience {
		if res, err := http.Get(n.url() + "/health"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return time.Since(began)
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	m.t.Fatalf("not healthy after %s", patience)
	return 0
}

func (m *month) get(n *node, path string) string {
	ctx, cancel := context.WithTimeout(m.t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", n.url()+path, nil)
	if err != nil {
		m.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		m.t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %d %v", path, res.StatusCode, err)
	}
	return string(body)
}

// memory reads a size of the store's process, in MiB; 0 where there is no /proc.
func memory(t *testing.T, n *node, name string) float64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if os.IsNotExist(err) {
		return 0
	}
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), name+":")
	kib, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib / 1024
}
