package main

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

const posters = 8

// TestMutatedInputs sends seeded mutations of events through both doors: no
// answer is a server's error, every message becomes one event, and the chain
// is sound. The number grows with the square of rounds: 1,000 makes 10 million.
func TestMutatedInputs(t *testing.T) {
	t.Parallel()
	n := faultNode(t, filepath.Join(t.TempDir(), "data"))
	n.start(t)
	mutants := *rounds * *rounds * 10
	before := n.total(t)
	var posted, published atomic.Int64
	var all sync.WaitGroup
	for seed := range posters {
		all.Go(func() { posted.Add(n.postMutants(t, mutants/2/posters, uint64(seed))) })
	}
	all.Go(func() { published.Add(n.publishMutants(t, mutants/2)) })
	all.Wait()
	n.caughtUp(t, "after mutants")
	n.verified(t, wholePromise, "after mutants")
	want := before + posted.Load() + published.Load()
	n.until(t, "every mutant is an event", func() bool { return n.total(t) >= want })
	if got := n.total(t); got > want+want/100+10 { // seals come by themselves
		t.Errorf("%d events, want %d and some seals", got, want)
	}
	t.Logf("%d mutants posted, %d of them events; %d published", mutants/2, posted.Load(), published.Load())
}

func (n *node) total(t *testing.T) int64 {
	t.Helper()
	body, _ := n.get("/status")
	return decode[struct {
		Total int64 `json:"total_events"`
	}](t, body).Total
}

func (n *node) postMutants(t *testing.T, count int, seed uint64) (created int64) {
	rng, client := rand.New(rand.NewPCG(11, seed)), &http.Client{Timeout: time.Minute}
	for range count {
		media := []string{"application/json", "application/x-ndjson", "application/json; charset=utf-8", "text/plain"}[min(rng.IntN(12), 3)]
		r, err := client.Post(n.url()+"/events", media, bytes.NewReader(mutant(rng)))
		if err != nil {
			t.Error(err)
			return created
		}
		b, _ := io.ReadAll(r.Body)
		r.Body.Close()
		switch {
		case r.StatusCode == http.StatusCreated && bytes.Contains(b, []byte(`"count":`)) && !bytes.HasPrefix(b, []byte(`{"id"`)):
			created += decode[struct{ Count int64 }](t, string(b)).Count
		case r.StatusCode == http.StatusCreated:
			created++
		case r.StatusCode >= 500:
			t.Errorf("answered %s: %s", r.Status, b)
		}
	}
	return created
}

func (n *node) publishMutants(t *testing.T, count int) int64 {
	rng := rand.New(rand.NewPCG(12, 1))
	nc, err := nats.Connect("nats://" + n.nats)
	if err != nil {
		t.Error(err)
		return 0
	}
	defer nc.Close()
	for i := range count {
		subject := []string{"events.user", "events.nosuch", "events.security.more", "events.ledger"}[rng.IntN(4)]
		if err := nc.Publish(subject, mutant(rng)); err != nil {
			t.Error(err)
			return int64(i)
		}
		if i%1000 == 999 {
			nc.FlushTimeout(time.Minute)
		}
	}
	if err := nc.FlushTimeout(time.Minute); err != nil {
		t.Error(err)
	}
	return int64(count)
}

// grown are inputs that mutations begin with, and pieces that they put in.
var (
	grown = []string{
		`{"category":"user","action":"login","actor":"ada"}`,
		`{"category":"service","action":"a","actor":"b","target":null,"data":{"n":[1,2.5e-3,{"x":"\u00e9\ud83d\ude00"}],"z":true},"result":"failure","error":"e"}`,
		"{\"category\":\"ai\",\"action\":\"a\",\"actor\":\"b\"}\n{\"category\":\"ai\",\"action\":\"c\",\"actor\":\"d\"}\n",
		`[{"category":"config","action":"a","actor":"b"},{"category":"config","action":"a","actor":"b"}]`,
	}
	pieces = []string{`"`, `\`, `{`, `}`, `[`, `]`, `,`, `:`, "\n", "\x00", "\xff", `\ud800`, `1e999`, `-0`, `null`, `"id":"1",`, `"hash":"x",`,
		`"category":"ledger",`, `"actor":"event-store",`, `9007199254740993`, "\u2028", `{"a":{"a":{"a":`, strings.Repeat("[", 70), strings.Repeat("y", 1100)}
)

// mutant is a seed with some bytes flipped, cut out, doubled, or pieces put in.
func mutant(rng *rand.Rand) []byte {
	b := []byte(grown[rng.IntN(len(grown))])
	for range rng.IntN(4) {
		at := rng.IntN(len(b) + 1)
		to := min(len(b), at+rng.IntN(8))
		switch rng.IntN(4) {
		case 0:
			if at < len(b) {
				b[at] ^= 1 << rng.IntN(8)
			}
		case 1:
			b = append(b[:at:at], b[to:]...)
		case 2:
			b = append(b[:to:to], b[at:]...)
		case 3:
			b = append(append(b[:at:at], pieces[rng.IntN(len(pieces))]...), b[at:]...)
		}
	}
	return b
}
