package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// seenLast is how many of the newest events a read shows.
const seenLast = 4

// A history is the newest events, newest first: what an append adds to and a
// read shows.
type history [seenLast]string

func (h history) with(id string) history {
	copy(h[1:], h[:seenLast-1])
	h[0] = id
	return h
}

// call is the input of an operation: an append, or else a read.
type asked struct{ append bool }

// chainModel is the promise as porcupine checks it: an append comes behind all
// that are there, and a read shows exactly the newest.
var chainModel = porcupine.Model{
	Init: func() any { return history{} },
	Step: func(state, in, out any) (bool, any) {
		h := state.(history)
		if in.(asked).append {
			id := out.(string)
			return id > h[0], h.with(id)
		}
		return out.(history) == h, h
	},
	DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v -> %v", in, out) },
}

// TestReadsSeeEveryAcknowledgedAppendInOrder records what concurrent callers
// were told and when, and looks for an order that explains it all.
func TestReadsSeeEveryAcknowledgedAppendInOrder(t *testing.T) {
	t.Parallel()
	n := faultNode(t, filepath.Join(t.TempDir(), "data"))
	n.start(t)
	var all sync.WaitGroup
	var mu sync.Mutex
	var ops []porcupine.Operation
	began := time.Now()
	for client := range 8 {
		all.Go(func() {
			for i := range 20 + *rounds {
				in, from := asked{append: (i+client)%3 == 0}, time.Since(began)
				out, err := n.ask(in)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				ops = append(ops, porcupine.Operation{ClientId: client, Input: in, Call: int64(from), Output: out, Return: int64(time.Since(began))})
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if got := porcupine.CheckOperationsTimeout(chainModel, ops, time.Minute); got != porcupine.Ok {
		t.Fatalf("%d operations: %v", len(ops), got)
	}
	for i, o := range ops { // the check itself: one stale read is found
		if h, ok := o.Output.(history); ok && h[1] != "" && i > len(ops)/2 {
			ops[i].Output = history{h[1], h[2], h[3], "000000000001"}
			break
		}
	}
	if porcupine.CheckOperationsTimeout(chainModel, ops, time.Minute) == porcupine.Ok {
		t.Error("a stale read passes for a right one")
	}
}

// ask appends an event and gives its id, or reads the newest.
func (n *node) ask(c asked) (any, error) {
	if !c.append {
		return n.newest()
	}
	r, err := http.Post(n.url()+"/events", "application/json", strings.NewReader(`{"category":"user","action":"told","actor":"u"}`))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	var e storedEvent
	b, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusCreated || json.Unmarshal(b, &e) != nil {
		return nil, fmt.Errorf("append: %s %s %v", r.Status, b, err)
	}
	return e.ID, nil
}

func (n *node) newest() (history, error) {
	body, code := n.get(fmt.Sprintf("/events?action=told&limit=%d", seenLast))
	var events []storedEvent
	if code != http.StatusOK || json.Unmarshal([]byte(body), &events) != nil {
		return history{}, fmt.Errorf("read: %d %s", code, body)
	}
	var h history
	for i, e := range events {
		h[i] = e.ID
	}
	return h, nil
}
