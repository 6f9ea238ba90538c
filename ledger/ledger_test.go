package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var quiet = slog.New(slog.DiscardHandler)

var epoch = time.Date(2025, 12, 24, 10, 0, 0, 123456789, time.UTC)

func open(t testing.TB, dir string, c Config) *Ledger {
	t.Helper()
	l, err := Open(context.Background(), Options{Dir: dir, Config: c, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func message(seq uint64, body string) Message {
	return Message{Seq: seq, Time: epoch.Add(time.Duration(seq) * time.Second), Subject: "events.security", Data: []byte(body)}
}

func login(seq uint64) Message {
	return message(seq, fmt.Sprintf(`{"action":"login","actor":"u%d","target":"host","data":{"n":%d,"text":"a\u00e9\u0001\n<&>"}}`, seq%7, seq))
}

func project(t testing.TB, l *Ledger, msgs ...Message) {
	t.Helper()
	if err := l.Project(context.Background(), msgs); err != nil {
		t.Fatal(err)
	}
	if err := l.Wait(context.Background(), ID(msgs[len(msgs)-1].Seq)); err != nil {
		t.Fatal(err)
	}
}

// feed plays the stream: it projects n logins and the own messages as they come.
type feed struct {
	t   testing.TB
	l   *Ledger
	seq uint64
	at  time.Duration
	log []Message
}

func (f *feed) send(subject string, data []byte) {
	f.seq++
	f.at += time.Second
	m := Message{Seq: f.seq, Time: epoch.Add(f.at), Subject: subject, Data: data}
	f.log = append(f.log, m)
	project(f.t, f.l, m)
}

func (f *feed) logins(n int) {
	for range n {
		f.send("events.security", login(f.seq+1).Data)
	}
}

func (f *feed) own() {
	for _, o := range f.l.OwnMessages() {
		f.send("eventstore.ledger."+o.Action, o.Data)
	}
}

// settleSeals waits for the sealer and sends the seals.
func (f *feed) settleSeals() {
	f.waitSealed()
	f.own()
}

func (f *feed) waitSealed() {
	for range 500 {
		if v := f.l.view.Load(); !slices.ContainsFunc(v.segs, func(s *segment) bool { return !s.sealed.Load() }) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.t.Fatal("the sealer did not finish")
}

func mustValid(t testing.TB, dir string, opts VerifyOptions) *Report {
	t.Helper()
	r, err := VerifyDir(context.Background(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	if r.Status != "valid" {
		t.Fatalf("not valid: %+v", r.Findings)
	}
	return r
}

func closeLedger(t testing.TB, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// allLines reads the chain with the standard library only.
func allLines(t testing.TB, dir string) []string {
	t.Helper()
	names, _ := filepath.Glob(filepath.Join(dir, "events_*.jsonl*"))
	slices.SortFunc(names, func(a, b string) int {
		return strings.Compare(strings.SplitN(a, ".jsonl", 2)[0], strings.SplitN(b, ".jsonl", 2)[0])
	})
	var lines []string
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		var r io.Reader = f
		if strings.HasSuffix(name, ".gz") {
			if r, err = gzip.NewReader(f); err != nil {
				t.Fatal(err)
			}
		}
		b, err := io.ReadAll(r)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, strings.SplitAfter(strings.TrimSuffix(string(b), "\n"), "\n")...)
	}
	return lines
}

func TestHashIsThatOfTheCanonicalEvent(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, message(1, `{"actor":"a","action":"b","data":{"z":1.50,"a":[1e2,12345678901234567890],"é":"\u20ac"}}`))
	closeLedger(t, l)
	got := strings.TrimSpace(allLines(t, dir)[0])
	// encoding/json sorts these names as RFC 8785 does; numbers are kept as they stand.
	var e map[string]json.RawMessage
	if err := json.Unmarshal([]byte(got), &e); err != nil {
		t.Fatal(err)
	}
	var hash string
	json.Unmarshal(e["hash"], &hash)
	delete(e, "hash")
	var pre bytes.Buffer
	enc := json.NewEncoder(&pre)
	enc.SetEscapeHTML(false)
	enc.Encode(e)
	sum := sha256.Sum256(bytes.TrimSpace(pre.Bytes()))
	if hex.EncodeToString(sum[:]) != hash {
		t.Errorf("hash %s is not that of %s", hash, pre.String())
	}
	want := `"data":{"a":[100,12345678901234567890],"z":1.5,"é":"€"}`
	if !strings.Contains(got, want) {
		t.Errorf("line %s lacks %s", got, want)
	}
	if !strings.HasPrefix(got, `{"id":"000000000001","timestamp":"2025-12-24T10:00:01.123456Z","category":"security","action":"b","actor":"a","target":null,`) {
		t.Errorf("line %s", got)
	}
	mustValid(t, dir, VerifyOptions{})
}

func TestReopenGoesOnWithTheChain(t *testing.T) {
	dir := t.TempDir()
	f := &feed{t: t}
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	for round := range 4 {
		f.l = open(t, dir, c)
		if got := f.l.Head().ID; uint64(got) != f.seq {
			t.Fatalf("round %d: head %s, want %d", round, got, f.seq)
		}
		f.own()
		f.logins(250)
		if round%2 == 0 {
			f.settleSeals()
		}
		if r, err := f.l.Verify(context.Background(), VerifyOptions{}); err != nil || r.Status != "valid" {
			t.Fatalf("live verification: %v %+v", err, r)
		}
		closeLedger(t, f.l)
	}
	r := mustValid(t, dir, VerifyOptions{})
	if r.Events != int64(f.seq) || r.Segments < 4 {
		t.Errorf("events %d of %d in %d segments", r.Events, f.seq, r.Segments)
	}
	f.l = open(t, dir, c)
	compare := f.l.Compare()
	for _, m := range f.log {
		if ok, err := compare.Matches(m); err != nil || !ok {
			t.Fatalf("message %d does not match its own event: %v", m.Seq, err)
		}
		m.Data = login(m.Seq + 1).Data
		if ok, err := compare.Matches(m); err != nil || ok {
			t.Fatalf("another message matches event %d: %v", m.Seq, err)
		}
	}
	closeLedger(t, f.l)
	// The same stream gives the same bytes elsewhere, with another configuration wanted.
	other := t.TempDir()
	pub, _ := os.ReadFile(filepath.Join(dir, pubFile))
	os.WriteFile(filepath.Join(other, pubFile), pub, 0o600)
	replica := open(t, other, DefaultConfig())
	if own := replica.OwnMessages(); own != nil {
		t.Errorf("a replica without the key sends %v", own)
	}
	project(t, replica, f.log...)
	closeLedger(t, replica)
	if !slices.Equal(allLines(t, dir), allLines(t, other)) {
		t.Error("two projections of one stream differ")
	}
	mustValid(t, other, VerifyOptions{})
}

func TestRejectedMessagesAreKept(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	msgs := []Message{
		message(1, "not json"),
		{Seq: 2, Time: epoch, Subject: "events.nosuch.x", Data: []byte(`{"action":"a","actor":"b"}`)},
		message(3, "\xff\xfe"),
		message(4, `{"action":"a","actor":"event-store"}`),
		message(5, `{"action":"a","actor":"b","category":"user"}`),
		message(6, `{"action":"a","actor":"b","x":1}`),
		message(7, `{"action":"a","actor":"b","data":{"n":1e400}}`),
		message(8, `{"action":"a","actor":"b","data":{"n":1,"n":2}}`),
		message(9, `{"action":"a","actor":"b","data":`+strings.Repeat(`{"a":`, 100_000)),
		message(10, `{"action":"a","actor":"b","data":{"s":"\ud800"}}`),
		{Seq: 11, Time: epoch, Subject: "eventstore.ledger.segment_sealed", Data: []byte(`{"signature":"x"}`)},
		{Seq: 12, Time: epoch, Subject: "eventstore.ledger.events_missing", Data: []byte(`{}`)},
		message(13, ``),
		message(14, `{"action":"","actor":"b"}`),
	}
	project(t, l, msgs...)
	compare := l.Compare()
	for _, m := range msgs {
		raw, err := l.Get(ID(m.Seq))
		if err != nil {
			t.Fatal(err)
		}
		var e struct {
			Category, Action, Target, Actor, Result string
			Data                                    struct {
				Reason, Payload  string
				Payload_encoding string
				Payload_bytes    int
			}
		}
		if err := json.Unmarshal(raw, &e); err != nil {
			t.Fatal(err)
		}
		if e.Action != "event_rejected" || e.Target != m.Subject || e.Result != "failure" || e.Data.Reason == "" || e.Data.Payload_bytes != len(m.Data) {
			t.Errorf("message %d became %.300s", m.Seq, raw)
		}
		if e.Data.Payload_encoding == "utf-8" && e.Data.Payload != string(m.Data) {
			t.Errorf("message %d: payload %q", m.Seq, e.Data.Payload)
		}
		if ok, err := compare.Matches(m); err != nil || !ok {
			t.Errorf("message %d does not match its own event: %v", m.Seq, err)
		}
	}
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}

func TestHolesBecomeEvents(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(3), login(4), login(10))
	if _, err := l.Get(2); err != nil {
		t.Errorf("events_missing takes the last missing id: %v", err)
	}
	if _, err := l.Get(7); !errors.Is(err, ErrNotFound) {
		t.Errorf("a missing id: %v", err)
	}
	if got := l.Status().MissingIDs; got != 7 {
		t.Errorf("missing ids %d, want 7", got)
	}
	closeLedger(t, l)
	l = open(t, dir, Config{})
	if got := l.Status().MissingIDs; got != 7 {
		t.Errorf("missing ids after a restart %d, want 7", got)
	}
	closeLedger(t, l)
	if r := mustValid(t, dir, VerifyOptions{}); len(r.Missing) != 2 || r.Missing[1] != (MissingRange{"000000000005", "000000000009"}) {
		t.Errorf("missing %v", r.Missing)
	}
}

func TestTimestampsNeverFall(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	back := login(2)
	back.Time = epoch.Add(-time.Hour)
	project(t, l, login(1), back)
	closeLedger(t, l)
	l = open(t, dir, Config{})
	back.Seq = 3
	project(t, l, back)
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}

func TestEveryCrashPointOfSealingRecovers(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(400)
	f.settleSeals()
	closeLedger(t, f.l)
	want := allLines(t, dir)
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	base := strings.TrimSuffix(zips[0], suffixSealed)
	var plain []byte
	eachLine(zips[0], true, func(raw []byte, _ int64) error { plain = append(append(plain, raw...), '\n'); return nil })
	zip, _ := os.ReadFile(zips[0])
	steps := map[string]func(){
		"temporary gz": func() {
			os.Remove(zips[0])
			os.Remove(base + suffixManifest)
			os.WriteFile(zips[0]+".tmp", zip[:9], 0o600)
		},
		"manifest in place":        func() { os.Remove(zips[0]); os.WriteFile(zips[0]+".tmp", zip, 0o600) },
		"gz in place":              func() {},
		"gz in place but damaged":  func() { os.WriteFile(zips[0], zip[:len(zip)/2], 0o600) },
		"manifest itself half-way": func() { os.Remove(zips[0]); os.Rename(base+suffixManifest, base+suffixManifest+".tmp") },
	}
	for name, damage := range steps {
		if err := os.WriteFile(base+suffixPlain, plain, 0o600); err != nil {
			t.Fatal(err)
		}
		damage()
		l := open(t, dir, c)
		(&feed{t: t, l: l, seq: f.seq, at: f.at}).settleSeals()
		closeLedger(t, l)
		if got := allLines(t, dir); !slices.Equal(got, want) {
			t.Fatalf("%s: %d lines, want %d", name, len(got), len(want))
		}
		if _, err := os.Stat(base + suffixPlain); err == nil {
			t.Errorf("%s: the plain file is still there", name)
		}
		mustValid(t, dir, VerifyOptions{})
	}
}

func TestTornLastLineIsCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1), login(2))
	closeLedger(t, l)
	path, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	whole, _ := os.ReadFile(path[0])
	for cut := len(whole) - 1; cut > 0; cut -= 37 {
		os.WriteFile(path[0], whole[:cut], 0o600)
		l = open(t, dir, Config{})
		next := uint64(l.Head().ID) + 1
		for seq := next; seq <= 2; seq++ {
			project(t, l, login(seq))
		}
		closeLedger(t, l)
		path, _ = filepath.Glob(filepath.Join(dir, "*.jsonl"))
		if got, _ := os.ReadFile(path[0]); !bytes.Equal(got, whole) {
			t.Fatalf("cut at %d: not the same ledger again", cut)
		}
	}
	mustValid(t, dir, VerifyOptions{})
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	defer l.Close()
	if _, err := Open(context.Background(), Options{Dir: dir, Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(260)
	f.settleSeals()
	f.logins(3)
	head := f.l.Head()
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
	names, _ := filepath.Glob(filepath.Join(dir, "events_*"))
	for _, name := range names {
		whole, _ := os.ReadFile(name)
		step := 1
		if len(whole) > 4000 {
			step = 211
		}
		for i := 0; i < len(whole); i += step {
			damaged := bytes.Clone(whole)
			damaged[i] ^= 1 << (i % 8)
			os.WriteFile(name, damaged, 0o600)
			r, err := VerifyDir(context.Background(), dir, VerifyOptions{Heads: []Head{head}})
			if err != nil {
				t.Fatalf("%s byte %d: %v", filepath.Base(name), i, err)
			}
			if r.Status == "valid" {
				t.Errorf("%s byte %d of %d: a flipped bit was not found", filepath.Base(name), i, len(whole))
			}
		}
		os.WriteFile(name, whole, 0o600)
	}
	mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(400)
	f.settleSeals()
	closeLedger(t, f.l)
	active, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	zips, _ := filepath.Glob(filepath.Join(dir, "*.gz"))
	edit := func(lines [][]byte) []byte { return bytes.Join(lines, nil) }
	whole, _ := os.ReadFile(active[0])
	lines := bytes.SplitAfter(bytes.TrimSuffix(whole, []byte("\n")), []byte("\n"))
	for name, tc := range map[string]struct {
		kind   string
		damage func()
		opts   VerifyOptions
	}{
		"a line removed":     {"broken_link", func() { os.WriteFile(active[0], edit(slices.Delete(slices.Clone(lines), 3, 4)), 0o600) }, VerifyOptions{}},
		"a line twice":       {"broken_link", func() { os.WriteFile(active[0], edit(slices.Insert(slices.Clone(lines), 3, lines[3])), 0o600) }, VerifyOptions{}},
		"an edited actor":    {"hash_mismatch", func() { os.WriteFile(active[0], bytes.Replace(whole, []byte(`"u1"`), []byte(`"u2"`), 1), 0o600) }, VerifyOptions{}},
		"a sealed file gone": {"segment_missing", func() { os.Remove(zips[0]) }, VerifyOptions{}},
		"a segment gone":     {"segment_missing", func() { os.Remove(zips[0]); os.Remove(strings.Replace(zips[0], ".jsonl.gz", ".manifest.json", 1)) }, VerifyOptions{}},
		"a manifest gone":    {"manifest_missing", func() { os.Remove(strings.Replace(zips[0], ".jsonl.gz", ".manifest.json", 1)) }, VerifyOptions{}},
		"an unknown head":    {"head_missing", func() {}, VerifyOptions{Heads: []Head{{ID: 1 << 40, Hash: GenesisHash}}}},
		"another head":       {"head_mismatch", func() {}, VerifyOptions{Heads: []Head{{ID: 7, Hash: GenesisHash}}}},
		"a floor":            {"policy_below_required", func() {}, VerifyOptions{Require: map[string]time.Duration{"security": 366 * day}}},
		"another public key": {"bad_signature", func() {
			os.Remove(filepath.Join(dir, pubFile))
			os.Remove(filepath.Join(dir, keyFile))
			k, _ := openKeys(t.TempDir())
			k.keep(dir)
		}, VerifyOptions{}},
	} {
		t.Run(name, func(t *testing.T) {
			saved := map[string][]byte{}
			all, _ := filepath.Glob(filepath.Join(dir, "*"))
			for _, p := range all {
				saved[p], _ = os.ReadFile(p)
			}
			tc.damage()
			r, err := VerifyDir(context.Background(), dir, tc.opts)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == tc.kind }) {
				t.Errorf("want a finding %s, got %+v", tc.kind, r.Findings)
			}
			for p, b := range saved {
				os.WriteFile(p, b, 0o600)
			}
			mustValid(t, dir, VerifyOptions{})
		})
	}
}

func TestQueryIsAPlainScan(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(700)
	f.settleSeals()
	f.logins(20)
	ids := func(filter Filter) (got []ID) {
		err := f.l.Query(context.Background(), filter, func(raw []byte) error {
			ln, err := parseLine(raw)
			got = append(got, ln.id)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	n := f.seq
	if got := ids(Filter{}); uint64(len(got)) != n || got[0] != ID(n) || got[n-1] != 1 {
		t.Errorf("all: %d", len(got))
	}
	if got := ids(Filter{Ascending: true, After: 100, Before: 104}); !slices.Equal(got, []ID{101, 102, 103}) {
		t.Errorf("range %v", got)
	}
	if got := ids(Filter{After: 300, Before: 500}); len(got) != 199 {
		t.Errorf("range of %d", len(got))
	}
	if got := ids(Filter{Actors: []string{"u3", "u4"}, Limit: 5}); len(got) != 5 {
		t.Errorf("actors %v", got)
	}
	if got := ids(Filter{Text: "A\u00c9"}); len(got) != 720 {
		t.Errorf("text in any case: %d", len(got))
	}
	if got := ids(Filter{Categories: []string{"user"}}); got != nil {
		t.Errorf("category %v", got)
	}
	for id := ID(1); id <= ID(n); id++ {
		raw, err := f.l.Get(id)
		if err != nil || !bytes.HasPrefix(raw, []byte(`{"id":"`+id.String())) {
			t.Fatalf("get %s: %v", id, err)
		}
	}
	if _, err := f.l.Get(ID(n + 1)); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

func TestOneLargeBatchPassesTheBackpressure(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	msgs := make([]Message, 60)
	for i := range msgs {
		msgs[i] = message(uint64(i)+1, `{"action":"a","actor":"b","data":{"s":"`+strings.Repeat("x", 800_000)+`"}}`)
	}
	project(t, l, msgs...)
	closeLedger(t, l)
	mustValid(t, dir, VerifyOptions{})
}

func TestFailedWriteStopsAndRecovers(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1))
	for seq := uint64(2); seq < 5; seq++ {
		l.synced.file.Close() // the next write fails
		notice := l.Notice()
		if err := l.Project(context.Background(), []Message{login(seq)}); err != nil {
			t.Fatal(err)
		}
		if err := l.Wait(context.Background(), ID(seq)); !errors.Is(err, ErrStopped) {
			t.Fatalf("a waiter of a failed commit got %v", err)
		}
		if err := l.Project(context.Background(), []Message{login(seq + 1)}); err == nil {
			t.Fatal("a failed ledger takes messages")
		}
		if _, err := l.Get(1); err != nil {
			t.Errorf("reads go on: %v", err)
		}
		if err := l.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		select {
		case <-notice:
		default:
			t.Fatal("who waits for the next commit was forgotten")
		}
		if got := l.Projected(); got != ID(seq-1) {
			t.Fatalf("recovered to %s, want %d", got, seq-1)
		}
		project(t, l, login(seq))
	}
	closeLedger(t, l)
	if r := mustValid(t, dir, VerifyOptions{}); r.Events != 4 {
		t.Errorf("%d events", r.Events)
	}
}

func TestUnwrittenBytesOfAFailedCommitAreCut(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	project(t, l, login(1))
	path, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	f, _ := os.OpenFile(path[0], os.O_WRONLY|os.O_APPEND, 0)
	f.Write(allBytes(t, path[0])) // as if a write had gone through and its fsync had failed
	f.Close()
	l.fail(errors.New("fsync failed"))
	if err := l.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	project(t, l, login(2))
	closeLedger(t, l)
	if r := mustValid(t, dir, VerifyOptions{}); r.Events != 2 {
		t.Errorf("%d events", r.Events)
	}
}

func allBytes(t *testing.T, path string) []byte {
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDamageIsKeptAndIsNoOtherHistory(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"another actor": func(b []byte) []byte { return bytes.Replace(b, []byte(`"u2"`), []byte(`"u9"`), 1) },
		"no event": func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"id":"000000000002"`), []byte(`"id":"00000000000x"`), 1)
		},
	} {
		dir := t.TempDir()
		l := open(t, dir, Config{})
		msgs := []Message{login(1), login(2), login(3), login(4)}
		project(t, l, msgs...)
		closeLedger(t, l)
		path, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		os.WriteFile(path[0], damage(allBytes(t, path[0])), 0o600)
		l = open(t, dir, Config{})
		compare := l.Compare()
		for _, m := range msgs {
			ok, err := compare.Matches(m)
			if damaged := m.Seq == 2; damaged != errors.Is(err, ErrDamaged) || !damaged && !ok {
				t.Errorf("%s: message %d: %v %v", name, m.Seq, ok, err)
			}
		}
		project(t, l, login(5))
		if raw, err := l.Get(4); err != nil || len(raw) == 0 {
			t.Errorf("%s: reads of the rest: %v", name, err)
		}
		closeLedger(t, l)
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil || r.Status != "invalid" || r.Findings[0].Line != 2 || r.Findings[0].ID != "000000000002" {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
}

// stopsAfter is a context that ends after it was asked n times.
type stopsAfter struct {
	context.Context
	n int
}

func (c *stopsAfter) Err() error {
	if c.n--; c.n < 0 {
		return context.Canceled
	}
	return nil
}

func TestCloseAfterACancelledProjectCommitsWhatWasProjected(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	var msgs []Message
	for seq := range uint64(3 * projectAtOnce) {
		msgs = append(msgs, login(seq+1))
	}
	err := l.Project(&stopsAfter{context.Background(), 2}, msgs)
	if !errors.Is(err, context.Canceled) || l.Projected() != 2*projectAtOnce {
		t.Fatalf("%v, projected %s", err, l.Projected())
	}
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("Close waits for a commit that nobody makes")
	}
	if r := mustValid(t, dir, VerifyOptions{}); r.Events != 2*projectAtOnce {
		t.Errorf("%d events", r.Events)
	}
}

// Somebody packs a sealed segment again, with one event altered: every line is
// still read, and the event is named.
func TestRepackedSegmentIsReadAndItsEditNamed(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(300)
	f.settleSeals()
	closeLedger(t, f.l)
	zips, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	var plain bytes.Buffer
	eachLine(zips[0], true, func(raw []byte, _ int64) error { plain.Write(append(raw, '\n')); return nil })
	edited := bytes.Replace(plain.Bytes(), []byte(`"n":100`), []byte(`"n":666`), 1)
	for _, tc := range []struct {
		content []byte
		kind    string
	}{{plain.Bytes(), "member_mismatch"}, {edited, "hash_mismatch"}} {
		var zipped bytes.Buffer
		z := gzip.NewWriter(&zipped)
		z.Write(tc.content)
		z.Close()
		if err := os.WriteFile(zips[0], zipped.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := VerifyDir(t.Context(), dir, VerifyOptions{})
		if err != nil || r.Status != "invalid" || r.Findings[0].Kind != tc.kind || r.Findings[0].ID == "" {
			t.Errorf("%s: %v %+v", tc.kind, err, r)
		}
		l := open(t, dir, c)
		for id := ID(1); id <= l.Head().ID; id++ {
			if _, err := l.Get(id); err != nil {
				t.Fatalf("%s: %s: %v", tc.kind, id, err)
			}
		}
		n := 0
		if err := l.Query(t.Context(), Filter{Actions: []string{"login"}}, func([]byte) error { n++; return nil }); err != nil || n != 300 {
			t.Errorf("%s: %d logins, %v", tc.kind, n, err)
		}
		closeLedger(t, l)
	}
}

// What can be configured can be chained: FormatAge and ParseAge agree up to the
// longest duration.
func TestAges(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2s": 2 * time.Second, "36h30m": 36*time.Hour + 30*time.Minute, "1d12h": 36 * time.Hour, "99999d": 99999 * day,
		"106751d": 106751 * day, "2562047h": 2562047 * time.Hour, "forever": 0,
	} {
		if got, err := ParseAge(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if got, err := ParseAge(FormatAge(want)); err != nil || got != want {
			t.Errorf("%s written as %s: %v", text, FormatAge(want), err)
		}
	}
	for _, text := range []string{"", "0s", "0d", "-1d", "106752d", "106751d24h", "99999999999999999999d", "1.5d", "d", "never"} {
		if got, err := ParseAge(text); err == nil {
			t.Errorf("%q is %s", text, got)
		}
	}
}
