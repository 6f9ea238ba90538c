package ledger

import (
	"bytes"
	"slices"
)

// recall gives a chained own event its effect again, and tells whether that is
// known. It was held against the segments when it was chained; what is damaged
// since does not undo it.
func (p *projection) recall(l *line) (known bool) {
	action, _ := text(l.action)
	if string(l.actor) != `"`+ActorStore+`"` || !slices.Contains(ownActions, action) {
		return action == "events_missing"
	}
	statement, ok := p.keys.verify(action, l.data)
	if !ok {
		p.log.Error("an own event is not signed with the ledger's key", "id", l.id.String(), "action", action)
		return false
	}
	switch action {
	case actionSeal:
		p.recallSeal(chainedSeal{l.id, bytes.Clone(statement)})
	case actionAged:
		if d, err := parseDecision(l.data); err == nil {
			p.forgetAll(d)
		}
	case actionConf:
		p.recallConfig(l)
	}
	return true
}

// recallConfig puts a chained configuration in force again, also where the one
// that it replaces is gone: it was believed when it was chained. Which policies
// were before it is not known then.
func (p *projection) recallConfig(l *line) {
	c, replaces, err := parseConfig(l.data)
	if err == nil && !slices.ContainsFunc(p.configs, func(c configSince) bool { return c.id() == replaces }) {
		p.takeEffect(c)(l.id)
		p.known = p.time
		return
	}
	if effect, err := p.reconfigured(l.data); err == nil {
		effect(l.id)
	}
}
