package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// missingEvents is the event for ids that the stream lacks.
func missingEvents(first, last ID) Draft {
	data := fmt.Appendf(nil, `{"count":%d,"first_id":"%s","last_id":"%s"}`, last-first+1, first, last)
	return Draft{category: CategoryLedger, action: []byte(`"events_missing"`), actor: []byte(`"` + ActorStore + `"`),
		target: jsonNull, data: data, result: []byte(`"failure"`), err: jsonNull}
}

// derive is the event that a message becomes. own, when not nil, is its effect
// on the projection, to be called once it is chained.
func (p *projection) derive(m Message, at micros) (d Draft, own func(ID)) {
	if action, ok := strings.CutPrefix(m.Subject, subjectOwn); ok {
		data, effect, err := p.believe(action, m.Data, at)
		if err != nil {
			p.log.Info("rejected", "subject", m.Subject, "reason", err.Error())
			p.reject(ID(m.Seq), "own_message")
			return rejected(CategoryError, m.Subject, err.Error(), m.Data), nil
		}
		d := Draft{category: CategoryLedger, action: []byte(`"` + action + `"`), actor: []byte(`"` + ActorStore + `"`),
			target: jsonNull, data: data, result: jsonSuccess, err: jsonNull}
		if t, ok := testimonies[action]; ok {
			d.category, d.result = t.in(p.config()), []byte(t.result)
			p.news = append(p.news, news{id: ID(m.Seq), category: d.category})
		}
		return d, effect
	}
	d, reason := deriveEvent(m, p.prefix, p.config(), new(plain))
	p.reject(ID(m.Seq), reason)
	return d, nil
}

// deriveEvent is the event of a publisher's message under a configuration; why
// says in a word why it was rejected, "" when it was not.
func deriveEvent(m Message, prefix string, c Config, quick *plain) (d Draft, why string) {
	category := subjectCategory(m.Subject, prefix)
	if _, ok := c.Categories[category]; !ok {
		reason := "the subject's category " + quoteShort(strings.ToValidUTF8(category, "\uFFFD")) + " is not configured"
		return rejected(CategoryError, m.Subject, reason, m.Data), "category"
	}
	d, err := quick.decode(m.Data, category, c.Categories)
	if err != nil {
		return rejected(category, m.Subject, err.Error(), m.Data), kindOf(err)
	}
	return d, ""
}

// Becomes tells whether a message that is not chained yet becomes the event of a
// draft, under the configuration in force.
func (l *Ledger) Becomes(m Message, d Draft) bool {
	l.mu.Lock()
	prefix, config := l.proj.prefix, l.proj.config()
	l.mu.Unlock()
	e, why := deriveEvent(m, prefix, config, new(plain))
	return why == "" && e.category == d.category && bytes.Equal(e.Canonical(), d.Canonical())
}

// kindOf is one word for why an event is invalid.
func kindOf(err error) string {
	var ie *InvalidError
	switch {
	case errors.As(err, &ie) && ie.Malformed:
		return "malformed"
	case errors.As(err, &ie) && ie.TooLarge:
		return "too_large"
	}
	return "invalid"
}

// subjectCategory is what a subject says behind the prefix and a dot.
func subjectCategory(subject, prefix string) string {
	if len(subject) > len(prefix) && subject[len(prefix)] == '.' && subject[:len(prefix)] == prefix {
		subject = subject[len(prefix)+1:]
	}
	category, _, _ := strings.Cut(subject, ".")
	return category
}
