package ledger

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestTheSealerGivesWayToABurstOnly(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir(), Config{})
	defer l.Close()
	const worked = 10 * time.Millisecond
	if got := l.restAfter(worked); got != 0 {
		t.Errorf("it rests %s while nothing comes in", got)
	}
	l.burst.Store(time.Now().Add(time.Hour).UnixNano()) // lasts, however slow the machine is
	if got := l.restAfter(worked); got != restFor*worked {
		t.Errorf("it rests %s in a burst", got)
	}
	if got := l.restAfter(time.Hour); got != longestRest {
		t.Errorf("it rests %s", got)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	l.giveWay(ended, time.Hour) // must not outlive the ledger
	v := *l.view.Load()
	for range mayWait + 1 {
		v.segs = append(v.segs, &segment{})
	}
	l.view.Store(&v)
	if got := l.restAfter(worked); got != 0 {
		t.Errorf("it rests %s while ended segments pile up", got)
	}
	v.segs = nil
	l.view.Store(&v)
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
