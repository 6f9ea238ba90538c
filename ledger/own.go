package ledger

import (
	"bytes"
	"errors"
	"strings"
)

// An OwnMessage is a signed message of the store, to be published on
// eventstore.ledger.<Action>.
type OwnMessage struct {
	Action string
	Data   []byte
}

// OwnMessages are those that the chain lacks: the configuration, where the one
// in force is not the wanted one, and the seals of sealed segments. They are
// published when the projection is at the stream's end. A replica without the
// private key has none.
func (l *Ledger) OwnMessages() []OwnMessage {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys.signer == nil {
		return nil
	}
	var own []OwnMessage
	add := func(action string, statement []byte) {
		data, err := l.keys.sign(action, statement)
		if err != nil {
			l.log.Error("signing failed", "action", action, "err", err)
			return
		}
		own = append(own, OwnMessage{action, data})
	}
	if !l.proj.config().equal(l.opts.Config) {
		add(actionConf, l.opts.Config.statement())
	}
	for _, s := range l.proj.segs {
		if s.sealID == 0 && s.sealed.Load() {
			add(actionSeal, s.statement())
		}
	}
	return own
}

// Matches projects a message again and compares it with the stored event that
// has its sequence as id. Events that aged out match: nothing is left to compare.
func (l *Ledger) Matches(m Message) (bool, error) {
	stored, err := l.Get(ID(m.Seq))
	if errors.Is(err, ErrAgedOut) {
		return true, nil
	}
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ln, err := parseLine(stored)
	if err != nil {
		return false, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if at := microsOf(m.Time); ln.time != at && ln.time < at {
		return false, nil // only a clock that stepped back makes an event later than its message
	}
	action, own := strings.CutPrefix(m.Subject, subjectOwn)
	if !own {
		return l.proj.deriveEvent(m, l.proj.configAt(ln.id)).Same(stored), nil
	}
	if string(ln.category) == CategoryLedger {
		data, err := canonical(m.Data)
		name, _ := text(ln.action)
		return err == nil && name == action && bytes.Equal(data, ln.data), nil
	}
	payload := rejected(CategoryError, m.Subject, "", m.Data)
	return bytes.Equal(ln.target, payload.target) && string(ln.action) == `"event_rejected"` &&
		bytes.HasPrefix(ln.data, payload.data[:bytes.LastIndex(payload.data, []byte(`"reason":`))]), nil
}
