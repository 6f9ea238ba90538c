package main

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"home.lab/event-store/ingest"
	"home.lab/event-store/ledger"
)

// Config is what serve runs with: defaults < file < environment < flags.
type Config struct {
	ServerListen  string   // server.listen: HTTP address, host:port
	ServerOpen    bool     // server.open: without tokens, listen beyond this host all the same
	ServerTLS     tlsFiles // server.tls_cert, server.tls_key, server.tls_client_ca: HTTPS, and whether clients need certificates
	ServerMetrics string   // server.metrics: open, or token (a token with scope read, where there are tokens)

	Tokens []token // auth.tokens: who may use HTTP, and with scope append the embedded NATS server

	DataDir     string        // storage.data_dir: the ledger's folder
	MaxFileSize int64         // storage.max_file_size: bytes at which a segment is sealed
	MaxFileAge  time.Duration // storage.max_file_age: span of event times at which a segment is sealed

	NATSURL       string        // nats.url: an external NATS; empty runs the embedded server
	NATSListen    string        // nats.listen: address of the embedded server, host:port
	NATSTLS       tlsFiles      // nats.server_tls_cert, nats.server_tls_key, nats.server_tls_client_ca: the embedded server's
	NATSMaxConns  int           // nats.max_connections: of the embedded server
	NATSUsers     []natsUser    // nats.users: publishers of the embedded server, besides auth.tokens
	ServerConfig  string        // nats.server_config: nats-server configuration file of the embedded server
	Stream        string        // nats.stream: name of the stream
	SubjectPrefix string        // nats.subject_prefix: events arrive on <prefix>.<category>
	SyncInterval  time.Duration // nats.sync_interval: embedded server's fsync interval; 0 is always
	MaxBytes      int64         // nats.max_bytes: upper bound of the stream's size

	// NATSLogin is the store's user, for nats.url or for a server_config with users of its own:
	// nats.credentials (file), nats.user with nats.password, nats.token or nats.nkey (seed file); and for nats.url
	// nats.tls_ca, nats.tls_cert and nats.tls_key (PEM files). All empty by default.
	NATSLogin ingest.Login

	Categories map[string]ledger.Policy // categories.<name>.{description, retention}

	RetentionEvery time.Duration // retention.every: time between two retention passes

	LogLevel  slog.Level // logging.level
	LogFormat string     // logging.format: text or json
}

// DefaultConfig returns the configuration of a run without any file.
func DefaultConfig() Config {
	l := ledger.DefaultConfig()
	return Config{
		ServerListen:   "127.0.0.1:5101",
		ServerMetrics:  "token",
		DataDir:        "./data",
		MaxFileSize:    l.MaxFileSize,
		MaxFileAge:     l.MaxFileAge,
		NATSListen:     "127.0.0.1:4222",
		NATSMaxConns:   1000,
		Stream:         "EVENTS",
		SubjectPrefix:  "events",
		SyncInterval:   5 * time.Second,
		MaxBytes:       8 << 30,
		Categories:     maps.Clone(l.Categories),
		RetentionEvery: 24 * time.Hour,
		LogLevel:       slog.LevelInfo,
		LogFormat:      "text",
	}
}

// A key is one setting outside categories and lists: its dotted name and how its text is taken.
type key struct {
	name   string
	set    func(c *Config, text string) error
	secret bool // also from the file that <variable>_FILE names
}

var keys = []key{
	{name: "server.listen", set: func(c *Config, s string) error { return setAddress(&c.ServerListen, s) }},
	{name: "server.open", set: func(c *Config, s string) error { return setBool(&c.ServerOpen, s) }},
	{name: "server.metrics", set: func(c *Config, s string) error { return setOneOf(&c.ServerMetrics, s, "open", "token") }},
	{name: "server.tls_cert", set: func(c *Config, s string) error { c.ServerTLS.cert = s; return nil }},
	{name: "server.tls_key", set: func(c *Config, s string) error { c.ServerTLS.key = s; return nil }},
	{name: "server.tls_client_ca", set: func(c *Config, s string) error { c.ServerTLS.clientCA = s; return nil }},
	{name: "storage.data_dir", set: func(c *Config, s string) error { return setFilled(&c.DataDir, s) }},
	{name: "storage.max_file_size", set: func(c *Config, s string) error { return setSize(&c.MaxFileSize, s) }},
	{name: "storage.max_file_age", set: func(c *Config, s string) error { return setSpan(&c.MaxFileAge, s) }},
	{name: "nats.url", set: func(c *Config, s string) error { return setURL(&c.NATSURL, s) }, secret: true},
	{name: "nats.listen", set: func(c *Config, s string) error { return setAddress(&c.NATSListen, s) }},
	{name: "nats.server_tls_cert", set: func(c *Config, s string) error { c.NATSTLS.cert = s; return nil }},
	{name: "nats.server_tls_key", set: func(c *Config, s string) error { c.NATSTLS.key = s; return nil }},
	{name: "nats.server_tls_client_ca", set: func(c *Config, s string) error { c.NATSTLS.clientCA = s; return nil }},
	{name: "nats.max_connections", set: func(c *Config, s string) error { return setCount(&c.NATSMaxConns, s) }},
	{name: "nats.server_config", set: func(c *Config, s string) error { c.ServerConfig = s; return nil }},
	{name: "nats.credentials", set: func(c *Config, s string) error { c.NATSLogin.Credentials = s; return nil }},
	{name: "nats.user", set: func(c *Config, s string) error { c.NATSLogin.User = s; return nil }},
	{name: "nats.password", set: func(c *Config, s string) error { c.NATSLogin.Password = s; return nil }, secret: true},
	{name: "nats.token", set: func(c *Config, s string) error { c.NATSLogin.Token = s; return nil }, secret: true},
	{name: "nats.nkey", set: func(c *Config, s string) error { c.NATSLogin.NKey = s; return nil }},
	{name: "nats.tls_ca", set: func(c *Config, s string) error { c.NATSLogin.CA = s; return nil }},
	{name: "nats.tls_cert", set: func(c *Config, s string) error { c.NATSLogin.Cert = s; return nil }},
	{name: "nats.tls_key", set: func(c *Config, s string) error { c.NATSLogin.Key = s; return nil }},
	{name: "nats.stream", set: func(c *Config, s string) error { return setName(&c.Stream, s) }},
	{name: "nats.subject_prefix", set: func(c *Config, s string) error { return setSubject(&c.SubjectPrefix, s) }},
	{name: "nats.sync_interval", set: func(c *Config, s string) error { return setSync(&c.SyncInterval, s) }},
	{name: "nats.max_bytes", set: func(c *Config, s string) error { return setSize(&c.MaxBytes, s) }},
	{name: "retention.every", set: func(c *Config, s string) error { return setSpan(&c.RetentionEvery, s) }},
	{name: "logging.level", set: func(c *Config, s string) error { return setLevel(&c.LogLevel, s) }},
	{name: "logging.format", set: func(c *Config, s string) error { return setOneOf(&c.LogFormat, s, "text", "json") }},
}

// findKey returns the key of that dotted name, or nil.
func findKey(name string) *key {
	i := slices.IndexFunc(keys, func(k key) bool { return k.name == name })
	if i < 0 {
		return nil
	}
	return &keys[i]
}

// LoadConfig reads the defaults, then the file (none if path is empty), then the environment (in the form of
// os.Environ). Every error names the key it is about, and the file's line where there is one.
func LoadConfig(path string, environ []string) (Config, error) {
	c := DefaultConfig()
	if path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("reading --config: %w", err)
		}
		if err := c.applyYAML(path, b); err != nil {
			return c, err
		}
	}
	return c, c.applyEnvironment(environ)
}

// envName is the variable of a dotted key: EVENT_STORE_<SECTION>_<KEY>.
func envName(name string) string {
	return "EVENT_STORE_" + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

// applyEnvironment takes the variables of known keys; an empty value leaves the key as it is.
func (c *Config) applyEnvironment(environ []string) error {
	for _, k := range keys {
		text, err := k.fromEnvironment(environ)
		if err != nil {
			return err
		}
		if text == "" {
			continue
		}
		if err := k.set(c, text); err != nil {
			return fmt.Errorf("%s (key %s): %w", envName(k.name), k.name, err)
		}
	}
	return nil
}

// fromEnvironment is a key's text in the environment, "" when it has none. A secret may stand in a file instead, without
// the end of its last line, so that it is not seen where processes are listed.
func (k key) fromEnvironment(environ []string) (string, error) {
	text, _ := lookup(environ, envName(k.name))
	file, _ := lookup(environ, fileName(k.name))
	if !k.secret || file == "" {
		return text, nil
	}
	if text != "" {
		return "", fmt.Errorf("%s and %s (key %s): only one of them can be set", envName(k.name), fileName(k.name), k.name)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s (key %s): %w", fileName(k.name), k.name, err)
	}
	return strings.TrimRight(string(b), "\r\n"), nil
}

// fileName is the variable that names the file of a secret key.
func fileName(name string) string { return envName(name) + "_FILE" }

func lookup(environ []string, name string) (string, bool) {
	for _, kv := range environ {
		if k, v, _ := strings.Cut(kv, "="); k == name {
			return v, true
		}
	}
	return "", false
}

// unknownVariables lists variables that look like a key of a section but are none. They are warned about, not
// refused: container platforms add variables of their own under a service's name.
func unknownVariables(environ []string) []string {
	var unknown []string
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if !sectionVariable.MatchString(name) {
			continue
		}
		if !slices.ContainsFunc(keys, func(k key) bool { return envName(k.name) == name || k.secret && fileName(k.name) == name }) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}

var sectionVariable = regexp.MustCompile(`^EVENT_STORE_(SERVER|STORAGE|AUTH|NATS|CATEGORIES|RETENTION|LOGGING)_`)

// set takes the text of one key, as a flag gives it.
func (c *Config) set(flag, name, text string) error {
	if err := findKey(name).set(c, text); err != nil {
		return fmt.Errorf("%s (key %s): %w", flag, name, err)
	}
	return nil
}

// Validate checks what no single key can: combinations, and the ledger's own limits.
func (c *Config) Validate() error {
	if c.NATSURL != "" && c.ServerConfig != "" {
		return fmt.Errorf("nats.url and nats.server_config: only one of them can be set: an external NATS has its own configuration")
	}
	if err := c.validateLogin(); err != nil {
		return err
	}
	if err := c.Ledger().Validate(); err != nil {
		return fmt.Errorf("storage and categories: %w", err)
	}
	return c.validateAccess()
}

// validateLogin checks that the store logs in in one way, and to a server that has users.
func (c *Config) validateLogin() error {
	l := c.NATSLogin
	ways := []string{}
	for _, w := range []struct{ key, value string }{
		{"nats.credentials", l.Credentials}, {"nats.user", l.User}, {"nats.token", l.Token}, {"nats.nkey", l.NKey},
	} {
		if w.value != "" {
			ways = append(ways, w.key)
		}
	}
	switch {
	case len(ways) > 1:
		return fmt.Errorf("%s: only one of them can be set", strings.Join(ways, " and "))
	case len(ways) == 1 && c.NATSURL == "" && c.ServerConfig == "":
		return fmt.Errorf("%s: needs nats.url or nats.server_config: the embedded server alone has no users", ways[0])
	case l.Password != "" && l.User == "":
		return fmt.Errorf("nats.password: needs nats.user")
	case (l.Cert == "") != (l.Key == ""):
		return fmt.Errorf("nats.tls_cert and nats.tls_key: one needs the other")
	case c.NATSURL == "" && (l.CA != "" || l.Cert != ""):
		return fmt.Errorf("nats.tls_ca, nats.tls_cert and nats.tls_key: need nats.url: they are the store's side of an external NATS")
	}
	return nil
}

// Ledger returns the part of the configuration that is chained in the ledger.
func (c *Config) Ledger() ledger.Config {
	l := ledger.DefaultConfig()
	l.Categories, l.MaxFileSize, l.MaxFileAge = c.Categories, c.MaxFileSize, c.MaxFileAge
	return l
}
