package ingest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"

	"home.lab/event-store/ledger"
)

// loginCase is a server and the logins that it takes and refuses.
type loginCase struct {
	conf        string
	scheme      string
	right       Login
	wrong       Login
	secrets     []string // that no log may show
	urlUserinfo string
}

func TestLogin(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	seed, public := nkeyFile(t, dir, "user.nk")
	nkeyFile(t, dir, "other.nk")
	certs := certificates(t, dir)
	const password = "pa55-of-the-store"
	cases := map[string]loginCase{
		"user": {conf: `authorization: {user: store, password: ` + password + `}`,
			right: Login{User: "store", Password: password}, wrong: Login{User: "store", Password: "wr0ng-one"}, secrets: []string{password, "wr0ng-one"}},
		"user in the URL": {conf: `authorization: {user: store, password: ` + password + `}`, urlUserinfo: "store:" + password + "@",
			right: Login{}, secrets: []string{password}},
		"token": {conf: `authorization: {token: ` + password + `}`,
			right: Login{Token: password}, wrong: Login{Token: "wr0ng-one"}, secrets: []string{password, "wr0ng-one"}},
		"nkey": {conf: `authorization: {users: [{nkey: ` + public + `}]}`,
			right: Login{NKey: filepath.Join(dir, "user.nk")}, wrong: Login{NKey: filepath.Join(dir, "other.nk")}, secrets: []string{seed}},
		"credentials": {conf: operatorConfig(t, dir),
			right: Login{Credentials: filepath.Join(dir, "store.creds")}, wrong: Login{Credentials: filepath.Join(dir, "other.creds")}},
		"tls": {conf: fmt.Sprintf("tls: {cert_file: %q, key_file: %q}", certs.serverCert, certs.serverKey), scheme: "tls",
			right: Login{CA: certs.ca}, wrong: Login{}},
		"tls with the store's certificate": {
			conf: fmt.Sprintf("tls: {cert_file: %q, key_file: %q, ca_file: %q, verify: true}", certs.serverCert, certs.serverKey, certs.ca), scheme: "tls",
			right: Login{CA: certs.ca, Cert: certs.storeCert, Key: certs.storeKey}, wrong: Login{CA: certs.ca}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.try(t)
		})
	}
}

func (c loginCase) try(t *testing.T) {
	var log lines
	scheme := c.scheme
	if scheme == "" {
		scheme = "nats"
	}
	address := newExternal(t, c.conf).address()
	f, err := tryStart(t, t.TempDir(), Options{URL: scheme + "://" + c.urlUserinfo + address, Login: c.right, Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	f.get(f.appendSoon())
	f.close()
	if c.wrong != (Login{}) || c.scheme != "" {
		f, err := tryStart(t, t.TempDir(), Options{URL: scheme + "://" + address, Login: c.wrong, Logger: log.logger()})
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := f.ing.Append(t.Context(), f.draft("x"), ""); !errors.Is(err, ledger.ErrUnavailable) {
			t.Errorf("Append with a wrong login: %v", err)
		}
		for end := time.Now().Add(20 * time.Second); !strings.Contains(log.String(), "nats not reached"); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the log does not say why NATS is not reached:\n%s", log.String())
			}
		}
		f.close()
	}
	for _, s := range c.secrets {
		if strings.Contains(log.String(), s) {
			t.Errorf("the log has the secret %q:\n%s", s, log.String())
		}
	}
}

func TestLoginFilesThatAreNotThere(t *testing.T) {
	t.Parallel()
	for _, l := range []Login{{Credentials: "/nowhere/c"}, {NKey: "/nowhere/n"}, {CA: "/nowhere/ca"}, {Cert: "/nowhere/cert", Key: "/nowhere/key"}} {
		if _, err := tryStart(t, t.TempDir(), Options{URL: "nats://127.0.0.1:1", Login: l}); err == nil || !strings.Contains(err.Error(), "/nowhere/") {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// The store's user is put right while the store runs.
func TestLoginPutRightLater(t *testing.T) {
	t.Parallel()
	srv := newExternal(t, `authorization: {user: store, password: another}`)
	f, err := tryStart(t, t.TempDir(), Options{URL: srv.url(), Login: Login{User: "store", Password: "right"}})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second) // several refusals
	srv.stop()
	srv.conf = `authorization: {user: store, password: right}`
	srv.start()
	f.get(f.appendSoon())
}

// Why NATS is not reached is told, once for each reason, and nothing else beside it.
func TestWhyNATSIsNotReachedIsToldOnce(t *testing.T) {
	t.Parallel()
	srv := newExternal(t, `authorization: {user: store, password: another}`)
	srv.stop()
	var log lines
	f, err := tryStart(t, t.TempDir(), Options{URL: srv.url(), Login: Login{User: "store", Password: "right"}, Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	soon(t, "no server", func() bool { return strings.Contains(log.String(), "connection refused") })
	time.Sleep(5 * time.Second) // several attempts, of the connection and of the consumer
	srv.start()
	soon(t, "a refusal", func() bool { return strings.Contains(log.String(), "Authorization Violation") })
	time.Sleep(5 * time.Second)
	var told []string
	for line := range strings.Lines(log.String()) {
		if !strings.Contains(line, "level=DEBUG") {
			_, line, _ = strings.Cut(line, "level=")
			told = append(told, strings.TrimSpace(line))
		}
	}
	if want := []string{
		fmt.Sprintf(`WARN msg="nats not reached, trying again" error="dial tcp %s: connect: connection refused"`, srv.address()),
		`WARN msg="nats not reached, trying again" error="nats: Authorization Violation"`,
	}; !slices.Equal(told, want) {
		t.Errorf("the log is\n%s", strings.Join(told, "\n"))
	}
	srv.stop()
	srv.conf = `authorization: {user: store, password: right}`
	srv.start()
	f.get(f.appendSoon())
	soon(t, "the end in the log", func() bool { return strings.Contains(log.String(), `msg="nats reached"`) })
}

// The rights that the README names are enough.
func TestLoginWithTheFewestRights(t *testing.T) {
	t.Parallel()
	nats := newExternal(t, `authorization: {users: [{user: store, password: right, permissions: {
		publish: {allow: ["$JS.API.>", "events.>", "eventstore.>"]}, subscribe: {allow: ["_STORE.>"]}}}]}`)
	var log lines
	f, err := tryStart(t, t.TempDir(), Options{URL: nats.url(), Login: Login{User: "store", Password: "right"}, Logger: log.logger()})
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	f.appendSoon()
	if _, _, err := f.ing.AppendBatch(t.Context(), []ledger.Draft{f.draft("a"), f.draft("b")}); err != nil {
		t.Errorf("AppendBatch: %v", err)
	}
	f.get(3)
	actions := branchOff(t, f.ing.js, 3)
	f.get(6)
	f.appendSoon()
	onceEach(t, f, actions)
	if strings.Contains(strings.ToLower(log.String()), "permissions violation") {
		t.Error(log.String())
	}
}

// A server_config with users and TLS of its own: the store's connection is in
// process, and logs in like any other.
func TestServerConfigurationWithUsers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certs := certificates(t, dir)
	file := filepath.Join(dir, "nats.conf")
	conf := fmt.Sprintf("authorization: {users: [{user: store, password: right}]}\ntls: {cert_file: %q, key_file: %q}\n", certs.serverCert, certs.serverKey)
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := tryStart(t, filepath.Join(dir, "data"), Options{ServerConfig: file, Login: Login{User: "store", Password: "right"}})
	if err != nil {
		t.Fatal(err)
	}
	f.get(f.appendSoon())
}

// nkeyFile makes a user's nkey.
func nkeyFile(t *testing.T, dir, name string) (seed, public string) {
	t.Helper()
	kp, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	s, _ := kp.Seed()
	public, _ = kp.PublicKey()
	if err := os.WriteFile(filepath.Join(dir, name), s, 0o600); err != nil {
		t.Fatal(err)
	}
	return string(s), public
}

// operatorConfig makes an operator with an account that has JetStream, and
// store.creds, a user of it, and other.creds, of an account that is unknown.
func operatorConfig(t *testing.T, dir string) string {
	t.Helper()
	operator, _ := nkeys.CreateOperator()
	claims := jwt.NewOperatorClaims(publicKey(t, operator))
	accountKey, _ := nkeys.CreateAccount()
	system, _ := nkeys.CreateAccount()
	claims.SystemAccount = publicKey(t, system)
	operatorJWT, err := claims.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	account := jwt.NewAccountClaims(publicKey(t, accountKey))
	account.Limits.JetStreamLimits = jwt.JetStreamLimits{DiskStorage: -1, MemoryStorage: -1, Streams: -1, Consumer: -1}
	accountJWT, err := account.Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	systemJWT, err := jwt.NewAccountClaims(publicKey(t, system)).Encode(operator)
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := nkeys.CreateAccount()
	credentials(t, filepath.Join(dir, "store.creds"), accountKey)
	credentials(t, filepath.Join(dir, "other.creds"), stranger)
	return fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: {%s: %s, %s: %s}\n", operatorJWT,
		publicKey(t, system), publicKey(t, accountKey), accountJWT, publicKey(t, system), systemJWT)
}

func credentials(t *testing.T, path string, account nkeys.KeyPair) {
	t.Helper()
	user, _ := nkeys.CreateUser()
	token, err := jwt.NewUserClaims(publicKey(t, user)).Encode(account)
	if err != nil {
		t.Fatal(err)
	}
	seed, _ := user.Seed()
	text, err := jwt.FormatUserConfig(token, seed)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func publicKey(t *testing.T, kp nkeys.KeyPair) string {
	t.Helper()
	public, err := kp.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	return public
}

type certificateFiles struct{ ca, serverCert, serverKey, storeCert, storeKey string }

// certificates makes an authority, a server's certificate for 127.0.0.1 and
// the store's.
func certificates(t *testing.T, dir string) certificateFiles {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	authority := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate(t, in("ca.pem"), in("ca.key"), authority, key, authority, key)
	for n, name := range []string{"server", "store"} {
		leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c := &x509.Certificate{SerialNumber: big.NewInt(int64(2 + n)), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
			NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
		certificate(t, in(name+".pem"), in(name+".key"), c, leaf, authority, key)
	}
	return certificateFiles{in("ca.pem"), in("server.pem"), in("server.key"), in("store.pem"), in("store.key")}
}

func certificate(t *testing.T, certFile, keyFile string, c *x509.Certificate, key *ecdsa.PrivateKey, authority *x509.Certificate, by *ecdsa.PrivateKey) {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, authority, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
