package ingest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"golang.org/x/crypto/bcrypt"
)

// publishersOfEachKind gives three publishers and how their clients log in. The
// one with the nkey is limited to category ai.
func publishersOfEachKind(t *testing.T) ([]Publisher, map[string]nats.Option) {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("pass"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("secret"))
	return []Publisher{
			{Name: "tokens", TokenSHA256: sum[:]},
			{Name: "grafana", Bcrypt: string(hash)},
			{Name: "backup", NKey: public, Categories: []string{"ai"}},
		}, map[string]nats.Option{
			"token":    nats.Token("secret"),
			"password": nats.UserInfo("grafana", "pass"),
			"nkey":     nats.Nkey(public, pair.Sign),
		}
}

func startGuarded(t *testing.T, o Options) (*fixture, map[string]nats.Option) {
	t.Helper()
	publishers, logins := publishersOfEachKind(t)
	o.Publishers, o.Guarded = publishers, true
	f, err := tryStart(t, t.TempDir(), o)
	if err != nil {
		t.Fatal(err)
	}
	return f, logins
}

func TestPublishersOfEachKindComeIn(t *testing.T) {
	t.Parallel()
	f, logins := startGuarded(t, Options{})
	for name, login := range logins {
		ack, err := f.client(login).Request("events.ai.more", []byte(event), 5*time.Second)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if len(ack.Data) == 0 {
			t.Errorf("%s: an empty PubAck", name)
		}
	}
	f.get(3)
}

func TestOthersAreRefusedAndTold(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	told := map[string]int{}
	f, logins := startGuarded(t, Options{Refused: func(address string) { mu.Lock(); told[address]++; mu.Unlock() }})
	other, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public := f.ing.o.Publishers[2].NKey
	otherPublic, _ := other.PublicKey()
	tries := map[string][]nats.Option{
		"nothing":              nil,
		"wrong token":          {nats.Token("other")},
		"the token's digest":   {nats.Token(fmt.Sprintf("%x", f.ing.o.Publishers[0].TokenSHA256))},
		"wrong password":       {nats.UserInfo("grafana", "other")},
		"no password":          {nats.UserInfo("grafana", "")},
		"the password's hash":  {nats.UserInfo("grafana", f.ing.o.Publishers[1].Bcrypt)},
		"unknown user":         {nats.UserInfo("nobody", "pass")},
		"a token's name":       {nats.UserInfo("tokens", "")},
		"an nkey's name":       {nats.UserInfo("backup", "")},
		"the store by guess":   {nats.UserInfo("store", "store")},
		"the store's password": {nats.UserInfo("store", f.ing.emb.password)}, // it is for connections inside the process
		"unknown nkey":         {nats.Nkey(otherPublic, other.Sign)},
		"another's signature":  {nats.Nkey(public, other.Sign)},
		"no signature":         {nats.Nkey(public, func([]byte) ([]byte, error) { return nil, nil })},
	}
	for name, opts := range tries {
		if nc, err := nats.Connect("nats://"+f.ing.Addr(), opts...); err == nil {
			nc.Close()
			t.Errorf("%s: came in", name)
		}
	}
	f.client(logins["token"])
	mu.Lock()
	defer mu.Unlock()
	if told["127.0.0.1"] != len(tries) || len(told) != 1 {
		t.Errorf("told %v, want %d", told, len(tries))
	}
}

// Where tokens are for reading only, nobody may publish.
func TestGuardedWithoutPublishersLetsNobodyIn(t *testing.T) {
	t.Parallel()
	f, err := tryStart(t, t.TempDir(), Options{Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	if nc, err := nats.Connect("nats://" + f.ing.Addr()); err == nil {
		nc.Close()
		t.Error("somebody came in")
	}
}

// Guesses keep the hashing busy; who has come in before comes in again all the same.
func TestGuessesDoNotShutAPasswordOut(t *testing.T) {
	t.Parallel()
	publishers, _ := publishersOfEachKind(t)
	l := newLogins(&embedded{}, Options{Publishers: publishers})
	p := &publishers[1]
	if !l.password(p, "pass") || l.password(p, "other") || l.password(p, "") {
		t.Fatal("the password is not the right one")
	}
	l.hashing.Lock() // somebody guesses, for ever
	defer l.hashing.Unlock()
	if !l.password(p, "pass") {
		t.Error("it is not known again")
	}
}

// Whatever a publisher logs in with, events of his categories are all that he
// reaches.
func TestPublishersReachTheirCategoriesOnly(t *testing.T) {
	t.Parallel()
	f, logins := startGuarded(t, Options{})
	for name, login := range logins {
		subjects := forbiddenSubjects
		if name == "nkey" {
			subjects = append([]string{"events.system", "events.ail", "events.a", "events.ai2.x", "events"}, subjects...)
		}
		for _, subject := range subjects {
			if err := denied(f, func(nc *nats.Conn) { nc.Publish(subject, []byte("{}")) }, login); err != nil {
				t.Errorf("%s, publish %s: %v", name, subject, err)
			}
		}
		for _, subject := range forbiddenSubscriptions {
			if err := denied(f, func(nc *nats.Conn) { nc.SubscribeSync(subject) }, login); err != nil {
				t.Errorf("%s, subscribe %s: %v", name, subject, err)
			}
		}
	}
	if n := f.led.Head().ID; n != 0 {
		t.Errorf("%s events came in", n)
	}
}

// An acknowledgement is heard by the connection that it is for, however wide
// another's subscription is; also when both log in as the same publisher.
func TestInboxesOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	open := start(t, t.TempDir())
	guarded, logins := startGuarded(t, Options{})
	for _, c := range []struct {
		f    *fixture
		opts []nats.Option
	}{{open, nil}, {guarded, []nats.Option{logins["token"]}}} {
		spy := c.f.client(c.opts...)
		heard, err := spy.SubscribeSync("_INBOX.>")
		if err != nil {
			t.Fatal(err)
		}
		if err := spy.Flush(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := c.f.client(c.opts...).Request("events.system", []byte(event), 5*time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if m, err := heard.NextMsg(300 * time.Millisecond); err == nil {
			t.Errorf("a publisher heard another's acknowledgement %s", m.Data)
		}
		if m, err := spy.Request("events.system", []byte(event), 5*time.Second); err != nil || len(m.Data) == 0 {
			t.Errorf("his own: %v", err)
		}
	}
}

// Publishers cannot take the connections that the store itself may need.
func TestConnectionsAreLimited(t *testing.T) {
	t.Parallel()
	f, err := tryStart(t, t.TempDir(), Options{MaxConnections: 20})
	if err != nil {
		t.Fatal(err)
	}
	came := 0
	for range 40 {
		if nc, err := nats.Connect("nats://" + f.ing.Addr()); err == nil {
			came++
			defer nc.Close()
		}
	}
	if came < 5 || came > 20-spareConnections {
		t.Errorf("%d of 40 came in, the limit is %d", came, 20-spareConnections)
	}
	if nc, err := nats.Connect("", nats.InProcessServer(f.ing.emb), nats.UserInfo("store", f.ing.emb.password)); err != nil {
		t.Errorf("the store cannot come back: %v", err)
	} else {
		nc.Close()
	}
}

// Who may come in is said in one place: the operator's nats-server configuration or the store's. Tokens are for HTTP, too.
func TestTwoConfigurationsOfUsersAreRefused(t *testing.T) {
	t.Parallel()
	publishers, _ := publishersOfEachKind(t)
	users := filepath.Join(t.TempDir(), "users.conf")
	if err := os.WriteFile(users, []byte("accounts { S { jetstream: enabled, users: [{user: store, password: right}] } }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		publishers []Publisher
		ok         bool
	}{"tokens": {publishers[:1], true}, "a password": {publishers[1:2], false}, "an nkey": {publishers[2:], false}} {
		f, err := tryStart(t, t.TempDir(), Options{ServerConfig: users, Login: Login{User: "store", Password: "right"}, Guarded: true, Publishers: c.publishers})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			f.close()
		}
	}
}

func TestListeningBeyondThisHostNeedsPublishers(t *testing.T) {
	t.Parallel()
	publishers, _ := publishersOfEachKind(t)
	for _, c := range []struct {
		o  Options
		ok bool
	}{
		{Options{Listen: "0.0.0.0:0"}, false}, {Options{Listen: ":0"}, false}, {Options{Listen: "[::]:0"}, false},
		{Options{Listen: "localhost:0"}, true}, {Options{Listen: "0.0.0.0:0", Open: true}, true}, {Options{Listen: "0.0.0.0:0", Guarded: true, Publishers: publishers}, true},
	} {
		f, err := tryStart(t, t.TempDir(), c.o)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.o, err)
		}
		if err == nil {
			f.close()
		}
	}
}
