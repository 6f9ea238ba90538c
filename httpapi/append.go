package httpapi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"home.lab/event-store/ledger"
)

const (
	maxBatch     = 1000     // events in one bulk append: one atomic batch of the stream
	maxBulkBody  = 64 << 20 // bytes
	maxEventBody = 6 << 20  // bytes; an event is at most 1 MiB canonical, which may take six times that with \u escapes
	maxKey       = 255      // bytes of an Idempotency-Key

	maxAnnounced = 128 << 10 // bytes that a body gets before they arrive
)

// append is POST /events: one event, or many as NDJSON or as a JSON array.
func (a *API) append(w http.ResponseWriter, r *http.Request) error {
	if err := a.writable(); err != nil {
		return err
	}
	ndjson, err := appendType(r)
	if err != nil {
		return err
	}
	key, err := idempotencyKey(r)
	if err != nil {
		return err
	}
	body, array, err := readBody(w, r, ndjson)
	switch {
	case err != nil:
		return err
	case !ndjson && !array:
		return a.appendOne(w, r, body, key)
	case key != "":
		return invalid(fieldError{Field: "Idempotency-Key", Message: "a bulk append takes none"})
	}
	return a.appendBulk(w, r, body, array)
}

// writable refuses while the ledger cannot commit: an event that nobody can chain should stay with its sender.
func (a *API) writable() error {
	if err := a.ledger.Err(); err != nil {
		return newProblem(http.StatusServiceUnavailable, "events cannot be committed: %v", err)
	}
	if a.ledger.Full() {
		return newProblem(http.StatusServiceUnavailable, "the disk is full: what is left is for ageing out")
	}
	return nil
}

// appendOne publishes one event and answers when it is committed.
func (a *API) appendOne(w http.ResponseWriter, r *http.Request, body []byte, key string) error {
	draft, err := a.ledger.Decode(body)
	if err != nil {
		return err
	}
	if err := grantOf(r).permit(draft); err != nil {
		return err
	}
	until := time.Now().Add(a.commitTimeout)
	reset := a.stream.Reset() // before publishing, so that it is the reset of the stream that acknowledges
	sent := a.stream.Send(draft, key)
	async := respondAsync(r)
	if !async {
		settle(r, sent, reset, until)
	}
	// Also for a client that is gone: it must not stay open whether its event is in the stream.
	id, duplicate, err := sent.Ack(until)
	if err != nil {
		return unpublished(err)
	}
	if !duplicate {
		defer func() { a.metrics.doors.came(a.ledger.Head().ID, id, draft) }()
	}
	if async && !duplicate {
		w.Header().Set("Preference-Applied", "respond-async")
		return accepted(w, id)
	}
	committed, err := a.committed(r, id, reset, until)
	if err != nil {
		return err
	}
	if !committed {
		if duplicate {
			if same, err := a.stream.Holds(context.WithoutCancel(r.Context()), id, draft); err != nil {
				return err
			} else if !same {
				return keyUsed(id)
			}
		}
		return accepted(w, id)
	}
	line, err := a.own(id, draft)
	if err != nil && !(duplicate && line != nil) {
		return err
	}
	if err != nil {
		return keyUsed(id)
	}
	if async {
		w.Header().Set("Preference-Applied", "respond-async")
		return accepted(w, id)
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	h["Location"] = []string{"/events/" + id.String()}
	w.WriteHeader(http.StatusCreated)
	return writeLine(w, line)
}

// appendBulk publishes all events of the body or none.
func (a *API) appendBulk(w http.ResponseWriter, r *http.Request, body []byte, array bool) error {
	drafts, parts, err := a.decodeBulk(body, array)
	if err != nil {
		return err
	}
	if err := grantOf(r).permit(drafts...); err != nil {
		return err
	}
	until := time.Now().Add(a.commitTimeout)
	reset := a.stream.Reset()
	ctx, cancel := context.WithDeadline(context.WithoutCancel(r.Context()), until)
	first, last, err := a.stream.AppendBatch(ctx, drafts)
	cancel()
	if err != nil {
		return refusedOne(err, parts)
	}
	defer func() { a.metrics.doors.came(a.ledger.Head().ID, last, drafts...) }()
	answer := batchAnswer{Count: len(drafts), FirstID: first.String(), LastID: last.String()}
	if respondAsync(r) {
		w.Header().Set("Preference-Applied", "respond-async")
		writeJSON(w, "application/json", http.StatusAccepted, answer)
		return nil
	}
	committed, err := a.committed(r, last, reset, until)
	if err != nil {
		return err
	}
	if !committed {
		writeJSON(w, "application/json", http.StatusAccepted, answer)
		return nil
	}
	line, err := a.own(last, drafts[len(drafts)-1])
	if err != nil {
		return err
	}
	answer.LastHash = hashOf(line)
	writeJSON(w, "application/json", http.StatusCreated, answer)
	return nil
}

type batchAnswer struct {
	Count    int    `json:"count"`
	FirstID  string `json:"first_id"`
	LastID   string `json:"last_id"`
	LastHash string `json:"last_hash,omitempty"`
}

// unpublished says more about a publish without an answer: only an idempotency key makes a repetition safe then.
func unpublished(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return newProblem(http.StatusServiceUnavailable, "the stream did not answer in time; it may have the event nevertheless: %v", err)
	}
	return err
}

// accepted answers 202: in the stream, not committed yet.
func accepted(w http.ResponseWriter, id ledger.ID) error {
	w.Header().Set("Location", "/events/"+id.String())
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, err := fmt.Fprintf(w, "{\"id\":\"%s\"}\n", id)
	return err
}

// appendType says whether the body is NDJSON; no Content-Type counts as JSON.
func appendType(r *http.Request) (ndjson bool, err error) {
	text := r.Header.Get("Content-Type")
	media := "application/json"
	if text != "" && text != media {
		media = mediaOf(text)
	}
	switch {
	case r.Header.Get("Content-Encoding") != "":
		return false, newProblem(http.StatusUnsupportedMediaType, "Content-Encoding is not supported")
	case media == "application/json":
		return false, nil
	case media == "application/x-ndjson":
		return true, nil
	}
	p := newProblem(http.StatusUnsupportedMediaType, "Content-Type must be application/json or application/x-ndjson, in UTF-8, not %s", text)
	p.header.Set("Accept", "application/json, application/x-ndjson")
	return false, p
}

// mediaOf gives the media type of a Content-Type; "" where it is malformed, or says another charset than UTF-8 (RFC 8259,
// section 8.1), as which every body is read.
func mediaOf(contentType string) string {
	media, params, err := mime.ParseMediaType(contentType)
	charset, given := params["charset"]
	if err != nil || given && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "utf8") {
		return ""
	}
	return media
}

// idempotencyKey gives the request's key, "" without one.
func idempotencyKey(r *http.Request) (string, error) {
	keys, given := r.Header["Idempotency-Key"]
	if !given {
		return "", nil
	}
	bad := func(message string) (string, error) {
		return "", invalid(fieldError{Field: "Idempotency-Key", Message: message})
	}
	if len(keys) != 1 {
		return bad("is given more than once")
	}
	key := keys[0]
	if key == "" || len(key) > maxKey {
		return bad(fmt.Sprintf("must have 1 to %d characters", maxKey))
	}
	for i := range len(key) {
		if key[i] < 0x20 || key[i] > 0x7e {
			return bad("must be printable ASCII")
		}
	}
	return key, nil
}

// keyUsed refuses a key whose first event is another one.
func keyUsed(id ledger.ID) error {
	return invalid(fieldError{Field: "Idempotency-Key", Message: "was used for another event, " + id.String()})
}

// respondAsync says whether the client prefers not to wait (RFC 7240, section 4.1).
func respondAsync(r *http.Request) bool {
	for _, v := range r.Header["Prefer"] {
		for pref := range strings.SplitSeq(v, ",") {
			name, _, _ := strings.Cut(pref, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

// hashOf gives the hash of a stored line: its last member.
func hashOf(line []byte) string {
	const name = `"hash":"`
	i := bytes.LastIndex(line, []byte(name))
	if i < 0 {
		return ""
	}
	hash, _, _ := bytes.Cut(line[i+len(name):], []byte{'"'})
	return string(hash)
}

// writeLine writes a stored line as it is, and its newline.
func writeLine(w io.Writer, line []byte) error {
	if _, err := w.Write(line); err != nil {
		return err
	}
	_, err := w.Write([]byte{'\n'})
	return err
}
