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

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, Config{})
	defer l.Close()
	if _, err := Open(context.Background(), Options{Dir: dir, Logger: quiet}); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v", err)
	}
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
