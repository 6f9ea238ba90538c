package ingest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// gate is the listener through which publishers reach the embedded server. It
// hands each connection on to the server inside this process, and keeps
// its inboxes apart; see doc.go for why. Who comes in and what he may do is the
// server's to say.
type gate struct {
	tls      *gateTLS                 // nil: none
	server   func() (net.Conn, error) // connects to the server
	log      *slog.Logger
	max      int           // connections
	patience time.Duration // with a client that reads nothing

	listener net.Listener
	number   atomic.Uint64 // of the last connection

	mu     sync.Mutex
	open   map[net.Conn]struct{} // clients; nil after close
	served sync.WaitGroup

	told time.Time // that there are too many; owned by accept
}

// fullEvery is how often the log says that there are too many connections.
const fullEvery = time.Minute

// gateTLS is nats-server's way of TLS: the INFO goes first, in the clear, if not
// first says otherwise.
type gateTLS struct {
	config  *tls.Config
	first   bool
	timeout time.Duration
}

// listen serves until close.
func (g *gate) listen(address string) (err error) {
	if g.listener, err = net.Listen("tcp", address); err != nil {
		return fmt.Errorf("opening the NATS listener: %w", err)
	}
	g.open = map[net.Conn]struct{}{}
	g.served.Go(g.accept)
	return nil
}

func (g *gate) accept() {
	for {
		client, err := g.listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // no file descriptor left, mostly
			g.log.Warn("NATS connection not accepted", "error", err)
			time.Sleep(time.Second)
		case g.enter(client):
			g.served.Go(func() {
				defer g.leave(client)
				if err := g.serve(client); err != nil {
					g.log.Debug("NATS connection ended", "address", client.RemoteAddr().String(), "error", err)
				}
			})
		default:
			g.refuse(client)
		}
	}
}

// refuse ends a connection that is too many.
func (g *gate) refuse(client net.Conn) {
	if time.Since(g.told) > fullEvery {
		g.told = time.Now()
		g.log.Warn("NATS connections refused, there are too many", "limit", g.max, "address", client.RemoteAddr().String())
	}
	client.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprint(client, "-ERR 'maximum connections exceeded'\r\n")
	client.Close()
}

func (g *gate) enter(client net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open == nil || len(g.open) >= g.max {
		return false
	}
	g.open[client] = struct{}{}
	return true
}

func (g *gate) leave(client net.Conn) {
	client.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.open, client)
}

// close ends the listener and all connections, and waits for them.
func (g *gate) close() {
	g.listener.Close()
	g.mu.Lock()
	for client := range g.open {
		client.Close()
	}
	g.open = nil
	g.mu.Unlock()
	g.served.Wait()
}

// serve joins a client with the server until one of them ends.
func (g *gate) serve(client net.Conn) error {
	from := client.RemoteAddr()
	server, err := g.server()
	if err != nil {
		return err
	}
	defer server.Close()
	r := bufio.NewReader(server)
	info, err := r.ReadBytes('\n')
	if err != nil {
		return err
	}
	if _, err := server.Write(proxyHeader(from)); err != nil { // before a handshake, which may take longer than the server waits
		return err
	}
	if g.tls != nil {
		client, err = g.tls.join(client, info)
	} else {
		_, err = client.Write(info)
	}
	if err != nil {
		return err
	}
	own := inboxes{fmt.Appendf(nil, "_INBOX.%d.", g.number.Add(1))}
	var inbound sync.WaitGroup
	inbound.Go(func() {
		defer server.Close()
		relay(server, client, own.fromClient)
	})
	out := newSender(client, g.patience)
	var outbound sync.WaitGroup
	outbound.Go(func() {
		if out.run() != nil {
			server.Close()
		}
	})
	err = relay(out, r, own.fromServer)
	out.end()
	outbound.Wait()
	client.Close()
	server.Close()
	inbound.Wait()
	return err
}

// proxyHeader tells the server whom it is talking to (the PROXY protocol, version 1).
func proxyHeader(from net.Addr) []byte {
	a, err := netip.ParseAddrPort(from.String())
	if err != nil {
		return []byte("PROXY UNKNOWN\r\n")
	}
	ip, family, own := a.Addr().Unmap().WithZone(""), "TCP6", "::1"
	if ip.Is4() {
		family, own = "TCP4", "127.0.0.1"
	}
	return fmt.Appendf(nil, "PROXY %s %s %s %d 0\r\n", family, ip, own, a.Port())
}

// join makes a client's connection secure and tells him the server's INFO.
func (t *gateTLS) join(client net.Conn, info []byte) (net.Conn, error) {
	info, err := t.announcing(info)
	if err != nil {
		return nil, err
	}
	client.SetDeadline(time.Now().Add(t.timeout))
	defer client.SetDeadline(time.Time{})
	secure := tls.Server(client, t.config)
	if !t.first {
		_, err = client.Write(info)
	}
	if err == nil {
		err = secure.Handshake()
	}
	if err == nil && t.first {
		_, err = secure.Write(info)
	}
	if err != nil {
		return nil, fmt.Errorf("TLS handshake: %w", err)
	}
	return secure, nil
}

// announcing is the server's INFO with word that there is TLS.
func (t *gateTLS) announcing(line []byte) ([]byte, error) {
	text, ok := bytes.CutPrefix(line, []byte("INFO "))
	var info map[string]json.RawMessage
	if err := json.Unmarshal(text, &info); !ok || err != nil {
		return nil, fmt.Errorf("the server began with %q", line)
	}
	info["tls_required"] = json.RawMessage("true")
	if t.config.ClientAuth >= tls.RequireAnyClientCert {
		info["tls_verify"] = json.RawMessage("true")
	}
	text, err := json.Marshal(info)
	return fmt.Appendf(nil, "INFO %s\r\n", text), err
}
