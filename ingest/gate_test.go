package ingest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// Whatever bytes publishers send, the server, which reads them with a parser of
// its own, sees no reply subject outside the connection's inboxes.
func TestNoBytesCarryAReplyPastTheGate(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	var seen, replies atomic.Int64
	own := regexp.MustCompile(`^_INBOX\.[0-9]+\.`)
	if _, err := f.ing.nc.Subscribe(">", func(m *nats.Msg) {
		if !strings.HasPrefix(m.Subject, "events.") || strings.HasPrefix(m.Reply, "$JS.ACK.") { // the store's consumer hears it
			return
		}
		seen.Add(1)
		if m.Reply == "" {
			return
		}
		replies.Add(1)
		if !own.MatchString(m.Reply) {
			t.Errorf("%s came with the reply subject %q", m.Subject, m.Reply)
		}
	}); err != nil {
		t.Fatal(err)
	}
	f.ing.nc.Flush()
	var clients sync.WaitGroup
	for n := range uint64(8) {
		rng := rand.New(rand.NewPCG(11, n))
		clients.Go(func() {
			for range 150 {
				if err := say(f.ing.Addr(), mangled(rng)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	f.ing.nc.Flush()
	if seen.Load() < 500 || replies.Load() < 100 {
		t.Errorf("only %d messages came through, %d with a reply subject: the test shows nothing", seen.Load(), replies.Load())
	}
	if _, err := f.ing.js.Stream(t.Context(), "EVENTS"); err != nil {
		t.Errorf("the stream is gone: %v", err)
	}
}

// say sends bytes to the server at address and reads until it has answered.
func say(address string, b []byte) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(300 * time.Millisecond)) // for who waits for the rest of a payload
	fmt.Fprint(conn, "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n")
	conn.Write(b)
	fmt.Fprint(conn, "\r\nPUB events.ai $JS.API.STREAM.DELETE.EVENTS 2\r\n{}\r\nPING\r\n")
	for answer := make([]byte, 4096); ; {
		if n, err := conn.Read(answer); err != nil || bytes.Contains(answer[:n], []byte("PONG")) {
			return nil
		}
	}
}

// mangled gives some operations of which some bytes are others, are missing or
// are twice there.
func mangled(rng *rand.Rand) []byte {
	operations := []string{
		"PUB events.ai 2\r\n{}\r\n", "PUB events.ai _INBOX.a.b 2\r\n{}\r\n", "PUB events.ai $JS.API.STREAM.DELETE.EVENTS 2\r\n{}\r\n",
		"HPUB events.ai $JS.API.STREAM.PURGE.EVENTS 12 14\r\nNATS/1.0\r\n\r\n{}\r\n", "SUB _INBOX.> 1\r\n", "UNSUB 1\r\n", "PING\r\n",
		"MSG events.ai 1 $JS.API.STREAM.DELETE.EVENTS 2\r\n{}\r\n", "HMSG events.ai 1 _STORE.x 2 2\r\n{}\r\n", "PUB events.ai 22\r\nPUB events.ai r 2\r\n{}\r\n\r\n",
	}
	var b []byte
	for range 1 + rng.IntN(5) {
		b = append(b, operations[rng.IntN(len(operations))]...)
	}
	const others = " \t\r\n0129_.$>*+-?PHSMpub\x00\xff"
	for range rng.IntN(4) {
		switch at := rng.IntN(len(b)); rng.IntN(3) {
		case 0:
			b[at] = others[rng.IntN(len(others))]
		case 1:
			b = append(b[:at], b[at+1:]...)
		default:
			b = append(b[:at+1], b[at:]...)
		}
	}
	return b
}

// A connection that ends leaves nothing behind, whoever ended it.
func TestConnectionsThatEndLeaveNothing(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	g := f.ing.emb.gate.Load()
	for n := range 20 {
		nc := f.client()
		if _, err := nc.Request("events.system", []byte(event), 5*time.Second); err != nil {
			t.Fatal(err)
		}
		if n%2 == 0 {
			nc.Close()
			continue
		}
		conn, err := net.Dial("tcp", f.ing.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprint(conn, "CONNECT {}\r\nNONSENSE\r\n") // the server ends it
		nc.Close()
	}
	if !settles(func() bool { return f.ing.emb.srv.Load().NumClients() == 1 && g.count() == 0 }) {
		t.Errorf("%d clients of the server, %d of the gate", f.ing.emb.srv.Load().NumClients(), g.count())
	}
}

func (g *gate) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.open)
}

func settles(done func() bool) bool {
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if done() {
			return true
		}
	}
	return false
}

// A client that reads nothing holds nobody else up, and is cut.
func TestAClientThatReadsNothingIsCut(t *testing.T) {
	t.Parallel()
	f := start(t, t.TempDir())
	conn, err := net.Dial("tcp", f.ing.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprint(conn, "CONNECT {}\r\n")
	cut := make(chan error, 1)
	go func() {
		flood := bytes.Repeat([]byte("PING\r\n"), 10_000)
		for {
			if _, err := conn.Write(flood); err != nil {
				cut <- err
				return
			}
		}
	}()
	other := f.client()
	for end := time.Now().Add(60 * time.Second); ; {
		if _, err := other.Request("events.system", []byte(event), 10*time.Second); err != nil {
			t.Fatalf("another client: %v", err)
		}
		select {
		case <-cut:
			return
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(end) {
			t.Fatal("it is still there")
		}
	}
}

// TLS is as nats-server's own listener does it, with an operator's settings.
func TestGateSpeaksTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs := certificates(t, dir)
	for conf, handshake := range map[string][]nats.Option{
		"tls: {cert_file: %q, key_file: %q}":                                              {nats.RootCAs(certs.ca)},
		"tls: {cert_file: %q, key_file: %q, handshake_first: true}":                       {nats.RootCAs(certs.ca), nats.TLSHandshakeFirst()},
		"tls: {cert_file: %q, key_file: %q, verify: true, ca_file: \"" + certs.ca + "\"}": {nats.RootCAs(certs.ca), nats.ClientCert(certs.storeCert, certs.storeKey)},
	} {
		file := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, conf, certs.serverCert, certs.serverKey), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := tryStart(t, t.TempDir(), Options{ServerConfig: file})
		if err != nil {
			t.Fatal(err)
		}
		f.get(put(t, f, handshake...))
		for name, opts := range map[string][]nats.Option{"no TLS": nil, "no CA": handshake[1:]} {
			if nc, err := nats.Connect("nats://"+f.ing.Addr(), append([]nats.Option{nats.Timeout(time.Second)}, opts...)...); err == nil {
				nc.Close()
				t.Errorf("%s, %s: came in", conf, name)
			}
		}
	}
}

// A handshake may take as long as the operator says, and one that fails is not
// told as a fault of the server.
func TestSlowAndBrokenHandshakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs := certificates(t, dir)
	file := filepath.Join(dir, "nats.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, "tls: {cert_file: %q, key_file: %q, timeout: 20}", certs.serverCert, certs.serverKey), 0o600); err != nil {
		t.Fatal(err)
	}
	var log lockedBuffer
	f, err := tryStart(t, t.TempDir(), Options{ServerConfig: file, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		conn, err := net.Dial("tcp", f.ing.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	conn, err := net.Dial("tcp", f.ing.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	info := bufio.NewReader(conn)
	if line, err := info.ReadString('\n'); err != nil || !strings.HasPrefix(line, "INFO ") {
		t.Fatalf("%q %v", line, err)
	}
	time.Sleep(6 * time.Second) // the server waits 5 s for the header
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(certs.ca)
	if err != nil {
		t.Fatal(err)
	}
	roots.AppendCertsFromPEM(pem)
	secure := tls.Client(conn, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"})
	fmt.Fprint(secure, "CONNECT {\"verbose\":false}\r\nPING\r\n")
	if line, err := bufio.NewReader(secure).ReadString('\n'); line != "PONG\r\n" {
		t.Errorf("%q %v", line, err)
	}
	if strings.Contains(log.String(), "PROXY") {
		t.Errorf("the log: %s", log.String())
	}
}

// lockedBuffer takes a log that is read meanwhile.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Handshakes that nobody ends hold no more connections than others.
func TestHalfOpenConnectionsAreLimitedAndTold(t *testing.T) {
	t.Parallel()
	certs := certificates(t, t.TempDir())
	for _, conf := range []string{"", "handshake_first: true"} {
		file := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(file, fmt.Appendf(nil, "tls: {cert_file: %q, key_file: %q, timeout: 20, %s}", certs.serverCert, certs.serverKey, conf), 0o600); err != nil {
			t.Fatal(err)
		}
		var log lockedBuffer
		f, err := tryStart(t, t.TempDir(), Options{ServerConfig: file, MaxConnections: 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			conn, err := net.Dial("tcp", f.ing.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
		}
		if !settles(func() bool { return strings.Contains(log.String(), "too many") }) {
			t.Errorf("%s: not told: %s", conf, log.String())
		}
		if n := f.ing.emb.gate.Load().count(); n > 20-spareConnections {
			t.Errorf("%s: %d connections, the limit is %d", conf, n, 20-spareConnections)
		}
	}
}

// What leads past the gate, or is not done by it, is refused at the start.
func TestSettingsThatTheGateHasNotAreRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs := certificates(t, dir)
	withTLS := func(more string) string {
		return fmt.Sprintf("tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: true, %s}", certs.serverCert, certs.serverKey, certs.ca, more)
	}
	for _, conf := range []string{
		"websocket: {port: 18080, no_tls: true}", "server_name: a\nmqtt: {port: 11883}", "proxy_protocol: true",
		withTLS("connection_rate_limit: 10"), withTLS("ocsp_peer: true"), withTLS("") + "\nocsp: {mode: always}",
		withTLS("handshake_first: auto"), withTLS("pinned_certs: [\"" + strings.Repeat("a", 64) + "\"]"), withTLS("") + "\nallow_non_tls: true",
	} {
		file := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := tryStart(t, t.TempDir(), Options{ServerConfig: file})
		if err == nil {
			f.close()
		}
		if err == nil || !strings.Contains(err.Error(), "need accounts or users there") {
			t.Errorf("%s: %v", conf, err)
		}
	}
}
