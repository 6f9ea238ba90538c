package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
)

// tlsFiles are a listener's certificate, its key and, when clients need certificates too, the CA that issues them.
type tlsFiles struct{ cert, key, clientCA string }

// check refuses files that do not go together.
func (f tlsFiles) check(name string) error {
	switch {
	case (f.cert == "") != (f.key == ""):
		return fmt.Errorf("%s_cert and %s_key: one does not go without the other", name, name)
	case f.clientCA != "" && f.cert == "":
		return fmt.Errorf("%s_client_ca: needs %s_cert and %s_key", name, name, name)
	}
	return nil
}

// load reads the files.
func (f tlsFiles) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return nil, fmt.Errorf("reading certificate and key: %w", err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12}
	if f.clientCA != "" {
		if c.ClientCAs, err = readCA(f.clientCA); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return c, nil
}

func readCA(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// recheck is how soon a changed file is seen, at the next connection.
const recheck = time.Second

// A reloader serves the newest files that could be read: a certificate is renewed without a restart.
type reloader struct {
	files tlsFiles
	log   *slog.Logger

	mu      sync.Mutex // for all below
	config  *tls.Config
	state   string // of the files when they were read last, with or without success
	checked time.Time
}

// newTLS gives the configuration of a listener that serves the files, and nil without any.
func newTLS(f tlsFiles, log *slog.Logger, protocols ...string) (*tls.Config, error) {
	if f.cert == "" {
		return nil, nil
	}
	r := &reloader{files: f, log: log, state: f.state(), checked: time.Now()}
	var err error
	if r.config, err = f.load(); err != nil {
		return nil, err
	}
	outer := r.config.Clone()
	outer.NextProtos = protocols
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := r.current().Clone()
		c.NextProtos = protocols
		return c, nil
	}
	return outer, nil
}

func (r *reloader) current() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if now := time.Now(); now.Sub(r.checked) >= recheck {
		r.checked = now
		if state := r.files.state(); state != r.state {
			r.state = state
			r.reload()
		}
	}
	return r.config
}

// reload keeps what it has when the new files are no pair, as between the renewal of one and the other.
func (r *reloader) reload() {
	c, err := r.files.load()
	if err != nil {
		r.log.Warn("certificate not reloaded", "file", r.files.cert, "error", err)
		return
	}
	r.config = c
	r.log.Info("certificate reloaded", "file", r.files.cert)
}

// state tells versions of the files apart.
func (f tlsFiles) state() string {
	state := ""
	for _, path := range []string{f.cert, f.key, f.clientCA} {
		info, err := os.Stat(path)
		switch {
		case err == nil:
			state += fmt.Sprintf("%d %d\n", info.ModTime().UnixNano(), info.Size())
		case !errors.Is(err, fs.ErrNotExist):
			state += err.Error() + "\n"
		}
	}
	return state
}

// clientTLS is how the client commands trust a store and show who they are.
type clientTLS struct{ ca, cert, key string }

func (t *clientTLS) addFlags(cmd *cobra.Command) {
	for _, f := range []struct {
		to                   *string
		flag, variable, text string
	}{
		{&t.ca, "tls-ca", "EVENT_STORE_TLS_CA", "`FILE` with the CA of the store's certificate"},
		{&t.cert, "tls-cert", "EVENT_STORE_TLS_CERT", "`FILE` with this client's certificate"},
		{&t.key, "tls-key", "EVENT_STORE_TLS_KEY", "`FILE` with its key"},
	} {
		cmd.Flags().StringVar(f.to, f.flag, os.Getenv(f.variable), f.text+" (environment "+f.variable+")")
	}
}

func (t *clientTLS) transport() (http.RoundTripper, error) {
	if *t == (clientTLS{}) {
		return http.DefaultTransport, nil
	}
	c := &tls.Config{}
	var err error
	if t.ca != "" {
		if c.RootCAs, err = readCA(t.ca); err != nil {
			return nil, fmt.Errorf("--tls-ca: %w", err)
		}
	}
	if t.cert != "" || t.key != "" {
		cert, err := tls.LoadX509KeyPair(t.cert, t.key)
		if err != nil {
			return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
		}
		c.Certificates = []tls.Certificate{cert}
	}
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.TLSClientConfig = c
	return tr, nil
}
