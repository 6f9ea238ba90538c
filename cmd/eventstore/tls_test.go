package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// An authority issues certificates of the test's own.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{file: filepath.Join(t.TempDir(), "ca.pem")}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotAfter: time.Now().Add(time.Hour)}
	a.key, a.cert = issue(t, template, template, nil)
	writePEM(t, a.file, "CERTIFICATE", a.cert.Raw)
	return a
}

// issue makes a key and its certificate, signed by the parent's key, or its own without one.
func issue(t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// pair writes a certificate for 127.0.0.1 and its key; the serial number tells it apart.
func (a *authority) pair(t *testing.T, dir string, serial int64) (certFile, keyFile string) {
	t.Helper()
	key, cert := issue(t, &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}, a.cert, a.key)
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", cert.Raw)
	writePEM(t, keyFile, "EC PRIVATE KEY", der)
	return certFile, keyFile
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// serial connects and gives the serial number of the certificate that the server shows.
func (a *authority) serial(t *testing.T, address string) int64 {
	t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	c, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestCertificateIsReloadedWithoutARestart(t *testing.T) {
	t.Parallel()
	a, dir := newAuthority(t), t.TempDir()
	cert, key := a.pair(t, dir, 1)
	conf, err := newTLS(tlsFiles{cert: cert, key: key}, slog.New(slog.DiscardHandler), "h2", "http/1.1")
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	address := l.Addr().String()
	if n := a.serial(t, address); n != 1 {
		t.Fatalf("serial %d", n)
	}
	old, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	a.pair(t, dir, 2)
	renewed, _ := os.ReadFile(key)
	if err := os.WriteFile(key, append(old, '\n'), 0o600); err != nil { // half of the renewal
		t.Fatal(err)
	}
	time.Sleep(recheck)
	if n := a.serial(t, address); n != 1 {
		t.Errorf("with a key that does not fit: serial %d, want the old one", n)
	}
	if err := os.WriteFile(key, append(renewed, '\n', '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); a.serial(t, address) != 2; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the new certificate is not served")
		}
	}
}

// HTTPS and TLS for NATS, with client certificates, end to end.
func TestServeWithTLS(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	cert, key := a.pair(t, t.TempDir(), 1)
	myCert, myKey := a.pair(t, t.TempDir(), 2)
	yaml := "server: {tls_cert: " + cert + ", tls_key: " + key + ", tls_client_ca: " + a.file + "}\n" +
		"nats: {server_tls_cert: " + cert + ", server_tls_key: " + key + ", server_tls_client_ca: " + a.file + "}\n"
	n := &node{dir: filepath.Join(t.TempDir(), "data"), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log"),
		args: []string{"--config", writeFile(t, "store.yaml", yaml)}, client: []string{"--tls-ca", a.file, "--tls-cert", myCert, "--tls-key", myKey}}
	n.start(t)
	n.endWith(t)
	event := []string{"append", "--url", n.url(), "--category", "user", "--action", "a", "--actor", "b"}
	must(t, "", append(event, n.client...)...)
	for _, flags := range [][]string{nil, n.client[:2], n.client[2:]} {
		if out, _, code := eventstore(t, "", append(event, flags...)...); code != 1 { // what it says depends on who ends first
			t.Errorf("with %q: %d %s", flags, code, out)
		}
	}
	if res, err := http.Get("http://" + n.http + "/health"); err == nil {
		if res.Body.Close(); res.StatusCode < 400 {
			t.Errorf("plain HTTP: %s", res.Status)
		}
	}
	nc, err := nats.Connect("tls://"+n.nats, nats.RootCAs(a.file), nats.ClientCert(myCert, myKey))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Request("events.user", []byte(`{"action":"a","actor":"b"}`), 5*time.Second); err != nil {
		t.Error(err)
	}
	for name, opts := range map[string][]nats.Option{"no certificate": {nats.RootCAs(a.file)}, "no CA": {nats.ClientCert(myCert, myKey)}} {
		if nc, err := nats.Connect("tls://"+n.nats, opts...); err == nil {
			nc.Close()
			t.Errorf("NATS with %s: came in", name)
		}
	}
}

func TestTLSRefusals(t *testing.T) {
	for _, test := range []struct{ yaml, want string }{
		{"server: {tls_cert: a}\n", "server.tls_cert and server.tls_key"},
		{"server: {tls_client_ca: a}\n", "server.tls_client_ca: needs"},
		{"nats: {server_tls_key: a}\n", "nats.server_tls_cert and nats.server_tls_key"},
		{"nats: {max_connections: 5}\n", "nats.max_connections"},
	} {
		c, err := load(t, test.yaml)
		if err == nil {
			err = c.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.yaml, err, test.want)
		}
	}
	if _, err := newTLS(tlsFiles{cert: "missing", key: "missing"}, nil); err == nil {
		t.Error("missing files are taken")
	}
}
