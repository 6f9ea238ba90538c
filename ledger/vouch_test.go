package ledger

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// passed is an agedFeed after a pass.
func passed(t *testing.T) (*feed, string, Status) {
	f, dir := agedFeed(t)
	if err := f.l.Rewritten(context.Background(), ageNow(t, f)); err != nil {
		t.Fatal(err)
	}
	before := f.l.Status()
	closeLedger(t, f.l)
	return f, dir, before
}

// oldest is the path of the first segment, without a suffix.
func oldest(t *testing.T, dir string) string {
	manifests, err := filepath.Glob(filepath.Join(dir, "*"+suffixManifest))
	if err != nil || len(manifests) < 2 {
		t.Fatal(manifests, err)
	}
	return strings.TrimSuffix(manifests[0], suffixManifest)
}

func unpacked(t *testing.T, path string) []byte {
	z, err := gzip.NewReader(bytes.NewReader(allBytes(t, path)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (f *feed) noSeal() {
	f.t.Helper()
	for _, o := range f.l.OwnMessages() {
		if o.Action == actionSeal {
			f.t.Errorf("it seals %s", o.Data)
		}
	}
}

// same reopens the ledger and requires that its state is what it was and that
// it seals nothing again.
func (f *feed) same(dir string, before Status) {
	f.t.Helper()
	f.l = open(f.t, dir, Config{})
	defer func() { closeLedger(f.t, f.l) }()
	s := f.l.Status()
	if s.TotalEvents != before.TotalEvents || s.AgedOutEvents != before.AgedOutEvents || s.Head != before.Head || s.MissingIDs != before.MissingIDs {
		f.t.Errorf("now %+v, before %+v", s, before)
	}
	f.noSeal()
	if due := f.l.Due(time.Now()); len(due) != 0 {
		f.t.Errorf("due: %v", due)
	}
}

// A copy that was made over an older one has the plain file of a segment that
// is sealed and rewritten by now: the .gz stays, whatever the plain one holds.
func TestStaleFileBesideARewrittenSegment(t *testing.T) {
	f, dir, before := passed(t)
	name := oldest(t, dir)
	whole, zipped, manifest := unpacked(t, name+suffixSealed), allBytes(t, name+suffixSealed), allBytes(t, name+suffixManifest)
	for what, stale := range map[string][]byte{"empty": nil, "half": whole[:bytes.IndexByte(whole[len(whole)/2:], '\n')+1+len(whole)/2], "unpacked": whole} {
		if err := os.WriteFile(name+suffixPlain, stale, 0o600); err != nil {
			t.Fatal(err)
		}
		if r := mustValid(t, dir, VerifyOptions{}); !strings.Contains(strings.Join(r.NotChecked, ";"), filepath.Base(name)+suffixPlain) {
			t.Errorf("%s: not checked is %q", what, r.NotChecked)
		}
		f.same(dir, before)
		if _, err := os.Stat(name + suffixPlain); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the plain file is still there: %v", what, err)
		}
		if !bytes.Equal(allBytes(t, name+suffixSealed), zipped) || !bytes.Equal(allBytes(t, name+suffixManifest), manifest) {
			t.Errorf("%s: the sealed files changed", what)
		}
		mustValid(t, dir, VerifyOptions{})
	}
}

// Two files of one segment that are both not what was sealed both stay.
func TestTwoDamagedFilesOfASegmentStay(t *testing.T) {
	f, dir, _ := passed(t)
	name := oldest(t, dir)
	good := allBytes(t, name+suffixSealed)
	bad := append(bytes.Clone(good[:len(good)-20]), make([]byte, 20)...)
	os.WriteFile(name+suffixSealed, bad, 0o600)
	os.WriteFile(name+suffixPlain, []byte("stale\n"), 0o600)
	f.l = open(t, dir, Config{})
	closeLedger(t, f.l)
	if !bytes.Equal(allBytes(t, name+suffixSealed), bad) || string(allBytes(t, name+suffixPlain)) != "stale\n" {
		t.Error("a file changed")
	}
	os.WriteFile(name+suffixSealed, good, 0o600)
	os.Remove(name + suffixPlain)
	mustValid(t, dir, VerifyOptions{})
}

// Whoever edits a manifest neither makes events age out early nor gets a seal
// for it, and with the right one put back all is as it was.
func TestEditedManifestHasNoEffect(t *testing.T) {
	for what, edit := range map[string]func(m string) string{
		"older times": func(m string) string { return strings.ReplaceAll(m, `_timestamp":"20`, `_timestamp":"19`) },
		"a root":      func(m string) string { return strings.Replace(m, `"root":"`, `"root":"0`, 1) },
		"a count":     func(m string) string { return strings.Replace(m, `"count":`, `"count":1`, 1) },
		"garbage":     func(string) string { return "{}" },
	} {
		t.Run(what, func(t *testing.T) {
			f, dir := agedFeed(t)
			f.settleSeals()
			before, due := f.l.Status(), len(f.l.Due(time.Now()))
			closeLedger(t, f.l)
			path := oldest(t, dir) + suffixManifest
			good := allBytes(t, path)
			os.WriteFile(path, []byte(edit(string(good))), 0o600)

			f.l = open(t, dir, Config{})
			if s := f.l.Status(); s.TotalEvents != before.TotalEvents || s.Head != before.Head {
				t.Errorf("now %+v, before %+v", s, before)
			}
			f.noSeal()
			cells := f.l.Due(time.Now())
			if len(cells) != due-1 {
				t.Errorf("%d cells are due, before %d", len(cells), due)
			}
			id := f.decide(cells)
			if err := f.l.Rewritten(context.Background(), id); err != nil {
				t.Error(err)
			}
			closeLedger(t, f.l)
			if r, err := VerifyDir(context.Background(), dir, VerifyOptions{}); err != nil || r.Status == "valid" {
				t.Error("an edited manifest is valid", err)
			}
			os.WriteFile(path, good, 0o600)
			mustValid(t, dir, VerifyOptions{})
		})
	}
}

// Without its manifest a rewritten segment gets no seal of what is left of it.
func TestRewrittenSegmentWithoutItsManifest(t *testing.T) {
	f, dir, before := passed(t)
	path := oldest(t, dir) + suffixManifest
	good := allBytes(t, path)
	os.Remove(path)
	f.l = open(t, dir, Config{})
	f.noSeal()
	if due := f.l.Due(time.Now()); len(due) != 0 {
		t.Errorf("due: %v", due)
	}
	closeLedger(t, f.l)
	os.WriteFile(path, good, 0o600)
	f.same(dir, before)
	mustValid(t, dir, VerifyOptions{})
}

// The manifest of a whole segment can be made again from its lines.
func TestManifestThatIsGoneIsWrittenAgain(t *testing.T) {
	f, dir := agedFeed(t)
	before := f.l.Status()
	closeLedger(t, f.l)
	path := oldest(t, dir) + suffixManifest
	good := allBytes(t, path)
	os.Remove(path)
	f.l = open(t, dir, Config{})
	if s := f.l.Status(); s.TotalEvents != before.TotalEvents || s.Head != before.Head {
		t.Errorf("now %+v, before %+v", s, before)
	}
	closeLedger(t, f.l)
	if got, err := parseManifest(allBytes(t, path)); err != nil {
		t.Error(err)
	} else if want, _ := parseManifest(good); got.digest() != want.digest() {
		t.Error("it is another one")
	}
	mustValid(t, dir, VerifyOptions{})
}

// While a manifest is gone nothing is taken out of its segment: what was there
// could not be told any more.
func TestNoRewritingWithoutTheManifest(t *testing.T) {
	f, dir := agedFeed(t)
	path := oldest(t, dir) + suffixManifest
	good := allBytes(t, path)
	os.Remove(path)
	id := ageNow(t, f)
	if err := f.l.Rewritten(context.Background(), id); !errors.Is(err, ErrPending) || !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("rewritten: %v", err)
	}
	os.WriteFile(path, good, 0o600)
	waitFor(t, "the rewriting", func() bool {
		wake(f.l.sealing)
		cells, _ := f.l.Pending()
		return len(cells) == 0
	})
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// A decision stays in force when one of its segments is lost.
func TestDecisionOutlivesALostSegment(t *testing.T) {
	f, dir, before := passed(t)
	name := oldest(t, dir)
	good := allBytes(t, name+suffixSealed)
	os.Remove(name + suffixSealed)
	f.l = open(t, dir, Config{})
	if s := f.l.Status(); s.AgedOutEvents != before.AgedOutEvents {
		t.Errorf("%d aged out, before %d", s.AgedOutEvents, before.AgedOutEvents)
	}
	if due := f.l.Due(time.Now()); len(due) != 0 {
		t.Errorf("due again: %v", due)
	}
	n := int64(0)
	f.l.Query(context.Background(), Filter{}, func([]byte) error { n++; return nil })
	if s := f.l.Status(); s.TotalEvents != n {
		t.Errorf("%d events, %d are there", s.TotalEvents, n)
	}
	closeLedger(t, f.l)
	os.WriteFile(name+suffixSealed, good, 0o600)
	f.same(dir, before)
	mustValid(t, dir, VerifyOptions{})
}

// Replicas stay one: what a damaged one cannot judge stops it, until the right
// files are back; what it can, it judges as the others.
func TestDamagedReplicaDoesNotFork(t *testing.T) {
	f, dir := agedFeed(t)
	closeLedger(t, f.l)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Join(other, keyFile), 0o600)
	name := oldest(t, other)
	manifest := allBytes(t, name+suffixManifest)
	edited := bytes.Replace(manifest, []byte(`"root":"`), []byte(`"root":"0`), 1)

	f.l = open(t, dir, Config{})
	n := len(f.log)
	seal := f.log[n-1] // repeated
	f.send(seal.Subject, seal.Data)
	ageNow(t, f)
	f.logins(1)
	news := f.log[n:]
	want := f.l.Head()
	closeLedger(t, f.l)

	os.WriteFile(name+suffixManifest, edited, 0o600)
	l := open(t, other, Config{})
	project(t, l, news...)
	if got := l.Head(); got != want {
		t.Errorf("head %v, want %v", got, want)
	}
	closeLedger(t, l)

	os.WriteFile(name+suffixManifest, manifest, 0o600)
	mustValid(t, other, VerifyOptions{})
}

func TestDecisionAboutADamagedSegmentWaits(t *testing.T) {
	f, dir := agedFeed(t)
	closeLedger(t, f.l)
	other := filepath.Join(t.TempDir(), "other")
	if err := os.CopyFS(other, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	f.l = open(t, dir, Config{})
	n := len(f.log)
	f.logins(1)
	ageNow(t, f)
	news, want := f.log[n:], f.l.Head()
	closeLedger(t, f.l)

	name := oldest(t, other)
	gz, manifest := allBytes(t, name+suffixSealed), allBytes(t, name+suffixManifest)
	os.WriteFile(name+suffixManifest, bytes.Replace(manifest, []byte(`"root":"`), []byte(`"root":"0`), 1), 0o600)
	os.WriteFile(name+suffixSealed, append(bytes.Clone(gz[:len(gz)-9]), 0, 0, 0, 0, 0, 0, 0, 0, 0), 0o600)
	l := open(t, other, Config{})
	if err := l.Project(context.Background(), news); !errors.Is(err, errNeeds) || !errors.Is(l.Err(), errNeeds) {
		t.Errorf("projected: %v, the ledger says %v", err, l.Err())
	}
	if got := l.Head().ID; got != want.ID-1 {
		t.Errorf("what is before it is not committed: head %s", got)
	}
	os.WriteFile(name+suffixManifest, manifest, 0o600)
	os.WriteFile(name+suffixSealed, gz, 0o600)
	if err := l.Recover(context.Background()); err != nil {
		t.Fatal(err)
	}
	project(t, l, news[1:]...)
	if got := l.Head(); got != want {
		t.Errorf("head %v, want %v", got, want)
	}
	closeLedger(t, l)
	mustValid(t, other, VerifyOptions{})
}

// A segment that somebody damaged before it was sealed stays as it is.
func TestDamagedSegmentIsNotSealed(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(20)
	closeLedger(t, f.l)
	plain, err := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	if err != nil || len(plain) != 1 {
		t.Fatal(plain, err)
	}
	good := allBytes(t, plain[0])
	patch(t, plain[0], `"actor":"u3"`, `"actor":"u4"`)
	f.l = open(t, dir, c)
	f.logins(500)
	waitFor(t, "later segments to be sealed", func() bool {
		m, _ := filepath.Glob(filepath.Join(dir, "*"+suffixManifest))
		return len(m) > 0
	})
	f.own()
	closeLedger(t, f.l)
	damaged := allBytes(t, plain[0])
	if !bytes.HasPrefix(damaged, bytes.Replace(good, []byte(`"actor":"u3"`), []byte(`"actor":"u4"`), 1)) {
		t.Error("the damaged file changed")
	}
	r, err := VerifyDir(context.Background(), dir, VerifyOptions{})
	if err != nil || len(r.Findings) == 0 || r.Findings[0].Kind != "hash_mismatch" {
		t.Errorf("%v %+v", err, r.Findings)
	}
}
