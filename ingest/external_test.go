package ingest

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// external is a NATS server of its own, which keeps its port and its folder
// when it is started again.
type external struct {
	t    *testing.T
	dir  string
	conf string // in nats-server's configuration language
	port int
	srv  *server.Server
}

func newExternal(t *testing.T, conf string) *external {
	t.Helper()
	e := &external{t: t, dir: t.TempDir(), conf: conf, port: -1}
	e.start()
	t.Cleanup(e.stop)
	return e
}

func (e *external) start() {
	e.t.Helper()
	opts := &server.Options{}
	conf := fmt.Sprintf("listen: 127.0.0.1:%d\njetstream: {store_dir: %q}\n%s", e.port, e.dir, e.conf)
	if err := opts.ProcessConfigString(conf); err != nil {
		e.t.Fatal(err)
	}
	opts.NoSigs, opts.NoLog = true, true
	srv, err := server.NewServer(opts)
	if err != nil {
		e.t.Fatal(err)
	}
	srv.Start()
	if !srv.ReadyForConnections(20 * time.Second) {
		e.t.Fatal("the NATS server did not start")
	}
	e.srv, e.port = srv, srv.Addr().(*net.TCPAddr).Port
}

func (e *external) stop() {
	e.srv.Shutdown()
	e.srv.WaitForShutdown()
}

func (e *external) address() string { return fmt.Sprintf("127.0.0.1:%d", e.port) }
func (e *external) url() string     { return "nats://" + e.address() }

// js is an operator's way in.
func (e *external) js() jetstream.JetStream {
	e.t.Helper()
	nc, err := nats.Connect(e.url())
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(5*time.Second))
	if err != nil {
		e.t.Fatal(err)
	}
	return js
}

// save copies the stopped server's folder; load puts the copy back.
func (e *external) save() (load func()) {
	e.t.Helper()
	copied := e.t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(e.dir)); err != nil {
		e.t.Fatal(err)
	}
	return func() {
		e.t.Helper()
		if err := os.RemoveAll(e.dir); err != nil {
			e.t.Fatal(err)
		}
		if err := os.CopyFS(e.dir, os.DirFS(copied)); err != nil {
			e.t.Fatal(err)
		}
	}
}

// lines is a log that is read while it is written.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// soon waits until ok, or fails with what was waited for.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func TestNATSElsewhereNotThere(t *testing.T) {
	t.Parallel()
	f, err := tryStart(t, t.TempDir(), Options{URL: "nats://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.ing.Append(t.Context(), f.draft("x"), ""); !errors.Is(err, ledger.ErrUnavailable) {
		t.Errorf("Append: %v", err)
	}
	if f.ing.Status().Connected {
		t.Error("connected")
	}
}

func TestNATSElsewhereComesLater(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	f, err := tryStart(t, t.TempDir(), Options{URL: fmt.Sprintf("nats://127.0.0.1:%d", port)})
	if err != nil {
		t.Fatal(err)
	}
	opts := &server.Options{Host: "127.0.0.1", Port: port, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	run := func(s *server.Server) {
		s.Start()
		if !s.ReadyForConnections(10 * time.Second) {
			t.Fatal("no server")
		}
	}
	run(srv)
	first := f.appendSoon()
	srv.Shutdown()
	srv.WaitForShutdown()
	if srv, err = server.NewServer(opts); err != nil {
		t.Fatal(err)
	}
	run(srv)
	defer func() { f.close(); srv.Shutdown(); srv.WaitForShutdown() }()
	if second := f.appendSoon(); second <= first {
		t.Errorf("id %s after %s", second, first)
	}
}
