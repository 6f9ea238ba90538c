package ledger

import (
	"bytes"
	"fmt"
	"slices"
)

// recall gives a chained own event its effect again. It was held against the
// segments when it was chained; what is damaged since does not undo it.
func (p *projection) recall(l *line) {
	action, _ := text(l.action)
	if string(l.actor) != `"`+ActorStore+`"` || action != actionSeal && action != actionConf && action != actionAged {
		return
	}
	statement, ok := p.keys.verify(action, l.data)
	if !ok {
		p.log.Error("an own event is not signed with the ledger's key", "id", l.id.String(), "action", action)
		if action == actionConf && p.lost == nil {
			p.lost = fmt.Errorf("%w: the configuration of event %s is damaged: put back the file that holds it", errNeeds, l.id)
		}
		return
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
}

// recallConfig puts a chained configuration in force again, also where the one
// that it replaces is gone: it was believed when it was chained.
func (p *projection) recallConfig(l *line) {
	c, replaces, err := parseConfig(l.data)
	if err == nil && !slices.ContainsFunc(p.configs, func(c configSince) bool { return c.id() == replaces }) {
		p.takeEffect(c)(l.id)
		p.lost = nil
		return
	}
	if effect, err := p.reconfigured(l.data); err == nil {
		effect(l.id)
	}
}
