package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"home.lab/event-store/ingest"
	"home.lab/event-store/ledger"
)

func load(t *testing.T, yaml string, environ ...string) (Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "store.yaml")
	if err := os.WriteFile(path, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadConfig(path, environ)
}

func TestConfigDefaults(t *testing.T) {
	c, err := LoadConfig("", nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	if c.ServerListen != "127.0.0.1:5101" || c.NATSListen != "127.0.0.1:4222" || c.DataDir != "./data" {
		t.Errorf("defaults: %+v", c)
	}
	days := map[string]int{"system": 90, "service": 30, "security": 365, "ai": 30, "user": 90, "config": 180, "error": 30}
	if len(c.Categories) != len(days) {
		t.Errorf("categories %v", c.Categories)
	}
	for name, n := range days {
		if got := c.Categories[name].Retention; got != time.Duration(n)*day {
			t.Errorf("%s: retention %s", name, got)
		}
	}
}

// The file in the repository names every key, and what it says is the default.
func TestConfigFileOfTheRepository(t *testing.T) {
	path := filepath.Join("..", "..", "configs", "store.yaml")
	c, err := LoadConfig(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if def := DefaultConfig(); !reflect.DeepEqual(c, def) {
		t.Errorf("configs/store.yaml\n%+v\ndefaults\n%+v", c, def)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		section, name, _ := strings.Cut(k.name, ".")
		_, rest, found := strings.Cut(string(b), "\n"+section+":\n")
		if !found || !strings.Contains(rest, "\n  "+name+":") {
			t.Errorf("%s is not in configs/store.yaml", k.name)
		}
	}
}

func TestConfigOrder(t *testing.T) {
	yaml := "server:\n  listen: 127.0.0.1:1\nstorage:\n  data_dir: from-file\n  max_file_size: 5MB\nlogging: {level: debug}\n"
	c, err := load(t, yaml, "EVENT_STORE_SERVER_LISTEN=127.0.0.1:2", "EVENT_STORE_NATS_SYNC_INTERVAL=always", "EVENT_STORE_NATS_URL=")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.set("--data-dir", "storage.data_dir", "from-flag"); err != nil {
		t.Fatal(err)
	}
	if c.ServerListen != "127.0.0.1:2" || c.DataDir != "from-flag" || c.MaxFileSize != 5e6 || c.SyncInterval != 0 || c.LogLevel != slog.LevelDebug {
		t.Errorf("%+v", c)
	}
}

func TestConfigCategories(t *testing.T) {
	c, err := load(t, "categories:\n  security:\n    retention: forever\n  deploy:\n    description: Roll-outs\n    retention: 10d\n  ai:\n")
	if err != nil {
		t.Fatal(err)
	}
	def := DefaultConfig().Categories
	want := map[string]ledger.Policy{
		"security": {Description: def["security"].Description},
		"deploy":   {Description: "Roll-outs", Retention: 10 * day},
		"ai":       def["ai"],
		"system":   def["system"],
	}
	for name, p := range want {
		if c.Categories[name] != p {
			t.Errorf("%s: %+v, want %+v", name, c.Categories[name], p)
		}
	}
	if len(c.Categories) != 8 {
		t.Errorf("%d categories", len(c.Categories))
	}
}

func TestConfigRefusals(t *testing.T) {
	for _, test := range []struct{ yaml, want string }{
		{"server:\n  listen: 127.0.0.1:1\n  listne: x\n", "store.yaml:3: server.listne: unknown key"},
		{"\nretention:\n  every: forever\n", "store.yaml:3: retention.every"},
		{"auth: {token: []}\n", "store.yaml:1: auth.token: unknown key"},
		{"server:\n  listen: 5101\n", `store.yaml:2: server.listen: "5101" is no address`},
		{"server:\n  - a\n", "store.yaml:2: server: keys expected"},
		{"server: 1\n", "store.yaml:1: server: keys expected"},
		{"just text\n", "store.yaml:1: keys expected"},
		{"storage:\n  data_dir: [a]\n", "store.yaml:2: storage.data_dir: a plain value expected"},
		{"storage:\n  max_file_size: lots\n", `store.yaml:2: storage.max_file_size: "lots" is no size`},
		{"storage:\n  max_file_age: forever\n", "store.yaml:2: storage.max_file_age"},
		{"nats:\n  sync_interval: sometimes\n", "store.yaml:2: nats.sync_interval"},
		{"nats:\n  url: http://host\n", "store.yaml:2: nats.url"},
		{"nats:\n  subject_prefix: a.*\n", "store.yaml:2: nats.subject_prefix"},
		{"nats:\n  subject_prefix: _STORE\n", "store.yaml:2: nats.subject_prefix"},
		{"logging:\n  level: loud\n", "store.yaml:2: logging.level"},
		{"categories:\n  ledger:\n    retention: 1d\n", "store.yaml:2: categories.ledger: reserved"},
		{"categories:\n  Big:\n    retention: 1d\n", "store.yaml:2: categories.Big"},
		{"categories:\n  deploy:\n    description: x\n", "store.yaml:2: categories.deploy.retention: missing"},
		{"categories:\n  ai:\n    retain: 1d\n", "store.yaml:3: categories.ai.retain: unknown key"},
		{"categories:\n  ai:\n    retention: -1d\n", "store.yaml:3: categories.ai.retention"},
		{"categories:\n  ai:\n    retention: 1500ms\n", `store.yaml:3: categories.ai.retention: "1500ms": must be whole seconds`},
		{"categories:\n  ai:\n    retention: 0\n", "store.yaml:3: categories.ai.retention"},
		{"retention:\n  every: 1ms\n", "store.yaml:2: retention.every"},
		{"server:\n  listen: 127.0.0.1:1\n  listen: 127.0.0.1:2\n", "store.yaml:3: "},
		{"server: {\n", "store.yaml:1: "},
		{"---\nserver:\n---\nserver:\n", "store.yaml:4: a second document"},
	} {
		_, err := load(t, test.yaml)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %s", test.yaml, err, test.want)
		}
	}
	_, err := LoadConfig("", []string{"EVENT_STORE_STORAGE_MAX_FILE_SIZE=-1"})
	if err == nil || !strings.Contains(err.Error(), "EVENT_STORE_STORAGE_MAX_FILE_SIZE (key storage.max_file_size)") {
		t.Errorf("environment: %v", err)
	}
	for _, c := range []Config{
		{NATSURL: "nats://a", ServerConfig: "b"},
		{NATSLogin: ingest.Login{Credentials: "c"}},
		{NATSURL: "nats://a", NATSLogin: ingest.Login{Credentials: "c", Token: "t"}},
		{NATSURL: "nats://a", NATSLogin: ingest.Login{User: "u", NKey: "n"}},
		{NATSURL: "nats://a", NATSLogin: ingest.Login{Password: "p"}},
		{NATSURL: "nats://a", NATSLogin: ingest.Login{Cert: "c"}},
		{NATSLogin: ingest.Login{CA: "c"}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "nats.") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// A secret may stand in a file.
func TestConfigSecretFromFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("pa55 word \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig("", []string{"EVENT_STORE_NATS_PASSWORD_FILE=" + file})
	if err != nil || c.NATSLogin.Password != "pa55 word " {
		t.Errorf("password %q, %v", c.NATSLogin.Password, err)
	}
	for _, environ := range [][]string{
		{"EVENT_STORE_NATS_PASSWORD_FILE=" + file, "EVENT_STORE_NATS_PASSWORD=other"},
		{"EVENT_STORE_NATS_TOKEN_FILE=" + file + ".none"},
	} {
		if _, err := LoadConfig("", environ); err == nil || !strings.Contains(err.Error(), "_FILE") || strings.Contains(err.Error(), "pa55") {
			t.Errorf("%v: %v", environ, err)
		}
	}
}

func TestUnknownVariables(t *testing.T) {
	got := unknownVariables([]string{"EVENT_STORE_SERVER_LISTEN=a", "EVENT_STORE_SERVER_LISTNE=b", "EVENT_STORE_NATS_TOKEN_FILE=f", "EVENT_STORE_URL=c", "HOME=d"})
	if !reflect.DeepEqual(got, []string{"EVENT_STORE_SERVER_LISTNE"}) {
		t.Error(got)
	}
}

func TestQuantities(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d": 30 * day, "12h": 12 * time.Hour, "2s": 2 * time.Second, "1h30m": 90 * time.Minute, "0.5d": 12 * time.Hour, "forever": 0,
	} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if got, err := parseDuration(ledger.FormatAge(want)); err != nil || got != want {
			t.Errorf("%s written as %s", text, ledger.FormatAge(want))
		}
	}
	for text, want := range map[string]int64{
		"100MB": 100e6, "100 MB": 100e6, "64MiB": 64 << 20, "2GB": 2e9, "1.5kB": 1500, "7": 7, "7B": 7, "1TiB": 1 << 40,
	} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "d", "-1d", "0s", "NaNd", "1e99d", "5", "never"} {
		if d, err := parseDuration(text); err == nil {
			t.Errorf("duration %q taken as %s", text, d)
		}
	}
	for _, text := range []string{"", "MB", "-1MB", "0", "NaN", "1e30", "5 apples", "InfMB"} {
		if n, err := parseSize(text); err == nil {
			t.Errorf("size %q taken as %d", text, n)
		}
	}
}

// Whatever a file says, it is taken or refused with its line.
func FuzzConfig(f *testing.F) {
	b, err := os.ReadFile(filepath.Join("..", "..", "configs", "store.yaml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(b))
	for _, s := range []string{"auth: {tokens: [null]}", "auth: {tokens: [[a]]}", "nats: {users: [{name: a, nkey: U}]}", "auth:\n  tokens:\n  - &a {name: x}\n  - *a\n",
		"? a\n: b", "server: !!binary x", "categories: {a: {retention: 1d}}", "auth: {tokens: [{scopes: [read, null]}]}", "%YAML 1.2\n---\n", "\t", "a: |\n  b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := DefaultConfig()
		err := c.applyYAML("store.yaml", []byte(text))
		if err != nil && !strings.HasPrefix(err.Error(), "store.yaml:") {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil && c.Validate() == nil {
			c.settings()
			c.publishers()
			c.apiTokens()
		}
	})
}
