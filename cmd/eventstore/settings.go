package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"home.lab/event-store/ledger"
)

// settingsFile is where a store remembers its settings, to tell what changed when it starts again.
const settingsFile = "settings.json"

// settings are the configuration in words that an auditor may read: of secrets whether there is one, of addresses where
// they are reached from (ports come and go), and nothing of where this machine keeps the folder.
func (c *Config) settings() map[string]string {
	s := map[string]string{
		"server.listen":             hostOf(c.ServerListen),
		"server.open":               strconv.FormatBool(c.ServerOpen),
		"server.metrics":            c.ServerMetrics,
		"server.tls_cert":           c.ServerTLS.cert,
		"server.tls_key":            c.ServerTLS.key,
		"server.tls_client_ca":      c.ServerTLS.clientCA,
		"storage.max_file_size":     strconv.FormatInt(c.MaxFileSize, 10),
		"storage.max_file_age":      ledger.FormatAge(c.MaxFileAge),
		"nats.url":                  redactURLs(c.NATSURL),
		"nats.listen":               hostOf(c.NATSListen),
		"nats.server_tls_cert":      c.NATSTLS.cert,
		"nats.server_tls_key":       c.NATSTLS.key,
		"nats.server_tls_client_ca": c.NATSTLS.clientCA,
		"nats.max_connections":      strconv.Itoa(c.NATSMaxConns),
		"nats.server_config":        c.ServerConfig,
		"nats.credentials":          c.NATSLogin.Credentials,
		"nats.user":                 c.NATSLogin.User,
		"nats.password":             isSet(c.NATSLogin.Password),
		"nats.token":                isSet(c.NATSLogin.Token),
		"nats.nkey":                 c.NATSLogin.NKey,
		"nats.tls_ca":               c.NATSLogin.CA,
		"nats.tls_cert":             c.NATSLogin.Cert,
		"nats.tls_key":              c.NATSLogin.Key,
		"nats.stream":               c.Stream,
		"nats.subject_prefix":       c.SubjectPrefix,
		"nats.sync_interval":        syncText(c.SyncInterval),
		"nats.max_bytes":            strconv.FormatInt(c.MaxBytes, 10),
		"retention.every":           ledger.FormatAge(c.RetentionEvery),
		"logging.level":             c.LogLevel.String(),
		"logging.format":            c.LogFormat,
	}
	for name, p := range c.Categories {
		s["categories."+name+".retention"] = ledger.FormatAge(p.Retention)
	}
	for _, t := range c.Tokens {
		s["auth.tokens."+t.name] = rights(strings.Join(t.scopes, ", "), t.categories, "sha256", t.sha256)
	}
	for _, u := range c.NATSUsers {
		kind, credential := "bcrypt", fmt.Sprintf("%x", sha256.Sum256([]byte(u.bcrypt)))
		if u.nkey != "" {
			kind, credential = "nkey", u.nkey
		}
		s["nats.users."+u.name] = rights("publish", u.categories, kind, credential)
	}
	maps.DeleteFunc(s, func(_, value string) bool { return value == "" })
	return s
}

// untoldKeys are no settings: they say where on this machine something is.
var untoldKeys = []string{"storage.data_dir"}

func hostOf(address string) string {
	host, _, _ := net.SplitHostPort(address)
	return host
}

func syncText(every time.Duration) string {
	if every == 0 {
		return "always"
	}
	return every.String()
}

func isSet(secret string) string {
	if secret == "" {
		return ""
	}
	return "set"
}

// rights say who may do what, and the beginning of the credential's digest, so that another credential is a change.
func rights(what string, categories []string, kind, credential string) string {
	if len(categories) > 0 {
		what += " of " + strings.Join(categories, ", ")
	}
	return what + " (" + kind + " " + credential[:min(len(credential), 12)] + ")"
}

// A change is a setting that is another than at the last start.
type change struct {
	Key  string `json:"key"`
	From string `json:"from"` // empty: was not set
	To   string `json:"to"`
}

func changes(from, to map[string]string) []change {
	all := maps.Clone(to)
	maps.Copy(all, from)
	var changed []change
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if from[key] != to[key] {
			changed = append(changed, change{key, from[key], to[key]})
		}
	}
	return changed
}

// configuration tells what changed since the store was started last. Where no start is remembered nothing has changed.
// Without the private key it can tell nothing, and remembers nothing: what changed is told when the key is back.
func (t *teller) configuration(ctx context.Context, c Config) {
	if !t.ledger.Signs() {
		return
	}
	path, now := filepath.Join(c.DataDir, settingsFile), c.settings()
	last, err := readSettings(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.log.Warn("the settings of the last start cannot be read: what changed is not told", "error", err)
	}
	if changed := changes(last, now); err == nil && len(changed) > 0 {
		t.log.Info("configuration changed", "keys", keysOf(changed))
		if !t.tellUntilDone(ctx, ledger.ActionChanged, map[string]any{"changes": changed}) {
			return // at the next start
		}
	}
	if err := writeSettings(path, now); err != nil {
		t.log.Warn("the settings are not remembered: a change of them will not be told", "error", err)
	}
}

func keysOf(changed []change) (keys []string) {
	for _, c := range changed {
		keys = append(keys, c.Key)
	}
	return keys
}

// noURL is how files of versions before say that there is no nats.url.
const noURL = "://"

func readSettings(path string) (settings map[string]string, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &settings)
	}
	if settings["nats.url"] == noURL {
		delete(settings, "nats.url")
	}
	return settings, err
}

// writeSettings puts the file there whole or not at all. Its name need not outlive a power loss: then the change is told
// again.
func writeSettings(path string, settings map[string]string) error {
	b, err := json.MarshalIndent(settings, "", "  ")
	if err == nil {
		err = writeSynced(path+".tmp", append(b, '\n'))
	}
	if err == nil {
		err = os.Rename(path+".tmp", path)
	}
	if err != nil {
		return fmt.Errorf("remembering the settings: %w", err)
	}
	return nil
}

func writeSynced(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
