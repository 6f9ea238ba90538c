package ingest

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// A Publisher may come in to the embedded server: with a token, a user name
// and password, or an nkey, whichever is set.
type Publisher struct {
	Name        string
	TokenSHA256 []byte
	Bcrypt      string   // of the password
	NKey        string   // public
	Categories  []string // that he may publish to; none: all
}

// logins decides who may come in to the embedded server and what he may do
// there. nats-server calls Check for every connection.
type logins struct {
	emb        *embedded
	publishers []Publisher
	open       bool // everybody is a publisher
	prefix     string

	hashing sync.Mutex // one password at a time: hashing is slow on purpose
	right   sync.Map   // user name: the last password that was right, under key
	key     [sha256.Size]byte
}

func newLogins(e *embedded, o Options) *logins {
	l := &logins{emb: e, publishers: o.Publishers, open: !o.Guarded, prefix: o.SubjectPrefix}
	rand.Read(l.key[:]) // never fails (crypto/rand)
	return l
}

// Check implements server.Authentication.
func (l *logins) Check(c server.ClientAuthentication) bool {
	o := c.GetOpts()
	switch {
	case c.Kind() != server.CLIENT:
		return false
	case inProcess(c):
		return same(o.Username, l.emb.user) && same(o.Password, l.emb.password) && l.admit(c, l.emb.user, nil)
	}
	p := l.find(c, o)
	if p == nil {
		host, _, _ := net.SplitHostPort(c.RemoteAddress().String())
		l.emb.refused(host)
		return false
	}
	return l.admit(c, p.Name, l.permissions(p.Categories))
}

// inProcess tells whether a connection is the store's own: those of publishers
// have the address that the gate gave them.
func inProcess(c server.ClientAuthentication) bool {
	address := c.RemoteAddress()
	return address != nil && address.Network() == "pipe"
}

// find gives the publisher whose credentials a connection shows.
func (l *logins) find(c server.ClientAuthentication, o *server.ClientOpts) *Publisher {
	if o.Token+o.Username+o.Password+o.Nkey+o.JWT == "" {
		if l.open {
			return &Publisher{Name: "publisher"}
		}
		return nil
	}
	for n := range l.publishers {
		if p := &l.publishers[n]; l.knows(p, c, o) {
			return p
		}
	}
	return nil
}

func (l *logins) knows(p *Publisher, c server.ClientAuthentication, o *server.ClientOpts) bool {
	switch {
	case len(p.TokenSHA256) > 0:
		sum := sha256.Sum256([]byte(o.Token))
		return o.Token != "" && subtle.ConstantTimeCompare(sum[:], p.TokenSHA256) == 1
	case p.NKey != "":
		return o.Nkey == p.NKey && signed(c.GetNonce(), o)
	case p.Bcrypt != "" && o.Username == p.Name:
		return l.password(p, o.Password)
	}
	return false
}

// password compares with the publisher's hash, unless it was right before: who
// guesses may keep the hashing busy, but not those out who came in once.
func (l *logins) password(p *Publisher, given string) bool {
	sum := sha256.Sum256(append(l.key[:], given...))
	if last, ok := l.right.Load(p.Name); ok && last == sum {
		return true
	}
	l.hashing.Lock()
	defer l.hashing.Unlock()
	if bcrypt.CompareHashAndPassword([]byte(p.Bcrypt), []byte(given)) != nil {
		return false
	}
	l.right.Store(p.Name, sum)
	return true
}

// signed tells whether a connection holds the private key of the nkey that it
// names: it has signed the server's nonce.
func signed(nonce []byte, o *server.ClientOpts) bool {
	sig, err := base64.RawURLEncoding.DecodeString(o.Sig)
	if err != nil {
		sig, err = base64.StdEncoding.DecodeString(o.Sig)
	}
	if err != nil || len(nonce) == 0 {
		return false
	}
	public, err := nkeys.FromPublicKey(o.Nkey)
	return err == nil && public.Verify(nonce, sig) == nil
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// permissions are those of a publisher: his categories' subjects, and hearing
// his acknowledgements and the head.
func (l *logins) permissions(categories []string) *server.Permissions {
	subjects := []string{l.prefix + ".>"}
	if len(categories) > 0 {
		subjects = nil
		for _, c := range categories {
			subjects = append(subjects, l.prefix+"."+c, l.prefix+"."+c+".>")
		}
	}
	return &server.Permissions{
		Publish:   &server.SubjectPermission{Allow: subjects},
		Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>", headSubject}},
	}
}

// admit lets a connection into the stream's account.
func (l *logins) admit(c server.ClientAuthentication, name string, permissions *server.Permissions) bool {
	account, err := l.emb.srv.Load().LookupAccount(storeAccount)
	if err != nil {
		l.emb.log.Error("no account for a NATS connection", "error", err)
		return false
	}
	c.RegisterUser(&server.User{Username: name, Account: account, Permissions: permissions})
	return true
}
