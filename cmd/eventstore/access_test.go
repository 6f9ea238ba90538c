package main

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

const (
	digestA = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb" // of "a"
	digestB = "3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" // of "b"
	nkeyA   = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4"
)

func hashed(t *testing.T, password string) string {
	t.Helper()
	b, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAccessFromTheFile(t *testing.T) {
	hash := hashed(t, "secret")
	c, err := load(t, "auth:\n  tokens:\n    - name: ci\n      sha256: "+digestA+"\n      scopes: append\n      categories: [service, deploy]\n"+
		"    - {name: boss, sha256: "+digestB+", scopes: [admin]}\n"+
		"nats:\n  users:\n    - {name: grafana, bcrypt: "+hash+"}\n    - {name: backup, nkey: "+nkeyA+", categories: [ai]}\n"+
		"categories:\n  deploy: {retention: 1d}\n")
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	tokens := []token{{"ci", digestA, []string{"append"}, []string{"service", "deploy"}}, {"boss", digestB, []string{"admin"}, nil}}
	users := []natsUser{{"grafana", hash, "", nil}, {"backup", "", nkeyA, []string{"ai"}}}
	if !reflect.DeepEqual(c.Tokens, tokens) || !reflect.DeepEqual(c.NATSUsers, users) {
		t.Errorf("tokens %+v\nusers %+v", c.Tokens, c.NATSUsers)
	}
}

func TestAccessRefusals(t *testing.T) {
	tokens := "auth:\n  tokens:\n    - name: ci\n      sha256: " + digestA + "\n"
	users := "nats:\n  users:\n    - name: ci\n"
	for _, test := range []struct{ yaml, want string }{
		{"auth:\n  tokens: ci\n", "store.yaml:2: auth.tokens: a list expected"},
		{"auth:\n  tokens:\n    - ci\n", "store.yaml:3: auth.tokens: keys expected"},
		{tokens + "      scope: read\n", "store.yaml:5: auth.tokens.scope: unknown key"},
		{tokens + "      scopes: [write]\n", `store.yaml:5: auth.tokens.scopes: "write": one of append, read, admin`},
		{tokens, "auth.tokens: ci: scopes are missing"},
		{tokens + "      scopes: [admin]\n      categories: [ai]\n", "auth.tokens: ci: scope admin cannot be limited"},
		{tokens + "      scopes: [read]\n      categories: []\n", "store.yaml:6: auth.tokens.categories: at least one category expected"},
		{tokens + "      scopes: [read]\n      categories:\n", "store.yaml:6: auth.tokens.categories"},
		{users + "      nkey: " + nkeyA + "\n      categories: []\n", "store.yaml:5: nats.users.categories: at least one category expected"},
		{tokens + "      scopes: [read]\n      categories: [nosuch]\n", `auth.tokens: ci: category "nosuch" is not configured`},
		{tokens + "      scopes: [read]\n    - {name: ci, sha256: " + digestB + ", scopes: [read]}\n", "another token has this name"},
		{tokens + "      scopes: [read]\n    - {name: x, sha256: " + digestA + ", scopes: [read]}\n", "another token has this name or sha256"},
		{"auth:\n  tokens:\n    - name: ci\n      sha256: secret\n", "store.yaml:4: auth.tokens.sha256: the token's SHA-256 expected"},
		{"auth:\n  tokens:\n    - {sha256: " + digestA + ", scopes: read}\n", "a token has a name"},
		{"auth:\n  tokens:\n    - name: a b\n", "store.yaml:3: auth.tokens.name"},
		{users, "a user has a name and either bcrypt"},
		{users + "      bcrypt: secret\n", "store.yaml:4: nats.users.bcrypt: the password's bcrypt hash expected"},
		{users + "      nkey: X\n", "store.yaml:4: nats.users.nkey"},
		{users + "      password: x\n", "store.yaml:4: nats.users.password: unknown key"},
		{"nats:\n  url: nats://a\n  users:\n    - {name: ci, nkey: " + nkeyA + "}\n", "nats.users: an external NATS"},
	} {
		c, err := load(t, test.yaml)
		if err == nil {
			err = c.Validate()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.yaml, err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("the refusal shows a secret: %v", err)
		}
	}
}

// Without tokens nobody outside this host is let in, unless that is said to be meant.
func TestListeningBeyondThisHostNeedsTokens(t *testing.T) {
	token := "auth: {tokens: [{name: ci, sha256: " + digestA + ", scopes: read}]}\n"
	for _, test := range []struct {
		yaml string
		ok   bool
	}{
		{"server: {listen: 127.0.0.1:1}\n", true}, {"server: {listen: 'localhost:1'}\n", true}, {"server: {listen: '[::1]:1'}\n", true},
		{"server: {listen: 127.8.9.1:1}\n", true},
		{"server: {listen: 0.0.0.0:1}\n", false}, {"server: {listen: ':1'}\n", false}, {"server: {listen: '[::]:1'}\n", false},
		{"server: {listen: 192.168.1.2:1}\n", false}, {"server: {listen: 'store.lan:1'}\n", false},
		{"server: {listen: 0.0.0.0:1, open: true}\n", true}, {"server: {listen: 0.0.0.0:1}\n" + token, true},
	} {
		c, err := load(t, test.yaml)
		if err == nil {
			err = c.Validate()
		}
		if (err == nil) != test.ok || err != nil && !strings.Contains(err.Error(), "server.open: true") {
			t.Errorf("%q: %v", test.yaml, err)
		}
	}
}

func TestSecretsFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(path, []byte("nats://store:secret@host:4222\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig("", []string{"EVENT_STORE_NATS_URL_FILE=" + path})
	if err != nil || c.NATSURL != "nats://store:secret@host:4222" {
		t.Errorf("%q %v", c.NATSURL, err)
	}
	if got := unknownVariables([]string{"EVENT_STORE_NATS_URL_FILE=x", "EVENT_STORE_NATS_STREAM_FILE=x"}); !reflect.DeepEqual(got, []string{"EVENT_STORE_NATS_STREAM_FILE"}) {
		t.Error(got)
	}
	for _, environ := range [][]string{
		{"EVENT_STORE_NATS_URL_FILE=" + path, "EVENT_STORE_NATS_URL=nats://other"},
		{"EVENT_STORE_NATS_URL_FILE=" + path + ".missing"},
	} {
		if _, err := LoadConfig("", environ); err == nil || !strings.Contains(err.Error(), "EVENT_STORE_NATS_URL_FILE") || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v: %v", environ, err)
		}
	}
}
