package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/mod/sumdb/note"
)

// ledgerEvent is an own event of the store with its data.
type ledgerEvent struct {
	ID, Action string
	Data       json.RawMessage
}

// signedBy signs the data of an own message as the store does (ledger/doc.go).
func signedBy(t *testing.T, key, action, statement string) []byte {
	t.Helper()
	signer, err := note.NewSigner(strings.TrimSpace(key))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(&note.Note{Text: "event-store/" + action + "\n" + statement + "\n"}, signer)
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(string(signed), "\n\n")
	text, _ := json.Marshal(strings.TrimSpace(line))
	return fmt.Appendf(nil, `%s,"signature":%s}`, strings.TrimSuffix(statement, "}"), text)
}

// Whoever may publish as the store, and even who has its key, ages nothing out that the chained policies keep.
func TestForgedDecisionsAgeNothingOut(t *testing.T) {
	address := externalNATS(t).Addr().String()
	n := agedNode(t, "--nats-url", "nats://store:store-secret@"+address)
	nc, err := nats.Connect("nats://"+address, nats.UserInfo("store", "store-secret"), nats.CustomInboxPrefix("_STORE"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	own := func(action string) (found ledgerEvent) {
		events := decode[[]ledgerEvent](t, must(t, "", "query", "--url", n.url(), "--category", "ledger", "--action", action, "--order", "asc", "--json"))
		if len(events) == 0 {
			t.Fatalf("no %s", action)
		}
		return events[0]
	}
	// send publishes an own message and gives the action of the event that it became.
	send := func(action string, data []byte) string {
		ack, err := nc.Request("eventstore.ledger."+action, data, 5*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("%012x", decode[struct{ Seq uint64 }](t, string(ack.Data)).Seq)
		var e storedEvent
		n.until(t, "event "+id+" is committed", func() bool {
			events := decode[[]storedEvent](t, must(t, "", "tail", "--url", n.url(), "-n", "1000", "--json"))
			for _, e = range events {
				if e.ID == id {
					return true
				}
			}
			return false
		})
		return e.Action
	}
	key, err := os.ReadFile(filepath.Join(n.dir, "ledger.key"))
	if err != nil {
		t.Fatal(err)
	}
	foreign, _, err := note.GenerateKey(nil, "event-store")
	if err != nil {
		t.Fatal(err)
	}
	seal := decode[struct {
		First  string `json:"first_id"`
		Digest string `json:"manifest_sha256"`
	}](t, string(own("segment_sealed").Data))
	due := n.pass(t, "?dry_run=true")
	count := decode[struct {
		Categories []struct {
			Category string
			Count    int
		}
	}](t, readFile(t, filepath.Join(n.dir, due.Segments[0].Segment+".manifest.json")))
	statement := func(category string) string {
		for _, c := range count.Categories {
			if c.Category == category {
				return fmt.Sprintf(`{"segments":[{"categories":[{"category":"%s","count":%d}],"first_id":"%s","manifest_sha256":"%s"}]}`, category, c.Count, seal.First, seal.Digest)
			}
		}
		t.Fatalf("no %s in %+v", category, count)
		return ""
	}
	const aged = "events_aged_out"
	for name, data := range map[string][]byte{
		"no JSON": []byte("{"), "no members": []byte("{}"), "no signature": []byte(statement("service")),
		"signed by another key":          signedBy(t, foreign, aged, statement("service")),
		"signed for another action":      signedBy(t, string(key), "segment_sealed", statement("service")),
		"malformed and signed":           signedBy(t, string(key), aged, `{"segments":[]}`),
		"premature":                      signedBy(t, string(key), aged, statement("security")),
		"of the store's own events":      signedBy(t, string(key), aged, strings.Replace(statement("security"), `"security"`, `"ledger"`, 1)),
		"with another count":             signedBy(t, string(key), aged, strings.Replace(statement("service"), `"count":`, `"count":1`, 1)),
		"of a segment that is not there": signedBy(t, string(key), aged, strings.Replace(statement("service"), seal.First, "00000000ffff", 1)),
	} {
		if got := send(aged, data); got != "event_rejected" {
			t.Errorf("%s: it became %s", name, got)
		}
	}
	if s := n.status(t); s.Aged != 0 || s.Retention.Cells != 0 {
		t.Errorf("something aged out: %+v", s)
	}
	if got := send(aged, signedBy(t, string(key), aged, statement("service"))); got != aged {
		t.Fatalf("a right decision became %s: the forgeries were refused for their form", got)
	}
	n.pass(t, "")
	want := n.status(t).Aged
	if want != due.AgedOut {
		t.Errorf("%d aged out, %d were due", want, due.AgedOut)
	}
	if got := send(aged, own(aged).Data); got != aged {
		t.Errorf("a repetition became %s", got)
	}
	if got := send("segment_sealed", own(aged).Data); got != "event_rejected" {
		t.Errorf("a decision sent as a seal became %s", got)
	}
	if s := n.status(t); s.Aged != want {
		t.Errorf("%d aged out after a repetition, %d before", s.Aged, want)
	}
	if log := readFile(t, n.log); !strings.Contains(log, "rejected") {
		t.Error("the log does not tell of them")
	}
	n.stop(t)
	must(t, "", "verify", "--data", n.dir, "--require", "security=365d")
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
