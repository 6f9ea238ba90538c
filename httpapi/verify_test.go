package httpapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"home.lab/event-store/ledger"
)

func TestVerifyOptions(t *testing.T) {
	f := start(t)
	f.fill(2)
	f.do("GET", "/verify", "").want(t, 200, `"running":false`, `"last":null`, `"progress":null`)
	h := f.ledger.Head()
	f.do("POST", "/verify", fmt.Sprintf(`{"heads":["%s:%s"],"require":{"security":"365d","user":"24h"}}`, h.ID, h.Hash)).want(t, 200, `"valid"`)
	f.do("POST", "/verify", fmt.Sprintf(`{"heads":["%s:%s"]}`, h.ID, ledger.GenesisHash)).want(t, 200, `"invalid"`)
	f.do("GET", "/verify", "").want(t, 200, `"status":"valid"`) // the caller's head is not the chain's fault
	f.do("POST", "/verify", `{}`).want(t, 200, `"valid"`)
	f.do("POST", "/verify", `{`).want(t, 400)
	f.do("POST", "/verify", `{"heads":["x"],"require":{"user":"-1d"}}`).want(t, 422, `heads[0]`, `require.user`)
	for body, field := range map[string]string{`{"colour":1}`: "colour", `{"Heads":[]}`: "Heads", `{"heads":["bad"],"heads":[]}`: "heads", `{"require":{"user":"1d","user":"2d"}}`: "user",
		`{"heads":"x"}`: "heads", `{"heads":null}`: "heads", `{"heads":[1]}`: "heads", `{"require":[]}`: "require", `{"require":{"user":1}}`: "require",
		`{"heads":[null]}`: "heads[0]", `{"require":{"user":null}}`: "require.user", `[]`: "", `null`: "", `"x"`: ""} {
		if a := f.do("POST", "/verify", body).want(t, 422, `"field":"`+field+`"`); strings.Contains(a.body, "json") || strings.Contains(a.body, "httpapi") {
			t.Errorf("%s: %s", body, a.body)
		}
	}
	f.do("POST", "/verify", `{} {}`).want(t, 400)
	f.do("POST", "/verify", `{"heads":[]}`, "Content-Type", "text/plain").want(t, 415)
	f.do("POST", "/verify", "", "Content-Type", "application/x-www-form-urlencoded").want(t, 200)
}

// Who asks with a head of his own and finds the chain broken has measured it for all; what only his head and floor do not
// hold is his alone.
func TestVerificationWithHeadsThatFindsTheChainBrokenCounts(t *testing.T) {
	f := start(t)
	f.fill(3)
	head := f.ledger.Head()
	own := fmt.Sprintf(`{"heads":["%s:%s","%s:%s"],"require":{"service":"forever","nosuch":"1d"}}`, head.ID, ledger.GenesisHash, head.ID+1, head.Hash)
	f.do("POST", "/verify", own).want(t, 200, `"status":"invalid"`, "head_missing", "head_mismatch", "policy_below_required", "policy_missing")
	f.do("GET", "/verify", "").want(t, 200, `"findings":[]`, `"message":"Chain integrity verified"`)
	f.do("GET", "/status", "").want(t, 200, `"chain_valid":true`)
	f.damage()
	f.do("POST", "/verify", own).want(t, 200, `"status":"invalid"`)
	last := f.do("GET", "/verify", "").want(t, 200, `"status":"invalid"`, `"kind":"hash_mismatch"`)
	if strings.Contains(last.body, "head_") || strings.Contains(last.body, "policy_") {
		t.Errorf("the caller's findings are kept: %s", last.body)
	}
	f.do("GET", "/status", "").want(t, 200, `"chain_valid":false`)
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, "Chain broken at event 000000000002")
}

// What the stream still holds is projected again: an event that is another than its message gives is a finding, although
// the files are sound.
func TestAnEventThatTheStreamDoesNotGiveIsAFinding(t *testing.T) {
	f := start(t)
	f.fill(3)
	f.do("POST", "/verify", "").want(t, 200, `"status":"valid"`, `"not_checked":["stream"]`)
	f.stream.set(func() { f.stream.first, f.stream.last = 2, 3 })
	f.do("POST", "/verify", "").want(t, 200, `"status":"valid"`, `"stream: 000000000002 to 000000000003 projected again"`, `"not_checked":[]`)
	f.stream.set(func() { f.stream.differs = 3 })
	const message = "event 000000000003 is not what the stream's message gives"
	const finding = `"findings":[{"kind":"stream_differs","id":"000000000003","message":"` + message + `"}]`
	f.do("POST", "/verify", "").want(t, 200, `"status":"invalid","error":"`+message+`"`, finding)
	f.do("GET", "/status", "").want(t, 200, `"chain_valid":false`)
	f.do("GET", "/health", "").want(t, 200, `"status":"degraded"`, message)
	f.damage()
	f.do("POST", "/verify", "").want(t, 200, `"error":"Chain broken at event 000000000002`, `"kind":"hash_mismatch"`, `"kind":"stream_differs"`)
}

func TestOneVerificationServesAll(t *testing.T) {
	f := start(t)
	v := f.api.verifier
	v.mu.Lock() // a run that does not end until it is left
	c := &run{began: time.Now(), cancel: func() {}, done: make(chan struct{})}
	v.run = c
	v.mu.Unlock()
	c.advance(ledger.VerifyProgress{SegmentsDone: 1, SegmentsTotal: 2})
	f.do("GET", "/verify", "").want(t, 200, `"running":true`, `"segments_done":1`)
	answers := make(chan answer)
	for range 5 {
		go func() { answers <- f.do("POST", "/verify", "") }()
	}
	for {
		v.mu.Lock()
		n := c.waiters
		v.mu.Unlock()
		if n == 5 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	c.err = errors.New("segment cannot be read")
	close(c.done)
	for range 5 {
		(<-answers).want(t, 500, "segment cannot be read")
	}
	f.do("POST", "/verify", "").want(t, 200, `"valid"`)
}

func TestVerificationEndsWhenNobodyWaits(t *testing.T) {
	f := start(t)
	v := f.api.verifier
	ended := make(chan struct{})
	c := &run{began: time.Now(), cancel: sync.OnceFunc(func() { close(ended) }), done: make(chan struct{})}
	v.mu.Lock()
	v.run = c
	v.mu.Unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := v.verify(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("it goes on")
	}
	f.do("POST", "/verify", "").want(t, 200, `"valid"`)
}

// endless is a stream whose comparison ends only when it is told to.
type endless struct {
	Stream
	began chan struct{}
}

func (e endless) Compare(ctx context.Context) (first, last, differs ledger.ID, err error) {
	e.began <- struct{}{}
	<-ctx.Done()
	time.Sleep(50 * time.Millisecond) // it takes a while to end
	return 0, 0, 0, ctx.Err()
}

// The API's end is also that of verifications with options, of the one that runs and of those that wait for their turn.
func TestVerificationWithHeadsEndsWithTheAPI(t *testing.T) {
	f := start(t)
	f.fill(1)
	h := f.ledger.Head()
	stream := endless{f.stream, make(chan struct{})}
	f.api.verifier.stream = stream
	answers := make(chan answer)
	for range 2 {
		go func() { answers <- f.do("POST", "/verify", fmt.Sprintf(`{"heads":["%s:%s"]}`, h.ID, h.Hash)) }()
	}
	<-stream.began
	stopped := make(chan struct{})
	began := time.Now()
	go func() { f.api.verifier.stop(); close(stopped) }()
	select {
	case <-stopped:
		if time.Since(began) < 50*time.Millisecond {
			t.Error("the end did not wait for the verification")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the API does not end")
	}
	for range 2 {
		select {
		case a := <-answers:
			a.want(t, 503)
		case <-time.After(10 * time.Second):
			t.Fatal("a verification outlives the API")
		}
	}
}
