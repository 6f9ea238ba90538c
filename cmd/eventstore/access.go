package main

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/nats-io/nkeys"

	"home.lab/event-store/httpapi"
	"home.lab/event-store/ingest"
	"home.lab/event-store/ledger"
)

// A token is one of auth.tokens: the SHA-256 of a secret, and what its bearer may do.
type token struct {
	name       string
	sha256     string // lower-case hex
	scopes     []string
	categories []string // empty: all
}

// A natsUser is one of nats.users: a publisher with a password or an nkey.
type natsUser struct {
	name       string
	bcrypt     string   // of the password
	nkey       string   // public, U...
	categories []string // empty: all
}

var accessName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

func (c *Config) addToken(e entry) error {
	var t token
	err := e.take(func(member string, texts []string) error {
		switch member {
		case "name":
			return setEntryName(&t.name, texts)
		case "sha256":
			return setDigest(&t.sha256, texts)
		case "scopes":
			return setScopes(&t.scopes, texts)
		case "categories":
			return setOnly(&t.categories, texts)
		}
		return errors.New("unknown key")
	})
	if err != nil {
		return err
	}
	if err := t.check(); err != nil {
		return e.refuse("%s: %w", t.name, err)
	}
	switch {
	case t.name == "" || t.sha256 == "":
		return e.refuse("a token has a name, a sha256 and scopes")
	case slices.ContainsFunc(c.Tokens, func(o token) bool { return o.name == t.name || o.sha256 == t.sha256 }):
		return e.refuse("%s: another token has this name or sha256", t.name)
	}
	c.Tokens = append(c.Tokens, t)
	return nil
}

// check refuses scopes that cannot be.
func (t *token) check() error {
	switch {
	case len(t.scopes) == 0:
		return errors.New("scopes are missing: append, read or admin")
	case len(t.categories) > 0 && slices.Contains(t.scopes, httpapi.ScopeAdmin):
		return errors.New("scope admin cannot be limited to categories")
	}
	return nil
}

func (c *Config) addUser(e entry) error {
	var u natsUser
	err := e.take(func(member string, texts []string) error {
		switch member {
		case "name":
			return setEntryName(&u.name, texts)
		case "bcrypt":
			return setBcrypt(&u.bcrypt, texts)
		case "nkey":
			return setNkey(&u.nkey, texts)
		case "categories":
			return setOnly(&u.categories, texts)
		}
		return errors.New("unknown key")
	})
	switch {
	case err != nil:
		return err
	case u.name == "" || (u.bcrypt == "") == (u.nkey == ""):
		return e.refuse("a user has a name and either bcrypt (of the password) or nkey")
	case slices.ContainsFunc(c.NATSUsers, func(o natsUser) bool { return o.name == u.name || u.nkey != "" && o.nkey == u.nkey }):
		return e.refuse("%s: another user has this name or nkey", u.name)
	}
	c.NATSUsers = append(c.NATSUsers, u)
	return nil
}

func one(texts []string) string {
	if len(texts) != 1 {
		return ""
	}
	return texts[0]
}

func setEntryName(to *string, texts []string) error {
	if *to = one(texts); !accessName.MatchString(*to) {
		return errors.New("letters, digits, _, . and -, at most 64")
	}
	return nil
}

func setDigest(to *string, texts []string) error {
	*to = one(texts)
	if b, err := hex.DecodeString(*to); err != nil || len(b) != 32 || strings.ToLower(*to) != *to {
		return errors.New("the token's SHA-256 expected, 64 lower-case hex digits (never the token itself)")
	}
	return nil
}

func setScopes(to *[]string, texts []string) error {
	all := []string{httpapi.ScopeAppend, httpapi.ScopeRead, httpapi.ScopeAdmin}
	for _, s := range texts {
		if !slices.Contains(all, s) {
			return fmt.Errorf("%q: one of %s", s, strings.Join(all, ", "))
		}
	}
	*to = texts
	return nil
}

// setOnly sets the only categories. None at all are no list: left out it means all, and that must be said so.
func setOnly(to *[]string, texts []string) error {
	if *to = texts; len(texts) == 0 {
		return errors.New("at least one category expected; left out, all are meant")
	}
	return nil
}

func setBcrypt(to *string, texts []string) error {
	*to = one(texts)
	if _, err := bcrypt.Cost([]byte(*to)); err != nil {
		return errors.New("the password's bcrypt hash expected, as `htpasswd -nBC 11 name` prints it behind the name")
	}
	return nil
}

func setNkey(to *string, texts []string) error {
	if *to = one(texts); !nkeys.IsValidPublicUserKey(*to) {
		return errors.New("a public nkey of a user expected (it begins with U)")
	}
	return nil
}

// validateAccess checks what is said about who may come in.
func (c *Config) validateAccess() error {
	for _, t := range c.Tokens {
		if err := c.knownCategories("auth.tokens: "+t.name, t.categories); err != nil {
			return err
		}
	}
	for _, u := range c.NATSUsers {
		if err := c.knownCategories("nats.users: "+u.name, u.categories); err != nil {
			return err
		}
	}
	if len(c.NATSUsers) > 0 && c.NATSURL != "" {
		return errors.New("nats.users: an external NATS (nats.url) has its own users")
	}
	return errors.Join(c.ServerTLS.check("server.tls"), c.NATSTLS.check("nats.server_tls"), c.closed())
}

func (c *Config) knownCategories(name string, categories []string) error {
	for _, category := range categories {
		if _, ok := c.Categories[category]; !ok && category != ledger.CategoryLedger {
			return fmt.Errorf("%s: category %q is not configured", name, category)
		}
	}
	return nil
}

// closed refuses to let everybody on the network in, unless that is meant. ingest does the same for NATS.
func (c *Config) closed() error {
	if c.ServerOpen || len(c.Tokens) > 0 || ingest.Loopback(c.ServerListen) {
		return nil
	}
	return fmt.Errorf("server.listen: %s is reached from other hosts, and there are no tokens: configure auth.tokens (eventstore token new), "+
		"or say server.open: true if everyone who reaches it may read and append", c.ServerListen)
}

// apiTokens are the tokens as the API wants them.
func (c *Config) apiTokens() []httpapi.Token {
	var all []httpapi.Token
	for _, t := range c.Tokens {
		all = append(all, httpapi.Token{Name: t.name, SHA256: t.digest(), Scopes: t.scopes, Categories: t.categories})
	}
	return all
}

// publishers are those who may come in to the embedded NATS server.
func (c *Config) publishers() []ingest.Publisher {
	var all []ingest.Publisher
	for _, t := range c.Tokens {
		if slices.Contains(t.scopes, httpapi.ScopeAppend) || slices.Contains(t.scopes, httpapi.ScopeAdmin) {
			sum := t.digest()
			all = append(all, ingest.Publisher{Name: t.name, TokenSHA256: sum[:], Categories: t.categories})
		}
	}
	for _, u := range c.NATSUsers {
		all = append(all, ingest.Publisher{Name: u.name, Bcrypt: u.bcrypt, NKey: u.nkey, Categories: u.categories})
	}
	return all
}

func (t token) digest() (sum [32]byte) {
	hex.Decode(sum[:], []byte(t.sha256)) // it was checked when it was read
	return sum
}
