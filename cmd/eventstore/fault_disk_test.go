//go:build linux

package main

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// smallDisk is a tmpfs of its own.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting a tmpfs needs root")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skip("mounting a tmpfs: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// fillDisk takes what is left of a disk, again and again, until stop is closed.
func fillDisk(t *testing.T, path string, stop <-chan struct{}) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		t.Error(err)
		return
	}
	defer f.Close()
	for chunk := bytes.Repeat([]byte{1}, 1<<20); open(stop); {
		_, err := f.Write(chunk)
		if errors.Is(err, syscall.ENOSPC) && len(chunk) > 4096 {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// TestFullDisk: appends answer 503, /health says why, reads and verification go
// on, and it all heals by itself once there is room.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	for range max(1, *rounds/25) {
		disk := smallDisk(t, "64m")
		n, w := faultNode(t, filepath.Join(disk, "data")), newWork()
		n.start(t)
		w.during(n, func() { w.underWay(t) })
		w.check(t, n, wholePromise, "with room")
		ballast, stop, filled := filepath.Join(disk, "ballast"), make(chan struct{}), make(chan struct{})
		go func() { defer close(filled); fillDisk(t, ballast, stop) }()
		w.during(n, func() {
			n.until(t, "appends answer 503", func() bool { return n.appendCode(t) == http.StatusServiceUnavailable })
		})
		if body, code := n.get("/health"); code != http.StatusServiceUnavailable || !strings.Contains(body, "detail") {
			t.Errorf("a full disk: /health %d %s", code, body)
		}
		if body, code := n.get("/events?limit=1"); code != http.StatusOK {
			t.Errorf("a full disk: a query answers %d %s", code, body)
		}
		close(stop)
		<-filled
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
		n.until(t, "appends are taken again", func() bool { return n.appendCode(t) == http.StatusCreated })
		w.during(n, func() { w.underWay(t) })
		// The embedded NATS could not write: what it had acknowledged and not written is lost with it.
		w.check(t, n, promise{pubAckIDs: true}, "with room again")
		n.stop(t)
		must(t, "", "verify", "--data", n.dir)
	}
}

func (n *node) appendCode(t *testing.T) int {
	t.Helper()
	r, err := http.Post(n.url()+"/events", "application/json", strings.NewReader(`{"category":"user","action":"probe","actor":"u"}`))
	if err != nil {
		return 0
	}
	r.Body.Close()
	return r.StatusCode
}
