package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"home.lab/event-store/ledger"
)

// A detail is the event that is open, between its neighbours.
type detail struct {
	event
	Gone        string // why there is no event with this id
	Class       string
	ResultClass string
	Data        string // indented
	Line        string // as stored
	Chain       []link
}

// A link is one event of the chain as it is drawn, and how the next one holds to it.
type link struct {
	Title, Text, Link, State string
	Previous, Hash           string
	This                     bool
	Joint                    *joint // to the next one; nil for the last
}

// A joint says whether an event's previous_hash is the hash of the one before.
type joint struct{ State, Text string }

// pageEvent gives the event that is open. One that is not there says so in its place.
func (a *API) pageEvent(ctx context.Context, s *screen, text string) (*detail, error) {
	d := &detail{event: event{ID: text}}
	id, err := ledger.ParseID(text)
	var line []byte
	if err == nil {
		line, err = a.ledger.Get(id)
	}
	switch {
	case err == nil:
	case errors.Is(err, ledger.ErrAgedOut):
		d.Gone = "This event aged out under the retention policy. The hashes at the ends of its gap keep the chain provable."
		return d, nil
	case errors.Is(err, ledger.ErrDamaged):
		d.Gone = "The stored event is damaged. A verification says more."
		return d, nil
	case problemOf(err).Status == http.StatusInternalServerError:
		return nil, fmt.Errorf("reading event %s: %w", text, err)
	default:
		d.Gone = "There is no event with this id."
		return d, nil
	}
	if !s.grant.covers(categoryOf(line)) {
		d.Gone = "The token does not cover this event's category."
		return d, nil
	}
	d.event, d.Line = readEvent(line), string(line)
	d.Class, d.ResultClass, d.Data = s.class(d.Category), resultClass(d.Result), indented(d.Payload)
	d.Chain, err = a.chainAround(ctx, s, d.event, id)
	return d, err
}

// indented is JSON for reading; its numbers keep their digits.
func indented(data json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, data, "", "  ") != nil {
		return string(data)
	}
	return b.String()
}

// chainAround draws an event with those before and behind it.
func (a *API) chainAround(ctx context.Context, s *screen, e event, id ledger.ID) ([]link, error) {
	before, err := a.neighbour(ctx, ledger.Filter{Before: id, Limit: 1})
	if err != nil {
		return nil, err
	}
	after, err := a.neighbour(ctx, ledger.Filter{After: id, Ascending: true, Limit: 1})
	if err != nil {
		return nil, err
	}
	first := link{Title: "Genesis", Text: "the chain begins", Hash: ledger.GenesisHash, State: "end"}
	first.Joint = jointOf(ledger.GenesisHash, e)
	if before != nil {
		first = s.link(*before, "")
		first.Joint = jointOf(before.Hash, e)
	}
	this := s.link(e, "this")
	this.This, this.Link = true, ""
	last := link{Title: "Head", Text: "the newest event so far", State: "end"}
	this.Joint = &joint{"open", "nothing follows yet"}
	if after != nil {
		last = s.link(*after, "")
		this.Joint = jointOf(e.Hash, *after)
	}
	return []link{first, this, last}, nil
}

// neighbour gives the nearest event that is still there, nil when there is none.
func (a *API) neighbour(ctx context.Context, f ledger.Filter) (found *event, err error) {
	err = a.ledger.Query(ctx, f, func(line []byte) error {
		e := readEvent(line)
		found = &e
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("looking for the neighbours: %w", err)
	}
	return found, nil
}

func (s *screen) link(e event, state string) link {
	if !s.grant.covers(e.Category) {
		return link{Title: e.ID, Text: "of another category", State: state, Previous: e.PreviousHash, Hash: e.Hash}
	}
	return link{Title: e.ID, Text: e.Action, Link: pageLink(with(s.list, "event", e.ID)), State: state, Previous: e.PreviousHash, Hash: e.Hash}
}

// jointOf compares an event's previous_hash with the hash of the nearest event before it. Where these differ, events
// between the two aged out, or the chain is broken: verification tells which.
func jointOf(hash string, next event) *joint {
	if hash == next.PreviousHash {
		return &joint{"holds", "previous_hash is that hash"}
	}
	return &joint{"gap", "previous_hash is another: aged out between, or broken"}
}

// Same gives a link to the events that have one value in common with this one.
func same(name, value string) string { return pageLink(url.Values{name: {value}}) }

// SameCategory, SameAction, SameActor and SameTarget link to the events like this one.
func (d *detail) SameCategory() string { return same("category", d.Category) }

// SameAction: see SameCategory.
func (d *detail) SameAction() string { return same("action", d.Action) }

// SameActor: see SameCategory.
func (d *detail) SameActor() string { return same("actor", d.Actor) }

// SameTarget: see SameCategory.
func (d *detail) SameTarget() string { return same("target", d.Target) }
