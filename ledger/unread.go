package ledger

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

var errNeeds = errors.New("events cannot be projected")

// An unread is a run of ids whose events could not be read when the folder was
// loaded, and some of which may be own ones: what the next messages come to can
// depend on them, and must be what it is on every replica.
type unread struct {
	first, last ID
	config      likelihood // that one is a ledger_configured
}

// A likelihood is whether damaged lines were a ledger_configured, by what is left
// of them.
type likelihood int

const (
	notConfig   likelihood = iota
	maybeConfig            // nothing speaks against it
	isConfig               // the line says so itself
)

// passedOver is what a load passed over behind the last event that it read.
type passedOver struct {
	events ID         // that were publishers'
	config likelihood // that a line is a ledger_configured
}

// readUpTo is told of the first id of what is read next: what is between the
// tail and it is unread, but for publishers' events that were passed.
func (p *projection) readUpTo(first ID) {
	if first > p.id+1 && first-p.id-1 > p.passed.events {
		p.unread = append(p.unread, unread{p.id + 1, first - 1, p.passed.config})
	}
	p.passed = passedOver{}
}

// pass takes a line that is no event any more, or a gap. What is legible of it
// may say that it was a publisher's event.
func (p *projection) pass(raw []byte, g *gap) {
	if g != nil {
		p.passed.events += ID(g.count) // own events never age out
	} else if own, config := mayBe(raw); own {
		p.passed.config = max(p.passed.config, config)
	} else {
		p.passed.events++
	}
}

// passEnd is pass of what an ended segment has behind its last newline.
func (p *projection) passEnd(path string, from int64) error {
	f, err := openFile(path)
	if err != nil {
		return err
	}
	defer f.Close()
	head := make([]byte, 4<<10) // more than there is before the end of an action
	n, err := f.ReadAt(head, from)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	p.pass(head[:n], nil)
	return nil
}

// lose takes an event whose line is damaged, or does not have its signature.
func (p *projection) lose(raw []byte, id ID) {
	if own, config := mayBe(raw); own {
		p.unread = append(p.unread, unread{id, id, config})
	}
}

// mayBe tells whether a damaged line may have been an own event, and a
// ledger_configured: damage in one place leaves the category or the action.
func mayBe(raw []byte) (own bool, config likelihood) {
	_, rest, _ := bytes.Cut(raw, []byte(`","category":"`))
	category, rest, ok := bytes.Cut(rest, []byte(`","action":"`))
	action, _, whole := bytes.Cut(rest, []byte(`"`))
	switch {
	case !ok || !whole:
		return true, maybeConfig
	case string(action) == actionConf:
		return true, isConfig
	case slices.Contains(ownActions, string(action)):
		return true, notConfig
	case string(category) != CategoryLedger:
		return false, notConfig
	case string(action) == "events_missing":
		return true, notConfig
	}
	return true, maybeConfig
}

// follows takes the previous_hash of a segment's first event. Where it is not
// that of the tail, an ended segment before it may lack its end.
func (p *projection) follows(prev string) {
	if len(p.segs) == 0 || prev == string(p.hash[:]) || p.passed != (passedOver{}) {
		return
	}
	if s := p.segs[len(p.segs)-1]; s.categoryMap != nil && s.doubt == nil {
		s.doubt = errors.New("its last line is not the one that the next segment follows")
	}
}

// missOwn holds the own events of a sealed segment that were read against its
// manifest. As many as earlier segments have no seal are taken for these seals;
// it gives how many segments are left without one.
func (p *projection) missOwn(s *segment, unsealed int64) int64 {
	if missed := s.manifest.count(CategoryLedger) - s.own; s.categoryMap == nil && missed > 0 {
		u := unread{first: s.first, last: s.last}
		if missed > unsealed {
			u.config = maybeConfig
		}
		p.unread, unsealed = append(p.unread, u), max(unsealed-missed, 0)
	}
	if s.sealID == 0 {
		unsealed++
	}
	return unsealed
}

// needsConfig stops the projection where the last configuration is unread:
// categories and the ends of segments depend on it. What only may be one is
// taken for it where the configuration in force is not the wanted one: damage in
// an old segment must not keep a store that was never configured from going on.
func (p *projection) needsConfig(wanted Config) {
	least, last := maybeConfig, p.configs[len(p.configs)-1].id()
	if p.config().equal(wanted) {
		least = isConfig
	}
	i := slices.IndexFunc(p.unread, func(u unread) bool { return u.config >= least && u.last > last })
	if i >= 0 && p.unsound == nil {
		p.unsound = fmt.Errorf("%w: events %s to %s cannot be read, and may have configured the ledger: put back the files that held them",
			errNeeds, p.unread[i].first, p.unread[i].last)
	}
}

// needs stops the projection: what a message comes to depends on a segment
// that is damaged here, and must be what it is on every replica.
func (p *projection) needs(segment string) {
	p.unsound = fmt.Errorf("%w: the next message is about segment %s, which is damaged: put back the files that were sealed", errNeeds, segment)
}

// needsRead stops the projection where something within a range of ids is unread.
func (p *projection) needsRead(first, last ID) {
	if u := p.unreadIn(first, last); u != nil {
		p.unsound = fmt.Errorf("%w: the next message depends on events %s to %s, which cannot be read: put back the files that held them",
			errNeeds, u.first, u.last)
	}
}

// unreadIn is something unread within a range of ids; nil: there is nothing.
func (p *projection) unreadIn(first, last ID) *unread {
	i := slices.IndexFunc(p.unread, func(u unread) bool { return u.first <= last && first <= u.last })
	if i < 0 {
		return nil
	}
	return &p.unread[i]
}
