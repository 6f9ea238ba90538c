package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A batch is events that were sent as one: their numbers, and the answer.
type batch struct {
	first int64
	count int
	told  *batchTold // of a 201
}

type batchTold struct {
	Count   int
	FirstID string `json:"first_id"`
	LastID  string `json:"last_id"`
}

// postBatch appends 2 to 40 events at once.
func (w *work) postBatch(client *http.Client, url string) bool {
	b := &batch{count: 2 + int(w.next.Load()%39)}
	b.first = w.next.Add(int64(b.count)) - int64(b.count) + 1
	var body strings.Builder
	for i := range b.count {
		body.Write(append(eventOf(b.first+int64(i)), '\n'))
	}
	w.mu.Lock()
	w.batches = append(w.batches, b)
	w.mu.Unlock()
	r, err := client.Post(url+"/events", "application/x-ndjson", strings.NewReader(body.String()))
	if err != nil {
		return false
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	var t batchTold
	if err != nil || r.StatusCode != http.StatusCreated || json.Unmarshal(text, &t) != nil {
		return false
	}
	w.mu.Lock()
	b.told = &t
	w.mu.Unlock()
	return true
}

// lastOfBatches is the highest id of a batch that was answered 201.
func (w *work) lastOfBatches() (id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.batches {
		if b.told != nil {
			id = max(id, b.told.LastID)
		}
	}
	return id
}

// checkBatches: of a batch that was answered 201 all events are in the chain, one
// behind the other; of any other all or none, where that was promised.
func (w *work) checkBatches(t *testing.T, chain map[int64][]told, p promise, round string) {
	t.Helper()
	for _, b := range w.batches {
		var ids []string
		for i := range b.count {
			for _, at := range chain[b.first+int64(i)] {
				ids = append(ids, at.id)
			}
		}
		switch {
		case b.told == nil && (len(ids) == 0 || !p.batches):
		case len(ids) != b.count:
			t.Fatalf("%s: of a batch of %d events (answer %+v) %d are in the chain", round, b.count, b.told, len(ids))
		case !inARow(ids), b.told != nil && (b.told.Count != b.count || b.told.FirstID != ids[0] || b.told.LastID != ids[len(ids)-1]):
			t.Fatalf("%s: a batch with the answer %+v has the ids %v", round, b.told, ids)
		}
	}
}

func inARow(ids []string) bool {
	var first, id int64
	for i, text := range ids {
		if _, err := fmt.Sscanf(text, "%x", &id); err != nil || i > 0 && id != first+int64(i) {
			return false
		}
		if i == 0 {
			first = id
		}
	}
	return true
}
