//go:build linux

package ledger

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// eventually waits for what another goroutine does.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatal("not after 20 s: ", what)
}

// fillUp takes the rest of a disk.
func fillUp(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for n := 1 << 20; n > 0; {
		if _, err := f.Write(bytes.Repeat([]byte{1}, n)); errors.Is(err, syscall.ENOSPC) {
			n /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFullDiskAgesOutOnTheReserveAndHealsByItself(t *testing.T) {
	fs, dir := faulty(t, 1)
	fs.SetLimit(64 << 20)
	l, err := tryOpen(dir)
	if err != nil {
		t.Fatal(err)
	}
	reserve := filepath.Join(dir, reserveFile)
	eventually(t, "the reserve is made", func() bool {
		info, err := os.Stat(reserve)
		return err == nil && info.Size() == reserveSize
	})
	tp, a := newTape(1, 400, today()), &acked{}
	tp.begin(l)
	project(t, l, tp.msgs[:10]...)
	ballast := filepath.Join(filepath.Dir(dir), "ballast")
	fillUp(t, ballast)
	if err := l.Project(context.Background(), tp.msgs[10:]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ledger stops", func() bool { return l.Err() != nil })
	if !errors.Is(l.Err(), syscall.ENOSPC) || l.Full() {
		t.Fatalf("stopped by %v, full %v", l.Err(), l.Full())
	}
	if err := l.Recover(context.Background()); err != nil {
		t.Fatalf("the reserve gave no room: %v", err)
	}
	if info, err := os.Stat(reserve); err != nil || info.Size() > 0 || !l.Full() {
		t.Fatalf("full %v, the reserve: %v %v", l.Full(), info, err)
	}
	select {
	case <-l.Filled():
	default:
		t.Error("nobody is told that the disk is full")
	}
	if err := tp.play(l, a.tell); err != nil { // appends what was in the stream, seals, decides, rewrites
		t.Fatal(err)
	}
	if l.Status().AgedOutEvents == 0 {
		t.Error("nothing aged out")
	}
	if !l.Full() {
		t.Error("no longer full, though nobody made room")
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reserve is back", func() bool { return !l.Full() })
	if info, err := os.Stat(reserve); err != nil || info.Size() != reserveSize || info.Sys().(*syscall.Stat_t).Blocks < reserveSize/512 {
		t.Errorf("the reserve: %v %v", info, err)
	}
	closeLedger(t, l)
	a.holds(t, dir, "after a full disk")
}

// TestAStartKnowsThatTheDiskIsFull: what the reserve gave is not for appends.
func TestAStartKnowsThatTheDiskIsFull(t *testing.T) {
	fs, dir := faulty(t, 1)
	fs.SetLimit(reserveSize + reserveRoom/2)
	if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, reserveFile), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, err := tryOpen(dir)
		if err != nil {
			t.Fatal(err)
		}
		if !l.Full() {
			t.Error("the store appends on a full disk")
		}
		closeLedger(t, l)
	}
	fs.SetLimit(64 << 20)
	l, err := tryOpen(dir)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the reserve is back", func() bool { return !l.Full() })
	closeLedger(t, l)
}

// TestOneRetryOfSealing however much of a round failed.
func TestOneRetryOfSealing(t *testing.T) {
	was := retryAfter
	retryAfter = 200 * time.Millisecond
	defer func() { retryAfter = was }()
	l := &Ledger{sealing: make(chan struct{}, 100)}
	for range 2 {
		for range 50 {
			l.sealAgain()
		}
		<-l.sealing
	}
	time.Sleep(2 * retryAfter)
	if n := len(l.sealing); n > 0 {
		t.Errorf("%d more rounds", n)
	}
}
