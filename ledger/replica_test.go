package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// replicas are a sound ledger and the folder that another replica of it had
// when it was at an earlier message.
type replicas struct {
	*feed
	early  string
	config Config
}

// copied gives a replica's folder, with the private key or without.
func (r *replicas) copied(t *testing.T, signs bool) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "replica")
	if err := os.CopyFS(dir, os.DirFS(r.early)); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, keyFile)
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}
	if !signs {
		os.Remove(key)
	}
	return dir
}

// sealsToCome is a ledger with a category of its own, whose copy has segments
// that are sealed on disk and not in the chain. What follows is their seals, an
// event of that category, and more segments.
func sealsToCome(t *testing.T) *replicas { return sealsToComeAfter(t, func(*replicas) {}) }

// sealsToComeAfter is sealsToCome with something more in the copy.
func sealsToComeAfter(t *testing.T, more func(r *replicas)) *replicas {
	t.Helper()
	return replicasOf(t, more, func(r *replicas) {
		r.send("events.door", []byte(`{"action":"open","actor":"u1"}`))
		r.settleSeals()
		r.logins(300)
		r.settleSeals()
	})
}

// replicasOf is a ledger with a category of its own and some segments sealed on
// disk, with what comes before the copy and behind it.
func replicasOf(t *testing.T, before, behind func(r *replicas)) *replicas {
	t.Helper()
	r := &replicas{early: filepath.Join(t.TempDir(), "early"), config: DefaultConfig()}
	r.config.MaxFileSize = 64 << 10
	r.config.Categories = maps.Clone(r.config.Categories)
	r.config.Categories["door"] = Policy{Retention: day}
	dir := t.TempDir()
	r.feed = &feed{t: t, l: open(t, dir, r.config)}
	r.own()
	r.logins(600)
	r.waitSealed()
	before(r)
	closeLedger(t, r.l)
	r.keep(dir)
	r.l = open(t, dir, r.config)
	behind(r)
	t.Cleanup(func() { closeLedger(t, r.l); mustValid(t, dir, VerifyOptions{}) })
	return r
}

// configure chains another retention of the category of its own.
func (r *replicas) configure(retention time.Duration) {
	r.t.Helper()
	dir := r.l.dir
	closeLedger(r.t, r.l)
	r.config.Categories = maps.Clone(r.config.Categories)
	r.config.Categories["door"] = Policy{Retention: retention}
	r.l = open(r.t, dir, r.config)
	for _, o := range r.l.OwnMessages() {
		if o.Action == actionConf {
			r.send(subjectOwn+o.Action, o.Data)
		}
	}
}

// keep copies a folder as it is now.
func (r *replicas) keep(dir string) {
	r.t.Helper()
	if err := os.CopyFS(r.early, os.DirFS(dir)); err != nil {
		r.t.Fatal(err)
	}
}

// stays gives a damaged replica what the stream has behind its last event: it
// must chain what the others chain or stop and say why, and go on once its files
// are right again. Then it is the others' ledger, and valid.
func (r *replicas) stays(t *testing.T, dir string, damage func(), stops bool) {
	t.Helper()
	restore := undone(t, dir, damage)
	l, err := Open(context.Background(), Options{Dir: dir, Config: r.config, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	r.saysTheSame(t, l)
	rest := func() []Message { return r.log[l.Projected():] }
	err = l.Project(context.Background(), rest())
	if stops != errors.Is(err, errNeeds) || stops != errors.Is(l.Err(), errNeeds) {
		t.Errorf("projected: %v, the ledger says %v", err, l.Err())
	} else if stops && !strings.Contains(err.Error(), "put back") {
		t.Errorf("it does not say what is to be done: %v", err)
	}
	if stops && len(l.OwnMessages()) > 0 {
		t.Error("it has something to say all the same")
	}
	l.flush()
	if _, err := l.Get(l.Head().ID); err == nil {
		r.sameAs(t, l)
	}
	if stops {
		restore()
		if err := l.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := l.Project(context.Background(), rest()); err != nil {
			t.Fatal(err)
		}
		l.flush()
		if l.Head() != r.l.Head() {
			t.Errorf("with its files back the head is %v, want %v", l.Head(), r.l.Head())
		}
	} else if l.Head() != r.l.Head() {
		t.Errorf("the head is %v, want %v", l.Head(), r.l.Head())
	}
	closeLedger(t, l)
	if !stops {
		restore()
	}
	mustValid(t, dir, VerifyOptions{})
}

// saysTheSame wants a replica to send no seal that the others do not send.
func (r *replicas) saysTheSame(t *testing.T, l *Ledger) {
	t.Helper()
	waitFor(t, "the sealer", func() bool {
		return !slices.ContainsFunc(l.view.Load().segs, func(s *segment) bool { return !s.sealed.Load() && s.doubt == nil })
	})
	for _, o := range l.OwnMessages() {
		if o.Action == actionSeal && !slices.ContainsFunc(r.log, func(m Message) bool { return bytes.Equal(m.Data, o.Data) }) {
			t.Errorf("it sends %s %s", o.Action, o.Data)
		}
	}
}

// undone damages files of a folder and gives what brings just these back.
func undone(t *testing.T, dir string, damage func()) (restore func()) {
	t.Helper()
	contents := func() map[string]string {
		files := map[string]string{}
		names, _ := filepath.Glob(filepath.Join(dir, "events_*"))
		for _, p := range names {
			files[p] = string(allBytes(t, p))
		}
		return files
	}
	before := contents()
	damage()
	after := contents()
	return func() {
		for p, good := range before {
			bad, there := after[p]
			now, err := os.ReadFile(p)
			switch rest, grown := strings.CutPrefix(string(now), bad); {
			case there && good == bad:
			case there && grown:
				os.WriteFile(p, []byte(good+rest), 0o600) // chained since
			case err != nil:
				os.WriteFile(p, []byte(good), 0o600)
			}
		}
	}
}

// sameAs wants a replica's head to be the event that the others have there.
func (r *replicas) sameAs(t *testing.T, l *Ledger) {
	t.Helper()
	head := l.Head()
	raw, err := r.l.Get(head.ID)
	if err != nil {
		t.Fatal(err)
	}
	if ln, _ := parseLine(raw); string(ln.hash) != head.Hash {
		own, _ := l.Get(head.ID)
		t.Errorf("forked at or before %s: it has\n%s\nthe others have\n%s", head.ID, own, raw)
	}
}

// plainAgain makes the nth sealed segment, or the last for -1, one that ended and
// is not sealed yet.
func plainAgain(t *testing.T, dir string, n int) (path string) {
	t.Helper()
	zips, err := filepath.Glob(filepath.Join(dir, "*"+suffixSealed))
	if err != nil || len(zips) < 3 {
		t.Fatal(zips, err)
	}
	if n < 0 {
		n = len(zips) - 1
	}
	path = strings.TrimSuffix(zips[n], suffixSealed)
	if err := errors.Join(os.WriteFile(path+suffixPlain, unpacked(t, zips[n]), 0o600), os.Remove(zips[n]), os.Remove(path+suffixManifest)); err != nil {
		t.Fatal(err)
	}
	return path + suffixPlain
}

func bothReplicas(t *testing.T, run func(t *testing.T, signs bool)) {
	for _, signs := range []bool{true, false} {
		t.Run(fmt.Sprintf("signs=%v", signs), func(t *testing.T) { run(t, signs) })
	}
}

// decisionToCome is a ledger whose copy has all seals in the active segment;
// what follows is an event and a decision.
func decisionToCome(t *testing.T, before func(r *replicas)) *replicas {
	t.Helper()
	f, dir := agedFeed(t)
	r := &replicas{feed: f, early: filepath.Join(t.TempDir(), "early"), config: DefaultConfig()}
	r.config.MaxFileSize = 64 << 10
	before(r)
	closeLedger(t, r.l)
	r.keep(dir)
	r.l = open(t, dir, r.config)
	r.mixed(1)
	id := ageNow(t, f)
	r.mixed(1)
	if err := r.l.Rewritten(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeLedger(t, r.l); mustValid(t, dir, VerifyOptions{}) })
	return r
}

// editActive edits the first line of the active segment that has a text.
func editActive(t *testing.T, dir, with string, edit func(line string) string) {
	t.Helper()
	active, err := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	if err != nil || len(active) != 1 {
		t.Fatal(active, err)
	}
	lines := strings.SplitAfter(string(allBytes(t, active[0])), "\n")
	i := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, with) })
	if i < 0 {
		t.Fatalf("no line has %s", with)
	}
	edited := edit(lines[i])
	if edited == lines[i] {
		t.Fatalf("not edited: %s", edited)
	}
	lines[i] = edited
	if err := os.WriteFile(active[0], []byte(strings.Join(lines, "")), 0o600); err != nil {
		t.Fatal(err)
	}
}
