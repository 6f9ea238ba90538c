package ledger

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNothingIsChainedToAnIdThatIsNotItsOwn forges lines of the active segment:
// no id on disk moves the tail to where no message was, and nothing is chained
// to a last line that does not follow.
func TestNothingIsChainedToAnIdThatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	sound := t.TempDir()
	f := &feed{t: t, l: open(t, sound, Config{})}
	f.logins(12)
	head := f.l.Head()
	closeLedger(t, f.l)
	paths, _ := filepath.Glob(filepath.Join(sound, "*"+suffixPlain))
	segment, lines := filepath.Base(paths[0]), linesOf(t, paths[0])
	other := func(i int, id string, hash bool) func(path string) {
		return func(path string) {
			forged := bytes.Replace(lines[i], []byte(`"id":"`+ID(i+1).String()), []byte(`"id":"`+id), 1)
			if hash {
				ln, err := parseLine(forged[:len(forged)-1])
				if err != nil {
					t.Fatal(err)
				}
				forged, _, _ = ln.append(nil, nil)
			}
			os.WriteFile(path, bytes.Join([][]byte{bytes.Join(lines[:i], nil), forged, bytes.Join(lines[i+1:], nil)}, nil), 0o600)
		}
	}
	behind := func(path string) string {
		return filepath.Join(filepath.Dir(path), "events_20990101_000000"+suffixPlain)
	}
	for name, tc := range map[string]struct {
		damage func(path string)
		head   ID // that the ledger has
		goesOn bool
	}{
		"a flipped id in the middle": {other(5, "000000100006", false), head.ID, true},
		"another id in the middle":   {other(5, "000000100006", true), head.ID, true},
		"a flipped id at the end":    {other(11, "00000010000c", false), head.ID - 1, false},
		"another id at the end":      {other(11, "00000010000c", true), head.ID - 1, false},
		"the highest id at the end":  {other(11, "ffffffffffff", true), head.ID - 1, false},
		"no id at the end":           {other(11, "000000000000", true), head.ID - 1, false},
		"the last but one gone":      {func(path string) { os.WriteFile(path, bytes.Join(append(lines[:10:10], lines[11]), nil), 0o600) }, head.ID, true},
		"a time of long ago": {func(path string) {
			patch(t, path, `"timestamp":"2025-12-24T10:00:06`, `"timestamp":"0001-12-24T10:00:06`)
		}, head.ID, true},
		"a copy of it behind it":  {func(path string) { copyTo(t, path, behind(path)) }, head.ID, false},
		"an older line behind it": {func(path string) { os.WriteFile(behind(path), lines[0], 0o600) }, head.ID, false},
	} {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
			t.Fatal(err)
		}
		tc.damage(filepath.Join(dir, segment))
		r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil || r.Status != "invalid" || r.Findings[0].Line == 0 || r.Findings[0].ID == "" || !strings.HasPrefix(r.Findings[0].File, "events_") {
			t.Errorf("%s: %v %+v", name, err, r)
		}
		l := open(t, dir, Config{})
		if l.Head().ID != tc.head {
			t.Errorf("%s: head %s, want %s", name, l.Head().ID, tc.head)
		}
		m := login(uint64(head.ID) + 1)
		m.Time = epoch.Add(time.Hour)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if err = l.Project(ctx, []Message{m}); err == nil {
			err = l.Wait(ctx, head.ID+1)
		}
		cancel()
		if tc.goesOn != (err == nil) {
			t.Errorf("%s: goes on: %v", name, err)
		}
		n := 0
		if err := l.Query(context.Background(), Filter{}, func([]byte) error { n++; return nil }); err != nil || n < len(lines)-1 {
			t.Errorf("%s: %d events can be read: %v", name, n, err)
		}
		if raw, err := l.Get(head.ID + 1); tc.goesOn && (err != nil || !bytes.Contains(raw, []byte(`"previous_hash":"`+head.Hash))) {
			t.Errorf("%s: %s %v", name, raw, err)
		}
		closeLedger(t, l)
	}
	mustValid(t, sound, VerifyOptions{Heads: []Head{head}})
}

// TestASegmentRenamedToTheFrontIsNotTheTail: what is behind the others' last id
// is there, so nothing may take its ids.
func TestASegmentRenamedToTheFrontIsNotTheTail(t *testing.T) {
	t.Parallel()
	dir, _ := sealedFolder(t)
	active, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	front := filepath.Join(dir, "events_20000101_000000"+suffixPlain)
	if err := os.Rename(active[0], front); err != nil {
		t.Fatal(err)
	}
	l := open(t, dir, faultConfig())
	if l.Err() == nil {
		t.Error("it would go on")
	}
	closeLedger(t, l)
	if err := os.Rename(front, active[0]); err != nil {
		t.Fatal(err)
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestNothingIsChainedUnderAForgottenConfiguration edits one that is chained:
// what it would come to under an older one is not what other replicas have.
func TestNothingIsChainedUnderAForgottenConfiguration(t *testing.T) {
	t.Parallel()
	c := faultConfig()
	c.Categories["custom"] = Policy{}
	for _, seal := range []bool{false, true} {
		dir := t.TempDir()
		f := &feed{t: t, l: open(t, dir, c)}
		f.own()
		if f.send("events.custom", login(f.seq+1).Data); seal {
			f.logins(300)
			f.settleSeals()
		}
		head := f.l.Head()
		closeLedger(t, f.l)
		paths, _ := filepath.Glob(filepath.Join(dir, "events_*.jsonl*"))
		whole, lines := allBytes(t, paths[0]), linesOf(t, paths[0])
		damaged := bytes.Replace(bytes.Join(lines, nil), []byte(`"custom":{`), []byte(`"custon":{`), 1)
		if seal {
			os.WriteFile(strings.TrimSuffix(paths[0], ".gz"), damaged, 0o600)
			repackOwn(t, strings.TrimSuffix(paths[0], ".gz"))
		} else {
			os.WriteFile(paths[0], damaged, 0o600)
		}
		l := open(t, dir, c)
		m := Message{Seq: f.seq + 1, Time: epoch.Add(time.Hour), Subject: "events.custom", Data: []byte(`{"action":"a","actor":"b"}`)}
		if err := l.Project(context.Background(), []Message{m}); !errors.Is(err, errNeeds) {
			t.Errorf("sealed %t: %v", seal, err)
		}
		if own := l.OwnMessages(); len(own) > 0 {
			t.Errorf("sealed %t: it offers %s", seal, own[0].Action)
		}
		if _, err := l.Get(head.ID); err != nil || l.Head().ID != head.ID {
			t.Errorf("sealed %t: head %s, %v", seal, l.Head().ID, err)
		}
		os.WriteFile(paths[0], whole, 0o600)
		if err := l.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		project(t, l, m)
		if rejectedAt(t, l, ID(m.Seq)) {
			t.Error("rejected")
		}
		closeLedger(t, l)
		mustValid(t, dir, VerifyOptions{Heads: []Head{head}})
	}
}

// TestAConfigurationOutlivesTheOneBeforeIt and a manifest that does not tell of
// it: what is in force is what was chained last.
func TestAConfigurationOutlivesTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t}
	c := faultConfig()
	for _, name := range []string{"first", "second"} {
		c.Categories = maps.Clone(c.Categories)
		c.Categories[name] = Policy{}
		f.l = open(t, dir, c)
		f.own()
		f.logins(300)
		f.settleSeals()
		closeLedger(t, f.l)
	}
	zips, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	manifest := func(i int) string { return strings.TrimSuffix(zips[i], suffixSealed) + suffixManifest }
	second := slices.IndexFunc(zips, func(path string) bool { return bytes.Contains(bytes.Join(linesOf(t, path), nil), []byte(`"second":{`)) })
	for name, damage := range map[string]func(dir string){
		"the first is damaged": func(dir string) {
			plain := filepath.Join(dir, filepath.Base(strings.TrimSuffix(zips[0], ".gz")))
			os.WriteFile(plain, bytes.Replace(bytes.Join(linesOf(t, zips[0]), nil), []byte(`"first":{`), []byte(`"fifth":{`), 1), 0o600)
			repackOwn(t, plain)
		},
		"the first is gone": func(dir string) { os.Remove(filepath.Join(dir, filepath.Base(zips[0]))) },
		"a manifest without it": func(dir string) {
			patch(t, filepath.Join(dir, filepath.Base(manifest(second))), `"category":"ledger"`, `"category":"ledges"`)
		},
	} {
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		damage(copied)
		l := open(t, copied, c)
		if err := l.Err(); err != nil || !l.Config().equal(c) {
			t.Errorf("%s: %v, in force %v", name, err, l.Config().Categories)
		}
		if own := l.OwnMessages(); slices.ContainsFunc(own, func(o OwnMessage) bool { return o.Action == actionConf }) {
			t.Errorf("%s: the configuration is offered again", name)
		}
		closeLedger(t, l)
		if r, err := VerifyDir(context.Background(), copied, VerifyOptions{}); err != nil || r.Status != "invalid" {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
	mustValid(t, dir, VerifyOptions{})
}

// repackOwn packs a plain file as the store does.
func repackOwn(t *testing.T, path string) {
	t.Helper()
	var b bytes.Buffer
	z := newZipper(&b)
	for _, line := range linesOf(t, path) {
		if err := z.add(line); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(z.flush(), os.WriteFile(path+".gz", b.Bytes(), 0o600), os.Remove(path)); err != nil {
		t.Fatal(err)
	}
}
