package ingest

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Login says how the store logs in, at Options.URL or at an embedded server
// whose configuration has its own users. One of Credentials, User, Token and
// NKey at most.
type Login struct {
	Credentials string // file with a user's JWT and seed
	User        string
	Password    string // of User
	Token       string
	NKey        string // file with an nkey seed
	CA          string // file with the certificates that sign the server's; given, TLS is required
	Cert        string // file with the store's certificate, with Key
	Key         string
}

// options tells of files that cannot be used at once: later nats.go would only
// try again and again.
func (l Login) options() ([]nats.Option, error) {
	var opts []nats.Option
	switch {
	case l.Credentials != "":
		if _, err := os.Stat(l.Credentials); err != nil {
			return nil, fmt.Errorf("credentials file: %w", err)
		}
		opts = append(opts, nats.UserCredentials(l.Credentials))
	case l.NKey != "":
		o, err := nats.NkeyOptionFromSeed(l.NKey)
		if err != nil {
			return nil, fmt.Errorf("nkey file %s: %w", l.NKey, err)
		}
		opts = append(opts, o)
	case l.Token != "":
		opts = append(opts, nats.Token(l.Token))
	case l.User != "":
		opts = append(opts, nats.UserInfo(l.User, l.Password))
	}
	if l.CA != "" {
		opts = append(opts, nats.RootCAs(l.CA))
	}
	if l.Cert != "" {
		opts = append(opts, nats.ClientCert(l.Cert, l.Key))
	}
	return opts, nil
}

// errAway: there is no connection now. Why is told by absence.
var errAway = errors.New("NATS is not reached")

// absence tells in the log why NATS is not reached, once for each reason.
type absence struct {
	mu   sync.Mutex
	told string // the last reason
}

// tell takes an error of nats.go's connecting. Behind ErrNoServers, of the first
// attempt, come those that say more.
func (a *absence) tell(log *slog.Logger, err error) {
	if err == nil || errors.Is(err, nats.ErrNoServers) {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err.Error() != a.told {
		a.told = err.Error()
		log.Warn("nats not reached, trying again", "error", err)
	}
}

// last is the last reason, while there is no connection.
func (a *absence) last() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.told
}

// end is called when there is a connection again.
func (a *absence) end(log *slog.Logger) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.told != "" {
		a.told = ""
		log.Info("nats reached")
	}
}

// connected is errAway while there is no connection. nats.go has no callback for
// a server that was reached and then did not let the store in.
func (i *Ingest) connected() error {
	if i.nc.IsConnected() {
		return nil
	}
	i.away.tell(i.o.Logger, i.nc.LastError())
	return errAway
}

// connect returns the store's connection and a channel that is closed when the
// connection has ended for good. changed is told of every reconnect.
func connect(o Options, e *embedded, away *absence, changed chan<- struct{}) (*nats.Conn, <-chan struct{}, error) {
	closed := make(chan struct{})
	opts := []nats.Option{
		nats.Name("event-store"),
		nats.CustomInboxPrefix(storeInbox),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(500 * time.Millisecond),
		nats.ReconnectBufSize(-1),   // a publish that was answered "unavailable" must not happen later
		nats.IgnoreAuthErrorAbort(), // an operator may put the user right while the store runs
		nats.ClosedHandler(func(*nats.Conn) { close(closed) }),
		nats.ConnectHandler(func(*nats.Conn) { away.end(o.Logger) }),
		nats.ReconnectHandler(func(*nats.Conn) { away.end(o.Logger); notify(changed) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { away.tell(o.Logger, err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				o.Logger.Warn("nats disconnected", "error", err)
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.Logger.Debug("nats error", "error", err)
		}),
	}
	url := o.URL
	if e != nil {
		url = "" // in process
		opts = append(opts, nats.InProcessServer(e))
	} else {
		opts = append(opts, nats.RetryOnFailedConnect(true))
	}
	login := o.Login
	if e != nil && e.user != "" {
		login = Login{User: e.user, Password: e.password}
	}
	in, err := login.options()
	if err != nil {
		return nil, nil, fmt.Errorf("logging in to NATS: %w", err)
	}
	nc, err := nats.Connect(url, append(opts, in...)...)
	switch {
	case err == nil:
	case e != nil && e.user == "" && errors.Is(err, io.ErrClosedPipe): // all that is seen of a refusal in process
		return nil, nil, fmt.Errorf("connecting to NATS: nats-server configuration %s has users of its own, and nats.user "+
			"(or nats.credentials, nats.token or nats.nkey) must say which is the store: %w", o.ServerConfig, err)
	default:
		return nil, nil, fmt.Errorf("connecting to NATS: %w", err)
	}
	return nc, closed, nil
}
