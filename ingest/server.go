package ingest

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"golang.org/x/time/rate"
)

const (
	storeInbox  = "_STORE"
	headSubject = "eventstore.head"
	ownPrefix   = "eventstore.ledger."

	queueMessages = 10_000_000 // ingest queue; the server's default loses bursts of core publishes silently
	queueBytes    = 2 << 30
	unlimited     = 1 << 50 // bytes of all streams
	startTimeout  = 60 * time.Second
)

const (
	storeAccount  = "STORE"
	accountConfig = "accounts { STORE { jetstream: enabled } }" // server.Options have no way to say it

	// maxPending is what may wait for a connection: the store's own consumer has
	// two pulls under way at most, half of it. A server of somebody else's has as
	// much by default. A client that reads nothing for writeDeadline is cut.
	maxPending    = 4 * pullBytes
	writeDeadline = 5 * time.Second
	tlsTimeout    = 2 * time.Second // nats-server's own
	maxSubs       = 1000            // of one connection

	// spareConnections are kept for the store's own, so that it can come back when
	// publishers have taken all others.
	spareConnections = 8
)

// embedded is the NATS server inside this process.
type embedded struct {
	srv      atomic.Pointer[server.Server]
	broken   atomic.Bool            // its store failed to write: it has to be started again
	fatal    atomic.Pointer[string] // what the server cannot go on from: it never exits by itself
	drops    drops
	clients  *rate.Limiter // of log lines about clients; those beyond it are for debugging
	user     string        // the store's; empty when the operator's configuration has its own users: there is no gate then
	password string
	log      *slog.Logger
	refused  func(address string) // is told of refused logins
	listen   bool
	at       string // the address to listen on
	last     string // that was listened on
	gate     atomic.Pointer[gate]
	secure   *gateTLS      // of the gate
	room     int           // of the gate: connections
	patience time.Duration // of the gate
	admitted atomic.Bool   // publishers were let in
}

// startServer starts the embedded server without its listener.
func startServer(o Options) (*embedded, error) {
	e := &embedded{password: secret(), log: o.Logger, refused: o.Refused, clients: rate.NewLimiter(1, 20)}
	return e, e.start(o)
}

func (e *embedded) start(o Options) error {
	opts := &server.Options{}
	if o.ServerConfig != "" {
		var err error
		if opts, err = server.ProcessConfigFile(o.ServerConfig); err != nil {
			return fmt.Errorf("reading nats-server configuration %s: %w", o.ServerConfig, err)
		}
	}
	if err := e.guard(opts, o); err != nil {
		return err
	}
	if o.TLS != nil {
		if opts.TLSConfig != nil {
			return fmt.Errorf("nats-server configuration %s has TLS of its own, so nats.server_tls_cert cannot be set", o.ServerConfig)
		}
		opts.TLS, opts.TLSConfig = true, o.TLS
	}
	limit(opts, o)
	if e.user != "" {
		e.secure = takeTLS(opts)
		e.room = max(opts.MaxConn-spareConnections, opts.MaxConn/2)
		e.patience = opts.WriteDeadline
		opts.ProxyProtocol = true // the gate says who is behind it
	}
	opts.DontListen = true
	opts.NoSigs = true
	opts.JetStream = true
	opts.NoJetStreamStrict = false // a setting of a stream that the server does not know must not be taken for set
	opts.StoreDir = o.Dir
	opts.SyncInterval = o.SyncInterval
	opts.SyncAlways = o.SyncInterval == 0
	if opts.StreamMaxBufferedMsgs == 0 {
		opts.StreamMaxBufferedMsgs = queueMessages
	}
	if opts.StreamMaxBufferedSize == 0 {
		opts.StreamMaxBufferedSize = queueBytes
	}
	if opts.JetStreamMaxStore <= 0 {
		opts.JetStreamMaxStore = unlimited // the stream has its own limit, which may have been larger; reconciling may need a copy
	}
	if opts.ServerName == "" {
		opts.ServerName = "event-store"
	}
	if err := setListen(opts, o.Listen); err != nil {
		return err
	}
	if address := e.last; address != "" {
		if err := setListen(opts, address); err != nil {
			return err
		}
	}
	e.listen = o.Listen != "" || opts.Port != 0
	e.at = net.JoinHostPort(cmp.Or(opts.Host, "0.0.0.0"), strconv.Itoa(max(opts.Port, 0))) // RANDOM_PORT is -1

	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("configuring the embedded NATS server: %w", err)
	}
	srv.SetLoggerV2(serverLog{o.Logger, e}, false, false, false)
	e.srv.Store(srv)
	e.fatal.Store(nil)
	srv.Start()
	if why := e.fatal.Load(); why != nil {
		e.stop()
		return fmt.Errorf("starting the embedded NATS server in %s: %s", o.Dir, *why)
	}
	if !srv.ReadyForConnections(startTimeout) || !srv.JetStreamEnabled() {
		e.stop()
		return fmt.Errorf("starting the embedded NATS server in %s: JetStream did not come up (see the log)", o.Dir)
	}
	return nil
}

// guard says who may come in, unless the operator's configuration does.
func (e *embedded) guard(opts *server.Options, o Options) error {
	own := len(opts.Accounts) > 0 || len(opts.Users) > 0 || len(opts.Nkeys) > 0 ||
		opts.Username != "" || opts.Authorization != "" || len(opts.TrustedOperators) > 0
	switch {
	case own && slices.ContainsFunc(o.Publishers, func(p Publisher) bool { return len(p.TokenSHA256) == 0 }):
		return fmt.Errorf("nats-server configuration %s has users, so there cannot be others besides", o.ServerConfig)
	case own:
		return nil
	case !o.Guarded && !o.Open && !Loopback(o.Listen):
		return fmt.Errorf("NATS listen address %s is reached from other hosts, and there are no users: configure nats.users or auth.tokens, "+
			"or say server.open: true if everyone there may publish", o.Listen)
	}
	if opts.Websocket.Port != 0 || opts.MQTT.Port != 0 || opts.ProxyProtocol || opts.AllowNonTLS ||
		opts.TLSHandshakeFirstFallback > 0 || opts.TLSPinnedCerts != nil || opts.TLSRateLimit != 0 || opts.OCSPConfig != nil || hasOCSPPeer(opts) {
		return fmt.Errorf("nats-server configuration %s has websocket, mqtt, proxy_protocol, allow_non_tls, pinned_certs, connection_rate_limit, "+
			"ocsp, ocsp_peer or handshake_first with a delay: these need accounts or users there", o.ServerConfig)
	}
	e.user = "store"
	if err := opts.ProcessConfigString(accountConfig); err != nil {
		return fmt.Errorf("configuring the account of the embedded NATS server: %w", err)
	}
	opts.CustomClientAuthentication = newLogins(e, o)
	opts.AlwaysEnableNonce = true // for nkeys
	return nil
}

// hasOCSPPeer tells whether the certificates of clients are to be asked about;
// server.Options do not say so to other packages.
func hasOCSPPeer(opts *server.Options) bool {
	t := reflect.ValueOf(opts).Elem().FieldByName("tlsConfigOpts")
	return !t.IsNil() && !t.Elem().FieldByName("OCSPPeerConfig").IsNil()
}

// limit bounds what connections may take, where the operator's configuration
// does not.
func limit(opts *server.Options, o Options) {
	opts.MaxConn = cmp.Or(opts.MaxConn, o.MaxConnections)
	opts.MaxPayload = cmp.Or(opts.MaxPayload, maxMsgSize)
	opts.MaxPending = cmp.Or(opts.MaxPending, maxPending)
	opts.WriteDeadline = cmp.Or(opts.WriteDeadline, writeDeadline)
	opts.MaxSubs = cmp.Or(opts.MaxSubs, maxSubs)
}

// Loopback tells whether only this host reaches a listen address ("host:port";
// "" is none).
func Loopback(address string) bool {
	host, _, _ := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return address == "" || host == "localhost" || ip != nil && ip.IsLoopback()
}

// setListen puts listen ("host:port"; port 0 = any; empty = what opts say) into opts.
func setListen(opts *server.Options, listen string) error {
	if listen == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("NATS listen address %q: %w", listen, err)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return fmt.Errorf("NATS listen address %q: %w", listen, err)
	}
	opts.Host, opts.Port = host, int(n)
	if host == "" {
		opts.Host = "0.0.0.0"
	}
	if n == 0 {
		opts.Port = server.RANDOM_PORT
	}
	return nil
}

// takeTLS takes over what the options say of TLS: a connection inside the
// process needs none.
func takeTLS(opts *server.Options) *gateTLS {
	if opts.TLSConfig == nil {
		return nil
	}
	t := &gateTLS{opts.TLSConfig, opts.TLSHandshakeFirst, tlsTimeout}
	if opts.TLSTimeout > 0 {
		t.timeout = time.Duration(opts.TLSTimeout * float64(time.Second))
	}
	opts.AuthTimeout = cmp.Or(opts.AuthTimeout, server.AUTH_TIMEOUT.Seconds()) + t.timeout.Seconds() // it begins before the handshake
	opts.TLS, opts.TLSConfig, opts.TLSHandshakeFirst = false, nil, false
	return t
}

// openListener lets publishers in. A port in use is an error.
func (e *embedded) openListener(listen string) error {
	srv := e.srv.Load()
	if !e.listen || srv == nil { // nil: it is being started again
		return nil
	}
	if err := e.accept(srv, listen); err != nil {
		return err
	}
	e.last = e.address()
	e.admitted.Store(true)
	return nil
}

// accept opens the gate, or the server's own listener where the operator's
// configuration says who may come in.
func (e *embedded) accept(srv *server.Server, listen string) error {
	if e.user != "" {
		g := &gate{tls: e.secure, server: e.InProcessConn, log: e.log, max: e.room, patience: e.patience}
		err := g.listen(e.at)
		if err == nil {
			e.gate.Store(g)
		}
		return err
	}
	if listen != "" { // the server itself calls a failure to listen fatal
		probe, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("opening the NATS listener: %w", err)
		}
		probe.Close()
	}
	ready := make(chan struct{})
	srv.AcceptLoop(ready)
	<-ready
	if srv.Addr() == nil {
		return fmt.Errorf("opening the NATS listener on %s failed (see the log)", listen)
	}
	return nil
}

func (e *embedded) stop() {
	srv := e.srv.Load()
	if srv == nil {
		return
	}
	if g := e.gate.Swap(nil); g != nil {
		g.close()
	}
	srv.Shutdown()
	srv.WaitForShutdown()
}

// notify puts a token into a channel of capacity one.
func notify(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// secret returns 32 random hex digits.
func secret() string {
	b := make([]byte, 16)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
