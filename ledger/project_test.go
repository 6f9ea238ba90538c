package ledger

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"home.lab/event-store/ledger/sample"
)

// mixedStream projects a stream that has everything a batch can hold, small
// segments and configurations in the middle included, and gives its messages.
func mixedStream(t *testing.T, dir string) []Message {
	c := DefaultConfig()
	c.MaxFileSize = 256 << 10
	f := &feed{t: t, l: open(t, dir, c)}
	g := sample.New(3)
	var batch []Message
	add := func(subject string, data []byte) {
		f.seq++
		f.at += 50 * time.Millisecond
		batch = append(batch, Message{Seq: f.seq, Time: epoch.Add(f.at), Subject: subject, Data: data})
	}
	for part := range 3 {
		f.own()
		batch = nil
		for n := range 1500 {
			category, body := g.Next()
			add("events."+category, body)
			switch {
			case n%11 == 0:
				add("events.security", []byte(oddBodies[n/11%len(oddBodies)]))
			case n%101 == 0:
				f.seq += 3
			case n%103 == 0:
				add("events.extra.more", body) // not configured at first
			case n%107 == 0:
				add("eventstore.ledger.segment_sealed", body)
			}
		}
		f.log = append(f.log, batch...)
		project(t, f.l, batch...)
		f.settleSeals()
		closeLedger(t, f.l)
		c.Categories[fmt.Sprintf("extra%s", []string{"", "2", "3"}[part])] = Policy{Retention: time.Hour * 24}
		f.l = open(t, dir, c)
	}
	f.own()
	closeLedger(t, f.l)
	return f.log
}

// TestBatchesAndCoresGiveTheSameBytes is not parallel: it sets GOMAXPROCS.
func TestBatchesAndCoresGiveTheSameBytes(t *testing.T) {
	dir := t.TempDir()
	msgs := mixedStream(t, dir)
	pub, err := os.ReadFile(filepath.Join(dir, pubFile))
	if err != nil {
		t.Fatal(err)
	}
	want := allLines(t, dir)
	if len(want) < len(msgs) || !slices.ContainsFunc(want, func(l string) bool { return bytes.Contains([]byte(l), []byte(`"category":"extra"`)) }) {
		t.Fatal("the stream does not show what it should")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	for _, cores := range []int{1, 2, 7} {
		for _, size := range []int{1, 63, 1000, len(msgs)} {
			runtime.GOMAXPROCS(cores)
			other := t.TempDir()
			if err := os.WriteFile(filepath.Join(other, pubFile), pub, 0o600); err != nil {
				t.Fatal(err)
			}
			l := open(t, other, DefaultConfig())
			for batch := range slices.Chunk(msgs, size) {
				if err := l.Project(context.Background(), batch); err != nil {
					t.Fatal(err)
				}
			}
			closeLedger(t, l)
			if !slices.Equal(want, allLines(t, other)) {
				t.Errorf("%d cores, batches of %d: other bytes", cores, size)
			}
			mustValid(t, other, VerifyOptions{})
		}
	}
}
