package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A stop that comes while the store is still starting is a stop like any other.
func TestStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	full := newNode(t)
	must(t, "", "append", "--url", full.url(), "--category", "service", "--action", "a", "--actor", "b")
	full.stop(t)
	t.Run("opening the ledger", func(t *testing.T) {
		n := full.again(t, full.dir)
		n.stoppedAtItsKey(t, full.key(t))
		n.start(t)
		n.stop(t)
	})
	t.Run("opening the stream", func(t *testing.T) {
		n := full.again(t, filepath.Join(t.TempDir(), "data"))
		if err := os.Mkdir(n.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		n.stoppedAtItsKey(t, full.key(t))
	})
	t.Run("connecting to NATS", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		n := full.again(t, filepath.Join(t.TempDir(), "data"))
		n.args = []string{"--nats-url", "nats://" + silent.Addr().String()}
		n.launch(t)
		conn, err := silent.Accept() // and says nothing
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		n.stop(t)
		n.saysNoError(t)
	})
}

// again is a store of another folder and log.
func (n *node) again(t *testing.T, dir string) *node {
	t.Helper()
	m := &node{dir: dir, http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log")}
	m.endWith(t)
	return m
}

func (n *node) key(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, "ledger.key"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// stoppedAtItsKey stops the store while it waits for its private key, and then
// gives it.
func (n *node) stoppedAtItsKey(t *testing.T, key []byte) {
	t.Helper()
	path := filepath.Join(n.dir, "ledger.key")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	n.launch(t)
	var pipe *os.File
	n.until(t, "the store asks for its key", func() (ok bool) {
		var err error
		pipe, err = os.OpenFile(path, os.O_WRONLY|syscall.O_NONBLOCK, 0)
		return err == nil
	})
	if err := n.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // until it has come
	_, err := pipe.Write(key)
	if err = errors.Join(err, pipe.Close(), os.Remove(path), os.WriteFile(path, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := n.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	n.cmd = nil
	n.saysNoError(t)
}

func (n *node) saysNoError(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if strings.HasPrefix(line, "eventstore:") || strings.Contains(line, "level=ERROR") {
			t.Errorf("the log has an error: %s", line)
		}
	}
}
