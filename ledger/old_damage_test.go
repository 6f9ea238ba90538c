package ledger

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDamageInAnOldSegmentStopsNoAppend flips bytes all over a ledger that was
// never configured, one at a time: but for the last line, which is the tail,
// appends go on, and verification finds the damage.
func TestDamageInAnOldSegmentStopsNoAppend(t *testing.T) {
	t.Parallel()
	sound := t.TempDir()
	f := &feed{t: t, l: open(t, sound, Config{})}
	for range 4 {
		f.at += 25 * time.Hour
		f.logins(6)
		f.settleSeals()
	}
	f.logins(3)
	closeLedger(t, f.l)
	mustValid(t, sound, VerifyOptions{})
	paths, err := filepath.Glob(filepath.Join(sound, "events_*.jsonl*"))
	if err != nil || len(paths) != 4 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		content, name := allBytes(t, path), filepath.Base(path)
		end := len(content)
		if strings.HasSuffix(name, suffixPlain) {
			end = bytes.LastIndexByte(content[:end-1], '\n')
		}
		for at := 5; at < end; at += 67 {
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(sound)); err != nil {
				t.Fatal(err)
			}
			flipped := bytes.Clone(content)
			flipped[at] ^= 1
			if err := os.WriteFile(filepath.Join(dir, name), flipped, 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, dir, Config{})
			if err := l.Project(context.Background(), []Message{{Seq: f.seq + 1, Time: epoch.Add(f.at), Subject: "events.security", Data: login(1).Data}}); err != nil {
				t.Errorf("%s, byte %d: %v", name, at, err)
			} else if err := l.Wait(context.Background(), ID(f.seq+1)); err != nil {
				t.Errorf("%s, byte %d: %v", name, at, err)
			}
			closeLedger(t, l)
			if r, err := VerifyDir(context.Background(), dir, VerifyOptions{}); err != nil || r.Status != "invalid" {
				t.Errorf("%s, byte %d: verification says %v, %v", name, at, r, err)
			}
		}
	}
}
