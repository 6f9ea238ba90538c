package ledger

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

// What the store testifies about its own doors and settings, as events of
// publishers' categories that age like them.
const (
	ActionRefused = "logins_refused"
	ActionChanged = "configuration_changed"
	ActionCleanup = "cleanup_requested"
)

// A testimony is how an action's events look.
type testimony struct {
	category string // where it is configured; else error
	result   string
}

var testimonies = map[string]testimony{
	ActionRefused: {"security", `"failure"`},
	ActionChanged: {"config", `"success"`},
	ActionCleanup: {"config", `"success"`},
}

// testimonyWindow is how far the time that a testimony was signed at and its
// event's timestamp may be apart: so long can it be sent again.
const testimonyWindow = micros(time.Hour / time.Microsecond)

// in is the category under a configuration.
func (t testimony) in(c Config) string {
	if _, ok := c.Categories[t.category]; ok {
		return t.category
	}
	return CategoryError
}

// check holds the data of a testimony against its event's timestamp.
func (t testimony) check(data []byte, at micros) error {
	var d struct {
		At    string `json:"at"`
		Nonce string `json:"nonce"`
	}
	if err := json.Unmarshal(data, &d); err != nil {
		return errors.New("a testimony without at and nonce")
	}
	nonce, err := hex.DecodeString(d.Nonce)
	if err != nil || len(nonce) != 16 {
		return errors.New("a testimony without its nonce")
	}
	signed, err := parseMicros([]byte(d.At))
	if err != nil {
		return errors.New("a testimony without the time it was signed at")
	}
	if apart := at - signed; apart > testimonyWindow || apart < -testimonyWindow {
		return errors.New("it was signed at " + d.At + ", more than an hour from its event")
	}
	return nil
}

// Testify gives the signed message by which the store says what happened to
// itself: one of the actions above, with details, whose members must not be
// at, nonce and signature. A replica without the private key cannot.
func (l *Ledger) Testify(action string, details map[string]any) (OwnMessage, error) {
	if _, ok := testimonies[action]; !ok || l.keys.signer == nil {
		return OwnMessage{}, fmt.Errorf("%s cannot be testified: no such action, or no private key", action)
	}
	var nonce [16]byte
	rand.Read(nonce[:])
	all := map[string]any{"at": microsOf(time.Now()).text(), "nonce": hex.EncodeToString(nonce[:])}
	for name, value := range details {
		all[name] = value
	}
	statement, err := json.Marshal(all)
	if err != nil {
		return OwnMessage{}, err
	}
	data, err := l.keys.sign(action, canonicalize(statement))
	return OwnMessage{action, data}, err
}

// own tells whether a line is said to be the store's, and is not the stand-in
// for a message: then it is signed, or an events_missing.
func (l *line) own() bool {
	return string(l.category) == CategoryLedger ||
		string(l.actor) == `"`+ActorStore+`"` && string(l.action) != `"event_rejected"`
}

// checkTestimony checks a signed event of a publisher's category.
func (v *verification) checkTestimony(r *segmentResult, e ownEvent, c Config) {
	t, ok := testimonies[e.action]
	err := errors.New("the store has no action " + e.action)
	switch {
	case !ok:
	case e.category != t.in(c):
		err = fmt.Errorf("%s belongs into category %s, not %s", e.action, t.in(c), e.category)
	default:
		err = t.check(e.data, e.time)
	}
	if err != nil {
		r.find(Finding{Kind: "unknown_own_event", ID: e.id.String(), File: e.file, Line: e.line, Message: fmt.Sprintf("event %s: %v", e.id, err)})
	}
}

// ownActions are those of category ledger that the projection believes.
var ownActions = []string{actionSeal, actionConf, actionAged}

func knownOwn(action string) bool {
	_, testified := testimonies[action]
	return testified || slices.Contains(ownActions, action)
}
