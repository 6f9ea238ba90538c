package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"home.lab/event-store/ingest"
)

// maxConnections bounds what clients that only connect can take: descriptors are the ledger's to open files with.
const maxConnections = 4096

// listenHTTP opens the listener of the API, with TLS where that is configured.
func listenHTTP(c Config, log *slog.Logger) (net.Listener, error) {
	secure, err := newTLS(c.ServerTLS, log, "h2", "http/1.1")
	if err != nil {
		return nil, fmt.Errorf("server.tls_cert: %w", err)
	}
	l, err := net.Listen("tcp", c.ServerListen)
	if err != nil {
		return nil, fmt.Errorf("server.listen: %w", err)
	}
	warn(c, log, l.Addr().String())
	if l = netutil.LimitListener(l, maxConnections); secure != nil {
		l = tls.NewListener(l, secure)
	}
	return l, nil
}

// warn says what those who are on the network between can do.
func warn(c Config, log *slog.Logger, address string) {
	switch {
	case ingest.Loopback(address):
	case len(c.Tokens) == 0:
		log.Warn("everyone who reaches the store may read and append", "key", "server.listen", "address", address)
	case c.ServerTLS.cert == "":
		log.Warn("tokens and events are sent in plain text, without TLS", "key", "server.listen", "address", address)
	}
}

func newServer(base context.Context, h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return base },
		// No ReadTimeout and no WriteTimeout: a body and a query may take as long as bytes flow. The API sets both per request.
	}
}
