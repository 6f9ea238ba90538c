package ledger

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// mustVerify verifies a running ledger.
func mustVerify(t *testing.T, l *Ledger) *Report {
	t.Helper()
	r, err := l.Verify(context.Background(), VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestARunningLedgerMissesItsCutTail cuts the active segment's file, or puts
// another one in its place, behind the running ledger's back.
func TestARunningLedgerMissesItsCutTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, Config{})}
	f.logins(5)
	files, _ := filepath.Glob(filepath.Join(dir, "*"+suffixPlain))
	whole := allBytes(t, files[0])
	lines := bytes.SplitAfter(whole, []byte("\n"))
	for name, c := range map[string]struct {
		kind, id string
		content  []byte
	}{
		"three lines cut off": {"tail_missing", "000000000003", bytes.Join(lines[:2], nil)},
		"cut within a line":   {"tail_missing", "000000000005", whole[:len(whole)-20]},
		"all cut off":         {"tail_missing", "000000000001", nil},
		"another last event":  {"head_mismatch", "000000000005", bytes.Join(forged(GenesisHash, slices.Concat(lines[:4], [][]byte{bytes.Replace(lines[4], []byte("host"), []byte("hose"), 1)})), nil)},
	} {
		os.WriteFile(files[0], c.content, 0o600)
		r := mustVerify(t, f.l)
		if len(r.Findings) != 1 || r.Findings[0].Kind != c.kind || r.Findings[0].ID != c.id || r.Findings[0].File != filepath.Base(files[0]) {
			t.Errorf("%s: %+v", name, r.Findings)
		}
	}
	os.WriteFile(files[0], whole, 0o600)
	if r := mustVerify(t, f.l); r.Status != "valid" {
		t.Errorf("%+v", r.Findings)
	}

	// As an editor does it: the ledger has the file open that has no name now.
	os.WriteFile(files[0]+"~", bytes.Join(lines[:3], nil), 0o600)
	os.Rename(files[0]+"~", files[0])
	if r := mustVerify(t, f.l); len(r.Findings) != 1 || r.Findings[0].Kind != "tail_missing" || r.Findings[0].ID != "000000000004" {
		t.Errorf("replaced: %+v", r.Findings)
	}
	os.Remove(files[0])
	if r := mustVerify(t, f.l); !slices.ContainsFunc(r.Findings, func(f Finding) bool {
		return f.Kind == "segment_missing" && f.File == filepath.Base(files[0])
	}) {
		t.Errorf("removed: %+v", r.Findings)
	}
	os.WriteFile(files[0], whole, 0o600)
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// during calls f once while a folder is being verified, when at most as many
// segments were opened as there are cores.
func during(f func()) VerifyOptions {
	var once sync.Once
	return VerifyOptions{Progress: func(VerifyProgress) { once.Do(f) }}
}

// TestVerifyBesideAStoreThatSeals has plain segments sealed after they were listed.
func TestVerifyBesideAStoreThatSeals(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	for _, path := range zips {
		unpack(t, path)
	}
	mustValid(t, dir, during(func() {
		f := &feed{t: t, l: open(t, dir, faultConfig())}
		f.waitSealed()
		closeLedger(t, f.l)
	}))
	if now, _ := filepath.Glob(filepath.Join(dir, "*"+suffixSealed)); len(now) != len(zips) {
		t.Errorf("sealed are %q", now)
	}
	mustValid(t, dir, VerifyOptions{})
}

// TestVerifyBesideAStoreThatAgesOut has segments rewritten after they were
// listed, by a decision in a segment that was not there then.
func TestVerifyBesideAStoreThatAgesOut(t *testing.T) {
	t.Parallel()
	f, dir := agedFeed(t)
	f.mixed(900)
	f.settleSeals()
	r := mustValid(t, dir, during(func() {
		f.mixed(200)
		if err := f.l.Rewritten(context.Background(), ageNow(t, f)); err != nil {
			t.Error(err)
		}
	}))
	if r.AgedOut != f.l.Status().AgedOutEvents {
		t.Errorf("%d aged out, want %d", r.AgedOut, f.l.Status().AgedOutEvents)
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// TestARunningLedgerFindsStrays puts files into the folder that are no segments
// of the ledger: what the offline verification finds, the running one does too.
func TestARunningLedgerFindsStrays(t *testing.T) {
	t.Parallel()
	dir, zips := sealedFolder(t)
	f := &feed{t: t, l: open(t, dir, faultConfig())}
	if r := mustVerify(t, f.l); r.Status != "valid" {
		t.Fatal(r.Findings)
	}
	manifest := strings.TrimSuffix(zips[1], suffixSealed) + suffixManifest
	plain := linesOf(t, zips[1])
	for name, damage := range map[string]func(){
		"a segment twice": func() { copyTo(t, zips[1], filepath.Join(dir, "events_20990101_000000"+suffixSealed)) },
		"a segment twice, plain": func() {
			os.WriteFile(filepath.Join(dir, "events_20200101_000000.jsonl"), bytes.Join(plain, nil), 0o600)
		},
		"a manifest more":             func() { copyTo(t, manifest, filepath.Join(dir, "events_20990101_000000"+suffixManifest)) },
		"a segment gone":              func() { os.Remove(zips[1]) },
		"a segment and manifest gone": func() { os.Remove(zips[1]); os.Remove(manifest) },
		"damage beside a plain copy": func() {
			os.WriteFile(strings.TrimSuffix(zips[1], ".gz"), bytes.Join(plain, nil), 0o600)
			os.Truncate(zips[1], 1000)
		},
	} {
		restore := saved(t, dir)
		damage()
		offline, err := VerifyDir(context.Background(), dir, VerifyOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range offline.Findings {
			if r := mustVerify(t, f.l); !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Kind == want.Kind }) {
				t.Errorf("%s: %+v is not in %+v", name, want, r.Findings)
			}
		}
		if len(offline.Findings) == 0 {
			t.Errorf("%s: valid", name)
		}
		restore()
	}
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// TestANewSegmentIsNoStray verifies between the creation of a segment's file
// and the view that has it.
func TestANewSegmentIsNoStray(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	f := &feed{t: t, l: open(t, dir, Config{})}
	f.logins(5)
	before := f.l.view.Load()
	f.at += 25 * time.Hour
	f.logins(1)
	now := f.l.view.Swap(before)
	if r := mustVerify(t, f.l); r.Status != "valid" || r.Segments != 1 || now.active.name == before.active.name {
		t.Errorf("%+v", r)
	}
	f.l.view.Store(now)
	wake(f.l.sealing)
	f.settleSeals()
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}

// TestAVerificationOutlivesSealing verifies what was the active segment when the
// verification began: by then it has more events, and is sealed.
func TestAVerificationOutlivesSealing(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	f.own()
	f.logins(100)
	view := f.l.view.Load()
	v := f.l.verification(view, VerifyOptions{})
	forged := f.l.verification(view, VerifyOptions{})
	forged.head = &Head{ID: view.head.ID, Hash: GenesisHash, Timestamp: view.head.Timestamp}
	f.logins(200)
	f.waitSealed()
	if len(view.segs) > 0 || len(f.l.view.Load().segs) == 0 {
		t.Fatal("the active segment did not end")
	}
	if r, err := v.run(t.Context()); err != nil || r.Status != "valid" {
		t.Errorf("%v %+v", err, r)
	}
	if r, err := forged.run(t.Context()); err != nil || len(r.Findings) != 1 || r.Findings[0].Kind != "head_mismatch" {
		t.Errorf("another head: %v %+v", err, r)
	}
	f.own()
	closeLedger(t, f.l)
	mustValid(t, dir, VerifyOptions{})
}
