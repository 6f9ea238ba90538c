package ingest

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

const (
	storeInbox  = "_STORE"
	headSubject = "eventstore.head"
	ownPrefix   = "eventstore.ledger."

	queueMessages = 10_000_000 // ingest queue; the server's default loses bursts of core publishes silently
	queueBytes    = 2 << 30
	startTimeout  = 60 * time.Second
)

const (
	storeAccount = "STORE"

	// maxPending is what may wait for a connection: the store's own consumer
	// pulls half of it. A client that reads nothing for writeDeadline is cut.
	maxPending    = 2 * pullBytes
	writeDeadline = 5 * time.Second
	maxSubs       = 1000 // of one connection
)

// accountsConfig is in nats-server's configuration language, because accounts
// with exports cannot be written as server.Options. Who comes in is put into
// an account by logins.
const accountsConfig = `
accounts {
  STORE {
    jetstream: enabled
    exports: [{service: "%s.>"}, {stream: "eventstore.head"}]
  }
}
`

// embedded is the NATS server inside this process.
type embedded struct {
	srv      atomic.Pointer[server.Server]
	broken   atomic.Bool // its store failed to write: it has to be started again
	drops    drops
	user     string // the store's; empty when the operator's configuration has its own users
	password string
	log      *slog.Logger
	refused  func(address string) // is told of refused logins
	listen   bool
	last     string      // the address that was listened on
	admitted atomic.Bool // publishers were let in
}

// startServer starts the embedded server without its listener.
func startServer(o Options) (*embedded, error) {
	e := &embedded{password: secret(), log: o.Logger, refused: o.Refused}
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
	opts.DontListen = true
	opts.NoSigs = true
	opts.JetStream = true
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
		opts.JetStreamMaxStore = 2*o.MaxBytes + 1<<30 // room for the copy that reconciling may need
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

	srv, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("configuring the embedded NATS server: %w", err)
	}
	srv.SetLoggerV2(serverLog{o.Logger, e}, false, false, false)
	e.srv.Store(srv)
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) || !srv.JetStreamEnabled() {
		e.stop()
		return errors.New("starting the embedded NATS server: JetStream did not come up (see the log)")
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
	e.user = "store"
	if err := opts.ProcessConfigString(fmt.Sprintf(accountsConfig, o.SubjectPrefix)); err != nil {
		return fmt.Errorf("configuring the accounts of the embedded NATS server: %w", err)
	}
	opts.CustomClientAuthentication = newLogins(e, o)
	opts.AlwaysEnableNonce = true // for nkeys
	return nil
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

// openListener lets publishers in. A port in use is an error.
func (e *embedded) openListener(listen string) error {
	srv := e.srv.Load()
	if !e.listen || srv == nil { // nil: it is being started again
		return nil
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
	if e.last = e.address(); e.last == "" {
		return fmt.Errorf("opening the NATS listener on %s failed (see the log)", listen)
	}
	e.admitted.Store(true)
	return nil
}

func (e *embedded) stop() {
	srv := e.srv.Load()
	if srv == nil {
		return
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

// serverLog hands the server's log lines to slog.
type serverLog struct {
	*slog.Logger
	e *embedded // is told when the server says that its store fails or its queue drops messages
}

func (l serverLog) Noticef(f string, v ...any) { l.line(slog.LevelDebug, f, v) }
func (l serverLog) Warnf(f string, v ...any)   { l.line(slog.LevelWarn, f, v) }
func (l serverLog) Errorf(f string, v ...any)  { l.line(slog.LevelError, f, v) }
func (l serverLog) Fatalf(f string, v ...any)  { l.line(slog.LevelError, f, v) }
func (l serverLog) Debugf(f string, v ...any)  { l.line(slog.LevelDebug, f, v) }
func (l serverLog) Tracef(f string, v ...any)  { l.line(slog.LevelDebug, f, v) }

func (l serverLog) line(level slog.Level, format string, v []any) {
	text := strings.TrimSpace(fmt.Sprintf(format, v...))
	if client, _, refused := strings.Cut(text, " - authentication error"); refused {
		host, _, _ := net.SplitHostPort(strings.SplitN(client, " ", 2)[0])
		l.e.refused(host) // who keeps count says so in the log, too
		level = slog.LevelDebug
	}
	if strings.Contains(text, "failed to store a msg") || strings.Contains(text, "no space left on device") {
		l.e.broken.Store(true)
	}
	if strings.HasPrefix(text, "Dropping messages due to excessive stream ingest rate") {
		l.e.drops.add()
	}
	l.Log(context.Background(), level, "nats-server", "line", text)
}
