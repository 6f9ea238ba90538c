package ingest

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// serverProcess names, in its environment, the configuration of a process of
// this test that is a NATS server.
const serverProcess = "EVENT_STORE_TEST_NATS_SERVER"

func runServer(conf string) {
	go func() { // the test holds the other end: nobody outlives it
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	opts, err := server.ProcessConfigFile(conf)
	if err == nil {
		opts.NoLog = true
		var srv *server.Server
		if srv, err = server.NewServer(opts); err == nil {
			srv.Start()
			srv.WaitForShutdown()
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// cluster is three NATS servers, each a process.
type cluster struct {
	t     *testing.T
	confs []string
	urls  []string
	procs []*exec.Cmd
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, procs: make([]*exec.Cmd, 3)}
	ports, routes := freePorts(t, 6), []string{}
	for _, port := range ports[3:] {
		routes = append(routes, fmt.Sprintf("nats://127.0.0.1:%d", port))
	}
	for n := range 3 {
		dir := t.TempDir()
		conf := filepath.Join(dir, "nats.conf")
		text := fmt.Sprintf("server_name: n%d\nlisten: 127.0.0.1:%d\njetstream: {store_dir: %q}\ncluster: {name: three, listen: 127.0.0.1:%d, routes: [%s]}\n",
			n, ports[n], dir, ports[3+n], strings.Join(routes, ", "))
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c.confs, c.urls = append(c.confs, conf), append(c.urls, fmt.Sprintf("nats://127.0.0.1:%d", ports[n]))
		c.start(n)
	}
	t.Cleanup(func() {
		for n := range 3 {
			c.kill(n)
		}
	})
	return c
}

// freePorts finds ports that nothing listens on.
func freePorts(t *testing.T, n int) (ports []int) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports
}

func (c *cluster) start(n int) {
	c.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), serverProcess+"="+c.confs[n])
	stdin, err := cmd.StdinPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { stdin.Close() })
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.procs[n] = cmd
}

// kill ends a server as a power cut does, but for what the kernel still has.
func (c *cluster) kill(n int) {
	if c.procs[n] == nil {
		return
	}
	c.procs[n].Process.Kill()
	c.procs[n].Wait()
	c.procs[n] = nil
}

func (c *cluster) url() string { return strings.Join(c.urls, ",") }

func (c *cluster) js() jetstream.JetStream {
	c.t.Helper()
	nc, err := nats.Connect(c.url(), nats.MaxReconnects(-1), nats.ReconnectWait(100*time.Millisecond), nats.RetryOnFailedConnect(true))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncTimeout(5*time.Second))
	if err != nil {
		c.t.Fatal(err)
	}
	return js
}

// leader is the server that leads the stream, -1 while nobody does or one of
// the others has not all of it.
func (c *cluster) leader(js jetstream.JetStream) int {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "EVENTS")
	if err != nil || s.CachedInfo().Cluster == nil {
		return -1
	}
	current := 0
	for _, r := range s.CachedInfo().Cluster.Replicas {
		if r.Current && !r.Offline {
			current++
		}
	}
	n := -1
	if current == 2 {
		fmt.Sscanf(s.CachedInfo().Cluster.Leader, "n%d", &n)
	}
	return n
}

// Two stores on a stream with three replicas in NATS. The stream's leader is
// killed under load, and started again, and then another one.
func TestReplicasOnAClusterAreByteIdentical(t *testing.T) {
	t.Parallel()
	c, log := newCluster(t), &lines{}
	defer func() {
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	o := Options{URL: c.url(), Logger: log.logger()}
	a := storeWith(t, o, t.TempDir(), 3<<20)
	a.appendSoon()
	js := c.js()
	soon(t, "three replicas", func() bool { return js.Conn().IsConnected() && threefold(t, js) == nil })
	b := storeWith(t, o, copyKeys(t, a.dir, "ledger.pub"), 100e6).ready()

	killed := -1
	kill := func() {
		soon(t, "a leader and two that have all it has", func() bool { killed = c.leader(js); return killed >= 0 })
		c.kill(killed)
	}
	start := func() { c.start(killed) }
	mixed(t, js, *mixedEvents, milestones(*mixedEvents, kill, start, func() { b.close(); b = storeWith(t, o, b.dir, 100e6) }, kill, start))
	agree(t, a, b)
	if strings.Contains(log.String(), "moving its messages") {
		t.Error("acknowledged events moved")
	}
}

// threefold is what an operator does: nats stream edit EVENTS --replicas 3.
func threefold(t *testing.T, js jetstream.JetStream) error {
	s, err := js.Stream(t.Context(), "EVENTS")
	if err != nil {
		return err
	}
	cfg := s.CachedInfo().Config
	cfg.Replicas = 3
	_, err = js.UpdateStream(t.Context(), cfg)
	return err
}
