//go:build linux

package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"home.lab/event-store/ledger/faultfs"
)

// A stop that comes while the store is still starting is a stop like any other.
func TestStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	t.Run("opening the ledger", func(t *testing.T) {
		t.Parallel()
		m := newMachine(t, 1, false)
		m.start(t)
		must(t, "", "append", "--url", m.url(), "--category", "service", "--action", "a", "--actor", "b")
		m.stop(t)
		m.stoppedAtItsKey(t)
		m.start(t)
		m.stop(t)
	})
	t.Run("opening the stream", func(t *testing.T) {
		t.Parallel()
		newMachine(t, 1, false).stoppedAtItsKey(t)
	})
	t.Run("connecting to NATS", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		n := faultNode(t, filepath.Join(t.TempDir(), "data"))
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

// stoppedAtItsKey stops the store while its disk does not give it its private
// key, or take a new one, and then lets it.
func (m *machine) stoppedAtItsKey(t *testing.T) {
	t.Helper()
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.fs.SetFault(func(c faultfs.Call) (o faultfs.Outcome) {
		if strings.Contains(c.Path, "ledger.key") {
			once.Do(func() { close(asked) })
			<-answer
		}
		return o
	})
	m.launch(t)
	<-asked
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // until it has come
	close(answer)
	if err := m.cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	m.cmd = nil
	m.fs.SetFault(nil)
	m.saysNoError(t)
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
