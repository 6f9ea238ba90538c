package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What is given is JSON, whatever became of a line: one that is none any more
// is passed over by queries, in whatever way they find it, and damaged for who
// asks for it. An edited event is JSON and given as it stands.
func TestALineThatIsNoJSONAnyMoreIsNotGiven(t *testing.T) {
	t.Parallel()
	const lines = 200
	for name, damage := range map[string][2]string{
		"control character": {`"target":"host/cache-0150"`, "\"target\":\"host/cache-015\x01\""},
		"bracket":           {`"data":{"container_id`, `"data":["container_id`},
		"escape":            {`"image":"docker.io`, `"image":"\ocker.io`},
		"not UTF-8":         {`"image":"docker.io`, "\"image\":\"\xffocker.io"},
		"number":            {`"exit_code":`, `"exit_code":0`},
	} {
		dir := t.TempDir()
		l := open(t, dir, Config{})
		batch := make([]Message, lines)
		for i := range batch {
			batch[i] = realistic(uint64(i) + 1)
		}
		project(t, l, batch...)
		closeLedger(t, l)
		path, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
		whole := allBytes(t, path[0])
		split := bytes.SplitAfter(whole, []byte("\n"))
		split[149] = bytes.Replace(split[149], []byte(damage[0]), []byte(damage[1]), 1)
		split[99] = bytes.Replace(split[99], []byte(`"postgres`), []byte(`"Postgres`), 1)
		if err := os.WriteFile(path[0], bytes.Join(split, nil), 0o600); err != nil {
			t.Fatal(err)
		}
		l = open(t, dir, Config{})
		if _, err := l.Get(150); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := l.Get(100); err != nil {
			t.Errorf("%s: an edited event: %v", name, err)
		}
		for _, f := range []Filter{{}, {Limit: 60}, {Limit: 60, Ascending: true, After: 140}, {Results: []string{"success"}}, {Results: []string{"success"}, Limit: 70},
			{Text: "POSTGRES"}, {Before: 160, After: 140}} {
			want := min(f.Before-1, lines) - f.After - 1 // none: the highest id
			if f.Before == 0 {
				want = lines - f.After - 1
			}
			if f.Limit > 0 {
				want = min(want, ID(f.Limit))
			}
			n := ID(0)
			err := l.Query(context.Background(), f, func(line []byte) error {
				n++
				if !json.Valid(line) {
					t.Errorf("%s, %+v: %q", name, f, line)
				}
				return nil
			})
			if err != nil || n != want {
				t.Errorf("%s, %+v: %d events, want %d: %v", name, f, n, want, err)
			}
		}
		closeLedger(t, l)
		if r, err := VerifyDir(context.Background(), dir, VerifyOptions{}); err != nil || r.Status != "invalid" {
			t.Errorf("%s: %v %+v", name, err, r)
		}
		if err := os.WriteFile(path[0], whole, 0o600); err != nil {
			t.Fatal(err)
		}
		mustValid(t, dir, VerifyOptions{})
	}
}

// A running store reads around a segment whose file is gone, sealed or not, as
// it does after a restart.
func TestASegmentThatIsGoneDoesNotStopReadsOfTheRest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 1 << 20
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	batch := make([]Message, 6000)
	for i := range batch {
		batch[i] = realistic(f.seq + uint64(i) + 1)
	}
	project(t, f.l, batch...)
	f.seq, f.at = f.seq+uint64(len(batch)), 7000*time.Second
	f.settleSeals()
	closeLedger(t, f.l)
	f.l = open(t, dir, c)
	v := f.l.view.Load()
	gone, active := v.segs[0], v.active
	for _, name := range []string{"with an index", "without"} {
		f.l.cache.clear()
		if name == "without" {
			gone.index.Store(nil)
		} else if gone.index.Load() == nil {
			t.Fatal("no index")
		}
		hidden := map[string]string{}
		for _, file := range []string{gone.name + suffixSealed, active.name + suffixPlain} {
			hidden[filepath.Join(dir, file)] = filepath.Join(t.TempDir(), file)
		}
		for from, to := range hidden {
			if err := os.Rename(from, to); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []ID{gone.first, gone.last, active.first} {
			if _, err := f.l.Get(id); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s: id %s: %v", name, id, err)
			}
		}
		if _, err := f.l.Get(gone.last + 1); err != nil {
			t.Errorf("%s: an id behind it: %v", name, err)
		}
		want := int(active.first - gone.last - 1)
		for _, filter := range []Filter{{}, {Ascending: true}, {Ascending: true, Limit: want}, {Text: "e"}, {Start: epoch.Add(1500 * time.Millisecond), Ascending: true}} {
			n := 0
			if err := f.l.Query(context.Background(), filter, func([]byte) error { n++; return nil }); err != nil || n != want {
				t.Errorf("%s, %+v: %d events, want %d: %v", name, filter, n, want, err)
			}
		}
		if n, err := f.l.Count(context.Background(), Filter{Text: "e"}); err != nil || n.Events != int64(want) {
			t.Errorf("%s: counted %d, want %d: %v", name, n.Events, want, err)
		}
		for from, to := range hidden {
			if err := os.Rename(to, from); err != nil {
				t.Fatal(err)
			}
		}
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
