package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// externalNATS runs a NATS server with deploy/nats-server.conf.
func externalNATS(t *testing.T) *server.Server {
	t.Helper()
	t.Setenv("STORE_PASSWORD", "store-secret")
	t.Setenv("PUBLISHER_PASSWORD", "publisher-secret")
	o, err := server.ProcessConfigFile(filepath.Join("..", "..", "deploy", "nats-server.conf"))
	if err != nil {
		t.Fatal(err)
	}
	o.Port, o.StoreDir, o.NoSigs, o.NoLog = server.RANDOM_PORT, t.TempDir(), true, true
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	return s
}

// With the example configuration of an external NATS the store works, and a publisher can publish and nothing else.
func TestExternalNATS(t *testing.T) {
	s := externalNATS(t)
	address := s.Addr().String()
	n := &node{dir: filepath.Join(t.TempDir(), "data"), http: freeAddress(t), nats: freeAddress(t), log: filepath.Join(t.TempDir(), "log"),
		args: []string{"--nats-url", "nats://store:store-secret@" + address}}
	n.start(t)
	n.endWith(t)

	nc, err := nats.Connect("nats://"+address, nats.UserInfo("publisher", "publisher-secret"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	event := []byte(`{"action":"login","actor":"ada"}`)
	ack, err := nc.Request("events.user", event, 5*time.Second)
	if err != nil || decode[struct{ Seq int }](t, string(ack.Data)).Seq != 1 {
		t.Fatalf("PubAck: %v %v", ack, err)
	}
	for _, subject := range []string{"$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.DELETE.EVENTS", "$JS.API.INFO", "eventstore.ledger.segment_sealed"} {
		if m, err := nc.Request(subject, nil, 300*time.Millisecond); err == nil {
			t.Errorf("%s: a publisher got the answer %s", subject, m.Data)
		}
		if err := nc.PublishRequest("events.user", subject, event); err != nil {
			t.Fatal(err)
		}
	}
	nc.Flush()
	must(t, "", "append", "--url", n.url(), "--category", "user", "--action", "last", "--actor", "ada")
	lines := decode[[]storedEvent](t, must(t, "", "query", "--url", n.url(), "--output", "json"))
	if len(lines) < 2 || lines[len(lines)-1].ID != "000000000001" || lines[0].Action != "last" {
		t.Errorf("events: %+v", lines)
	}
	b, err := os.ReadFile(n.log)
	if err != nil {
		t.Fatal(err)
	}
	if string(b) == "" || strings.Contains(string(b), "store-secret") {
		t.Errorf("the log is empty or shows the password:\n%s", b)
	}
	n.stop(t)
	must(t, "", "verify", "--data", n.dir)
}
