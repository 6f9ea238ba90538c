package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A member that cannot be inflated does not stop reads of the others, with an
// index and without: queries and pages go on, and an id in it is damaged.
func TestDamagedMemberDoesNotStopReadsOfTheRest(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 1 << 20
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	batch := make([]Message, 4000)
	for i := range batch {
		batch[i] = realistic(f.seq + uint64(i) + 1)
	}
	project(t, f.l, batch...)
	f.seq, f.at = f.seq+uint64(len(batch)), 5000*time.Second
	f.settleSeals()
	s := f.l.view.Load().segs[0]
	members := s.index.Load().members
	if len(members) < 4 {
		t.Fatalf("%d members", len(members))
	}
	path := filepath.Join(dir, s.name+suffixSealed)
	whole, _ := os.ReadFile(path)
	damaged := bytes.Clone(whole)
	for i := range 64 { // no block of a deflate stream begins so
		damaged[int(members[1].off)+memberHeader+i] = 0xff
	}
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	lost := int(members[2].first - members[1].first)
	check := func(state string) {
		t.Helper()
		for name, filter := range map[string]Filter{"all": {}, "by the index": {Results: []string{"success"}}, "by text": {Text: "POSTGRES"}} {
			for _, limit := range []int{0, 3000} {
				filter.Limit = limit
				want := int(f.seq) - lost
				if name != "all" {
					want = len(batch) - lost
				}
				if limit > 0 {
					want = limit
				}
				n := 0
				if err := f.l.Query(context.Background(), filter, func([]byte) error { n++; return nil }); err != nil || n != want && !(name == "by the index" && n == want+int(f.seq)-len(batch)) {
					t.Errorf("%s, %s: %d events, want %d: %v", state, name, n, want, err)
				}
			}
		}
		if _, err := f.l.Get(members[1].first + 5); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: an id in the member: %v", state, err)
		}
		for _, id := range []ID{members[0].first, members[2].first, members[3].first + 7} {
			if _, err := f.l.Get(id); err != nil {
				t.Errorf("%s: id %s: %v", state, id, err)
			}
		}
	}
	f.l.cache.clear()
	check("with the index")
	closeLedger(t, f.l)
	os.RemoveAll(filepath.Join(dir, indexFolder))
	f.l = open(t, dir, c)
	check("with an index made of the damaged file")
	s = f.l.view.Load().segs[0]
	s.index.Store(nil)
	check("without an index")
	closeLedger(t, f.l)
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	mustValid(t, dir, VerifyOptions{})
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
