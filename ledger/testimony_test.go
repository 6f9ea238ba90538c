package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// testify gives a feed whose clock is now, and a testimony of each action.
func testify(t *testing.T, c Config) (f *feed, dir string, own []OwnMessage) {
	t.Helper()
	dir = t.TempDir()
	f = &feed{t: t, l: open(t, dir, c), at: time.Since(epoch)}
	f.own()
	for _, action := range []string{ActionRefused, ActionChanged, ActionCleanup} {
		m, err := f.l.Testify(action, map[string]any{"count": 3, "sources": []any{map[string]any{"address": "10.0.0.7"}}})
		if err != nil {
			t.Fatal(err)
		}
		own = append(own, m)
	}
	return f, dir, own
}

func (f *feed) last() *line {
	f.t.Helper()
	raw, err := f.l.Get(ID(f.seq))
	if err != nil {
		f.t.Fatal(err)
	}
	ln, err := parseLine(raw)
	if err != nil {
		f.t.Fatal(err)
	}
	return &ln
}

func TestTestimoniesBecomeEventsOfTheirCategories(t *testing.T) {
	t.Parallel()
	f, dir, own := testify(t, DefaultConfig())
	want := []struct{ category, result string }{{"security", `"failure"`}, {"config", `"success"`}, {"config", `"success"`}}
	for i, m := range own {
		f.send(subjectOwn+m.Action, m.Data)
		ln := f.last()
		if string(ln.category) != want[i].category || string(ln.result) != want[i].result || string(ln.actor) != `"event-store"` ||
			string(ln.action) != `"`+m.Action+`"` || !bytes.Equal(ln.data, m.Data) {
			t.Errorf("%s: %s %s %s %s", m.Action, ln.category, ln.action, ln.result, ln.data)
		}
	}
	for reopened := range 2 {
		for _, m := range f.log {
			if same, err := f.l.Compare().Matches(m); !same || err != nil {
				t.Errorf("reopened %d: %s does not give its event: %v", reopened, m.Subject, err)
			}
		}
		closeLedger(t, f.l)
		mustValid(t, dir, VerifyOptions{})
		f.l = open(t, dir, DefaultConfig())
	}
	closeLedger(t, f.l)
}

func TestTestimonyOfAnAbsentCategoryIsAnError(t *testing.T) {
	t.Parallel()
	c := DefaultConfig()
	c.Categories = map[string]Policy{"error": {Retention: day}, "ai": {Retention: day}}
	f, dir, own := testify(t, c)
	for _, m := range own {
		f.send(subjectOwn+m.Action, m.Data)
		if ln := f.last(); string(ln.category) != CategoryError || string(ln.action) != `"`+m.Action+`"` {
			t.Errorf("%s: %s %s", m.Action, ln.category, ln.action)
		}
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// What the store did not sign, or not now, or not for this action, becomes an event_rejected.
func TestForgedTestimoniesAreRejected(t *testing.T) {
	t.Parallel()
	f, dir, own := testify(t, DefaultConfig())
	m := own[0]
	foreign := open(t, t.TempDir(), DefaultConfig())
	others, err := foreign.Testify(ActionRefused, nil)
	if err != nil {
		t.Fatal(err)
	}
	closeLedger(t, foreign)
	signed := func(statement string) []byte {
		data, err := f.l.keys.sign(ActionRefused, []byte(statement))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	now, nonce := microsOf(time.Now()).text(), strings.Repeat("ab", 16)
	for name, forged := range map[string]OwnMessage{
		"edited":          {m.Action, bytes.Replace(m.Data, []byte(`"count":3`), []byte(`"count":4`), 1)},
		"another action":  {ActionCleanup, m.Data},
		"unknown action":  {"ledger_praised", m.Data},
		"no signature":    {m.Action, m.Data[:bytes.Index(m.Data, []byte(`,"signature"`))]},
		"another's key":   others,
		"no JSON":         {m.Action, []byte("x")},
		"no nonce":        {ActionRefused, signed(`{"at":"` + now + `"}`)},
		"a short nonce":   {ActionRefused, signed(`{"at":"` + now + `","nonce":"abab"}`)},
		"no time":         {ActionRefused, signed(`{"nonce":"` + nonce + `"}`)},
		"another time":    {ActionRefused, signed(`{"at":"now","nonce":"` + nonce + `"}`)},
		"a time long ago": {ActionRefused, signed(`{"at":"0001-01-01T00:00:00.000000Z","nonce":"` + nonce + `"}`)},
		"in two hours":    {ActionRefused, signed(`{"at":"` + microsOf(time.Now().Add(2*time.Hour)).text() + `","nonce":"` + nonce + `"}`)},
	} {
		f.send(subjectOwn+forged.Action, forged.Data)
		if !rejectedAt(t, f.l, ID(f.seq)) {
			t.Errorf("%s: believed", name)
		}
	}
	f.send("events.security", []byte(`{"action":"logins_refused","actor":"event-store"}`))
	if !rejectedAt(t, f.l, ID(f.seq)) {
		t.Error("a publisher speaks as the store")
	}
	f.send(subjectOwn+m.Action, m.Data)
	if rejectedAt(t, f.l, ID(f.seq)) {
		t.Error("the genuine one is rejected")
	}
	f.at += 59 * time.Minute
	if f.send(subjectOwn+m.Action, m.Data); rejectedAt(t, f.l, ID(f.seq)) {
		t.Error("a repetition within the hour is the same event again")
	}
	f.at += 2 * time.Minute
	if f.send(subjectOwn+m.Action, m.Data); !rejectedAt(t, f.l, ID(f.seq)) {
		t.Error("an hour later it is believed again")
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// Who can write the file can make every hash fit, but not the store's signature.
func TestForgedLinesOfTheStoreAreFound(t *testing.T) {
	t.Parallel()
	f, dir, own := testify(t, DefaultConfig())
	f.logins(2)
	f.send(subjectOwn+own[0].Action, own[0].Data)
	closeLedger(t, f.l)
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	whole, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(whole, []byte("\n"))
	before, genuine := bytes.Join(lines[:len(lines)-2], nil), lines[len(lines)-2]
	for name, c := range map[string]struct {
		kind, old, new string
	}{
		"fewer logins":        {"bad_signature", `"count":3`, `"count":1`},
		"another action":      {"bad_signature", `"action":"logins_refused"`, `"action":"cleanup_requested"`},
		"an unknown action":   {"bad_signature", `"action":"logins_refused"`, `"action":"all_is_well"`},
		"another category":    {"unknown_own_event", `"category":"security"`, `"category":"ai"`},
		"the ledger's":        {"unknown_own_event", `"category":"security"`, `"category":"ledger"`},
		"a hole in security":  {"bad_signature", `"action":"logins_refused"`, `"action":"events_missing"`},
		"an hour and a half":  {"unknown_own_event", `"timestamp":"`, ""},
		"nothing is an error": {"", `"security"`, `"security"`},
	} {
		forged := genuine
		if c.new == "" && c.kind != "" {
			ln, _ := parseLine(bytes.TrimSuffix(genuine, []byte("\n")))
			forged = bytes.Replace(genuine, ln.timeText, []byte((ln.time + 3*testimonyWindow/2).text()), 1)
		} else {
			forged = bytes.Replace(forged, []byte(c.old), []byte(c.new), 1)
		}
		ln, err := parseLine(bytes.TrimSuffix(forged, []byte("\n")))
		if err != nil {
			t.Fatal(err)
		}
		raw, _, _ := ln.append(nil, nil)
		if err := os.WriteFile(files[0], append(bytes.Clone(before), raw...), 0o600); err != nil {
			t.Fatal(err)
		}
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if c.kind == "" && len(r.Findings) > 0 || c.kind != "" && !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == c.kind }) {
			t.Errorf("%s: want %q, got %+v", name, c.kind, r.Findings)
		}
	}
}

// Testimonies age out with their category, and what is left verifies.
func TestTestimoniesAgeLikeTheirCategory(t *testing.T) {
	t.Parallel()
	dir, c := t.TempDir(), DefaultConfig()
	c.MaxFileSize, c.Categories["security"] = 64<<10, Policy{Retention: 30 * day}
	f := &feed{t: t, l: open(t, dir, c)}
	f.at = time.Since(epoch) - 40*day
	f.own()
	statement := `{"at":"` + microsOf(epoch.Add(f.at)).text() + `","count":1,"nonce":"` + strings.Repeat("ab", 16) + `"}`
	data, err := f.l.keys.sign(ActionRefused, []byte(statement))
	if err != nil {
		t.Fatal(err)
	}
	f.send(subjectOwn+ActionRefused, data)
	told := ID(f.seq)
	if rejectedAt(t, f.l, told) {
		t.Fatal("not believed")
	}
	f.mixed(450)
	f.at = time.Since(epoch) - 10*time.Second
	f.mixed(1)
	f.settleSeals()
	id := f.decide(f.l.Due(epoch.Add(f.at)))
	if err := f.l.Rewritten(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if _, err := f.l.Get(told); !errors.Is(err, ErrAgedOut) {
		t.Errorf("the testimony: %v, want it aged out", err)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

func TestFollowerTestifiesNothing(t *testing.T) {
	t.Parallel()
	f, dir, _ := testify(t, DefaultConfig())
	f.logins(1)
	closeLedger(t, f.l)
	if err := os.Remove(filepath.Join(dir, keyFile)); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, DefaultConfig())
	defer closeLedger(t, l)
	if m, err := l.Testify(ActionRefused, nil); err == nil {
		t.Errorf("testified %s without a key", m.Data)
	}
}
