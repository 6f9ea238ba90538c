package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFile writes a file of the test's own and gives its path.
func writeFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// startWith runs a store with a configuration file.
func startWith(t *testing.T, yaml string) *node {
	t.Helper()
	n := &node{dir: filepath.Join(t.TempDir(), "data"), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log"),
		args: []string{"--config", writeFile(t, "store.yaml", yaml)}}
	n.start(t)
	n.endWith(t)
	return n
}

// newToken makes a token, and gives it and its entry for store.yaml.
func newToken(t *testing.T, flags ...string) (secret, stanza string) {
	t.Helper()
	secret, stanza, found := strings.Cut(must(t, "", append([]string{"token", "new"}, flags...)...), "\n\n")
	if !found || strings.ContainsAny(secret, " \n") || strings.Contains(stanza, secret) {
		t.Fatalf("%q %q", secret, stanza)
	}
	return secret, stanza
}

func TestTokenNewAsJSON(t *testing.T) {
	t.Parallel()
	got := decode[struct {
		Token, Name, SHA256 string
		Scopes, Categories  []string
	}](t, must(t, "", "token", "new", "--name", "ci", "--scope", "append,read", "--category", "ai", "--json"))
	if got.SHA256 != fmt.Sprintf("%x", sha256.Sum256([]byte(got.Token))) || got.Name != "ci" || len(got.Scopes) != 2 || len(got.Categories) != 1 {
		t.Errorf("%+v", got)
	}
}

// A new token and its stanza, put where they say, let its bearer do what it is for and nothing else.
func TestNewTokenOpensTheDoor(t *testing.T) {
	t.Parallel()
	secret, stanza := newToken(t, "--name", "ci", "--scope", "append", "--category", "service")
	if other, _ := newToken(t, "--name", "ci", "--scope", "append"); other == secret {
		t.Fatal("two tokens are the same")
	}
	file := writeFile(t, "ci.token", secret+"\n\n"+stanza)
	n := startWith(t, stanza)
	event := func(category string) []string {
		return []string{"append", "--url", n.url(), "--category", category, "--action", "a", "--actor", "b"}
	}
	must(t, "", append(event("service"), "--token-file", file)...)
	must(t, secret, append(event("service"), "--token-file", "-")...)
	for _, c := range []struct {
		args []string
		want string
	}{
		{event("service"), "401"},
		{append(event("service"), "--token-file", writeFile(t, "bad", "est_wrong\n")), "401"},
		{append(event("user"), "--token-file", file), "may not append to category user"},
		{[]string{"query", "--url", n.url(), "--token-file", file}, "lacks the scope read"},
		{[]string{"cleanup", "--url", n.url(), "--token-file", file}, "lacks the scope admin"},
	} {
		if _, errs, code := eventstore(t, "", c.args...); code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%q: %d %s, want %s", c.args, code, errs, c.want)
		}
	}
	if _, errs, code := eventstore(t, "", append(event("service"), "--token-file", file+".missing")...); code != 2 || !strings.Contains(errs, "--token-file") {
		t.Errorf("a missing token file: %d %s", code, errs)
	}
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
	files, _ := filepath.Glob(filepath.Join(n.dir, "events_*.jsonl"))
	b, err := os.ReadFile(files[0])
	if got := strings.Count(string(b), `"category":"service"`); err != nil || got != 2 || strings.Contains(string(b), `"category":"user"`) {
		t.Errorf("%d events came in: %s %v", got, b, err)
	}
}

func TestTokenNewRefuses(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--name", "a b", "--scope", "read"}, {"--name", "a"}, {"--name", "a", "--scope", "write"},
		{"--name", "a", "--scope", "admin", "--category", "ai"}, {"--name", "a", "--scope", "read", "more"}} {
		if out, errs, code := eventstore(t, "", append([]string{"token", "new"}, args...)...); code != 2 || out != "" {
			t.Errorf("%q: %d %q %q", args, code, out, errs)
		}
	}
}
