package ingest

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"home.lab/event-store/ledger"
)

// A branched stream holds, under ids that the ledger has, other messages than
// the ledger's. NATS acknowledged them, so they move behind the ledger's last:
//
//  1. make the copy stream (phase copying); its metadata says what is moved
//  2. close the stream: it takes no message while its subjects are away
//  3. copy the messages; then phase copied
//  4. purge the stream up to the ledger's last: its next id is behind that
//  5. give the stream its subjects back
//  6. publish the copies again, one after the other, each marked
//  7. remove the copy stream
//
// In phase copying the stream is whole, and the copy is begun again; in phase
// copied the copy is whole, and 4 to 7 may happen any number of times: the
// marks tell what was published. Messages behind the ledger's last stay where
// they are: their ids hold.
const (
	movedSubject  = "eventstore.moved"
	closedSubject = "eventstore.closed" // nobody publishes it

	subjectHeader  = "Event-Store-Subject"  // of a copy: where its message was published
	sequenceHeader = "Event-Store-Sequence" // of a copy: its message's sequence
	msgIDHeader    = "Event-Store-Msg-Id"   // of a copy: its message's Nats-Msg-Id, for the record
	moreHeader     = "Event-Store-More"     // of a copy: the next copy is the rest of this message
	movedHeader    = "Event-Store-Moved"    // of a message published again: "<move's token> <old sequence>"

	markRoom   = 512 // bytes that headers may take
	movePasses = 5
)

// Moved is a run of events that got other ids than NATS acknowledged.
type Moved struct {
	FromFirst string `json:"from_first"`
	FromLast  string `json:"from_last"`
	ToFirst   string `json:"to_first"`
	ToLast    string `json:"to_last"`
}

// move is the copy stream's metadata.
type move struct {
	token    string // random: no publisher can mark his messages
	copied   bool
	head     uint64 // the ledger's last id
	created  int64  // of the stream, Unix nanoseconds
	subjects []string
}

func (m move) metadata(key string) map[string]string {
	subjects, _ := json.Marshal(m.subjects) // strings: never fails
	phase := "copying"
	if m.copied {
		phase = "copied"
	}
	return map[string]string{
		keyMetadata: key, "eventstore_phase": phase, "eventstore_token": m.token, "eventstore_subjects": string(subjects),
		"eventstore_head": strconv.FormatUint(m.head, 10), "eventstore_created": strconv.FormatInt(m.created, 10),
	}
}

func parseMove(md map[string]string) (m move, err error) {
	m.token, m.copied = md["eventstore_token"], md["eventstore_phase"] == "copied"
	m.head, err = strconv.ParseUint(md["eventstore_head"], 10, 64)
	if err == nil {
		m.created, err = strconv.ParseInt(md["eventstore_created"], 10, 64)
	}
	if err == nil {
		err = json.Unmarshal([]byte(md["eventstore_subjects"]), &m.subjects)
	}
	if err == nil && m.token == "" {
		err = errors.New("it has no token")
	}
	return m, err
}

func (i *Ingest) copyName() string { return i.o.Stream + "_MOVED" }

func (i *Ingest) copyConfig(m move, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: i.copyName(), Description: "Event Store: messages on their way behind the ledger's last event",
		Subjects: []string{movedSubject}, Storage: jetstream.FileStorage, Replicas: replicas,
		MaxBytes: -1, MaxMsgs: -1, Discard: jetstream.DiscardNew, Metadata: m.metadata(i.led.PublicKey()),
	}
}

// beginMove is steps 1 to 3: afterwards everything from branch to the ledger's
// last that the ledger does not have is in the copy stream.
func (i *Ingest) beginMove(ctx context.Context, s jetstream.Stream, branch ledger.ID) error {
	cfg := s.CachedInfo().Config
	m := move{token: nuid.Next(), head: uint64(i.led.Head().ID), created: s.CachedInfo().Created.UnixNano(), subjects: cfg.Subjects}
	i.o.Logger.Warn("stream branches off the ledger, moving its messages", "stream", i.o.Stream,
		"branch_id", branch.String(), "head", ledger.ID(m.head).String())
	if _, err := i.js.CreateStream(ctx, i.copyConfig(m, cfg.Replicas)); err != nil {
		return fmt.Errorf("making stream %s: %w", i.copyName(), err)
	}
	last, err := i.closeStream(ctx, cfg)
	if err != nil {
		return err
	}
	if err := i.interrupted("closed"); err != nil {
		return err
	}
	if err := i.copyMessages(ctx, s, uint64(branch), min(last, m.head)); err != nil {
		return err
	}
	info, err := i.info(ctx)
	if err != nil {
		return err
	}
	if info.Created.UnixNano() != m.created || info.State.LastSeq != last {
		return fmt.Errorf("%w: stream %s changed while it was copied", errReset, i.o.Stream)
	}
	m.copied = true
	if _, err := i.js.UpdateStream(ctx, i.copyConfig(m, cfg.Replicas)); err != nil {
		return fmt.Errorf("updating stream %s: %w", i.copyName(), err)
	}
	return i.interrupted("copied")
}

// closeStream takes the stream's subjects away, so that nothing arrives that
// the purge would destroy, and returns its last sequence once it stands still.
func (i *Ingest) closeStream(ctx context.Context, cfg jetstream.StreamConfig) (uint64, error) {
	cfg.Subjects = []string{closedSubject}
	if _, err := i.js.UpdateStream(ctx, cfg); err != nil {
		return 0, fmt.Errorf("closing stream %s: %w", i.o.Stream, err)
	}
	for last, still := uint64(0), 0; ; { // the server's queue may still hold messages
		info, err := i.info(ctx)
		if err != nil {
			return 0, err
		}
		if still++; info.State.LastSeq != last {
			last, still = info.State.LastSeq, 0
		}
		if still >= 3 {
			return last, nil
		}
		pause(ctx, 100*time.Millisecond)
	}
}

func (i *Ingest) copyMessages(ctx context.Context, s jetstream.Stream, first, last uint64) error {
	part, same := int(min(maxMsgSize, i.nc.MaxPayload()))/2, i.comparison()
	return each(ctx, s, first, last, func(m *jetstream.RawStreamMsg) error {
		if strings.HasPrefix(m.Subject, ownPrefix) {
			return nil // the ledger publishes its own again when they are due
		}
		// A consumer that did not notice yet may have projected some of them.
		// What cannot be compared moves too: doubled is better than lost.
		if ok, err := same(ledger.Message{Seq: m.Sequence, Time: m.Time, Subject: m.Subject, Data: m.Data}); err != nil && !errors.Is(err, ledger.ErrDamaged) {
			return fmt.Errorf("comparing event %s with the stream: %w", ledger.ID(m.Sequence), err)
		} else if ok {
			return nil
		}
		for rest, more := m.Data, true; more; {
			n := min(part, len(rest))
			c := &nats.Msg{Subject: movedSubject, Data: rest[:n], Header: nats.Header{}}
			rest, more = rest[n:], n < len(rest)
			c.Header.Set(subjectHeader, m.Subject)
			c.Header.Set(sequenceHeader, strconv.FormatUint(m.Sequence, 10))
			if id := m.Header.Get("Nats-Msg-Id"); id != "" {
				c.Header.Set(msgIDHeader, id)
			}
			if more {
				c.Header.Set(moreHeader, "1")
			}
			if _, err := i.js.PublishMsg(ctx, c, jetstream.WithExpectStream(i.copyName()), jetstream.WithRetryAttempts(0)); err != nil {
				return fmt.Errorf("copying message %s to stream %s: %w", ledger.ID(m.Sequence), i.copyName(), err)
			}
			if err := i.interrupted("copying"); err != nil {
				return err
			}
		}
		return nil
	})
}

// finishMove is steps 4 to 7 of a move that beginMove or an earlier process
// left; found is false when there was nothing to finish.
func (i *Ingest) finishMove(ctx context.Context, s jetstream.Stream) (found bool, err error) {
	c, err := i.js.Stream(ctx, i.copyName())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return i.openStream(ctx, s, i.wanted().Subjects)
	}
	if err != nil {
		return false, fmt.Errorf("opening stream %s: %w", i.copyName(), err)
	}
	md := c.CachedInfo().Config.Metadata
	if md[keyMetadata] != i.led.PublicKey() {
		return false, fmt.Errorf("%w: stream %s is not this ledger's", ErrHistory, i.copyName())
	}
	m, err := parseMove(md)
	if err != nil {
		return false, fmt.Errorf("%w: stream %s does not say what it holds: %w", ErrHistory, i.copyName(), err)
	}
	// A stream that was made anew since is compared like any other afterwards;
	// the copies are published into it all the same.
	same := s.CachedInfo().Created.UnixNano() == m.created
	if same && m.copied {
		if err := s.Purge(ctx, jetstream.WithPurgeSequence(m.head+1)); err != nil {
			return false, fmt.Errorf("moving stream %s forward: %w", i.o.Stream, err)
		}
		if err := i.interrupted("purged"); err != nil {
			return false, err
		}
	}
	if _, err := i.openStream(ctx, s, m.subjects); err != nil {
		return false, err
	}
	if !same || m.copied {
		if err := i.publishAgain(ctx, s, c, m, same); err != nil {
			return false, err
		}
	}
	if err := i.interrupted("published"); err != nil {
		return false, err
	}
	if err := i.js.DeleteStream(ctx, i.copyName()); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return false, fmt.Errorf("removing stream %s: %w", i.copyName(), err)
	}
	return true, nil
}

// openStream undoes closeStream and reports whether there was anything to undo.
func (i *Ingest) openStream(ctx context.Context, s jetstream.Stream, subjects []string) (bool, error) {
	cfg := s.CachedInfo().Config
	if !slices.Equal(cfg.Subjects, []string{closedSubject}) {
		return false, nil
	}
	cfg.Subjects = subjects
	if _, err := i.js.UpdateStream(ctx, cfg); err != nil {
		return false, fmt.Errorf("opening stream %s again: %w", i.o.Stream, err)
	}
	return true, nil
}

// publishAgain publishes what c holds and s does not have yet.
func (i *Ingest) publishAgain(ctx context.Context, s, c jetstream.Stream, m move, same bool) error {
	from := uint64(1)
	if same {
		from = m.head + 1
	}
	done, err := i.published(ctx, s, from, m)
	if err != nil {
		return err
	}
	info, err := c.Info(ctx)
	if err != nil {
		return fmt.Errorf("reading stream %s: %w", i.copyName(), err)
	}
	var moved []Moved
	var data []byte
	err = each(ctx, c, 1, info.State.LastSeq, func(r *jetstream.RawStreamMsg) error {
		data = append(data, r.Data...)
		if r.Header.Get(moreHeader) != "" {
			return nil
		}
		old, err := strconv.ParseUint(r.Header.Get(sequenceHeader), 10, 64)
		if err != nil {
			return fmt.Errorf("message %d of stream %s: %w", r.Sequence, i.copyName(), err)
		}
		again := &nats.Msg{Subject: r.Header.Get(subjectHeader), Data: data, Header: nats.Header{}}
		data = nil
		if len(again.Data)+markRoom <= int(min(maxMsgSize, i.nc.MaxPayload())) {
			again.Header.Set(movedHeader, m.token+" "+strconv.FormatUint(old, 10))
		}
		seq, ok := done.take(again)
		if !ok {
			ack, err := i.publish(ctx, again)
			if err != nil {
				return fmt.Errorf("moving event %s: %w", ledger.ID(old), err)
			}
			seq = ack.Sequence
			if err := i.interrupted("publishing"); err != nil {
				return err
			}
		}
		moved = addMoved(moved, ledger.ID(old), ledger.ID(seq))
		return nil
	})
	if err != nil {
		return err
	}
	i.tellMoved(moved)
	return nil
}

// done is what was published again: sequences by mark or, for messages without
// room for one, by content.
type done map[string][]uint64

func (d done) take(m *nats.Msg) (seq uint64, ok bool) {
	k := doneKey(m.Header, m.Subject, m.Data)
	if len(d[k]) == 0 {
		return 0, false
	}
	seq, d[k] = d[k][0], d[k][1:]
	return seq, true
}

func doneKey(h nats.Header, subject string, data []byte) string {
	if mark := h.Get(movedHeader); mark != "" {
		return mark
	}
	sum := sha256.Sum256(append([]byte(subject+"\n"), data...))
	return string(sum[:])
}

// published finds what s has of the move m, at from and behind.
func (i *Ingest) published(ctx context.Context, s jetstream.Stream, from uint64, m move) (done, error) {
	info, err := i.info(ctx)
	if err != nil {
		return nil, err
	}
	d, room := done{}, int(min(maxMsgSize, i.nc.MaxPayload()))-markRoom
	err = each(ctx, s, from, info.State.LastSeq, func(r *jetstream.RawStreamMsg) error {
		if strings.HasPrefix(r.Header.Get(movedHeader), m.token+" ") || len(r.Header) == 0 && len(r.Data) > room {
			k := doneKey(r.Header, r.Subject, r.Data)
			d[k] = append(d[k], r.Sequence)
		}
		return nil
	})
	return d, err
}

func addMoved(runs []Moved, from, to ledger.ID) []Moved {
	if n := len(runs) - 1; n >= 0 && runs[n].FromLast == (from-1).String() && runs[n].ToLast == (to-1).String() {
		runs[n].FromLast, runs[n].ToLast = from.String(), to.String()
		return runs
	}
	return append(runs, Moved{from.String(), from.String(), to.String(), to.String()})
}

func (i *Ingest) tellMoved(moved []Moved) {
	for _, r := range moved {
		i.o.Logger.Warn("events moved behind the ledger's last", "stream", i.o.Stream,
			"from_first", r.FromFirst, "from_last", r.FromLast, "to_first", r.ToFirst, "to_last", r.ToLast)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.moved = append(i.moved, moved...)
}

// each calls do with the stream's messages first to last, holes left out.
func each(ctx context.Context, s jetstream.Stream, first, last uint64, do func(*jetstream.RawStreamMsg) error) error {
	for seq := max(first, 1); seq <= last; seq++ {
		m, err := s.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(">")) // seq or the next there is
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading stream %s at %s: %w", s.CachedInfo().Config.Name, ledger.ID(seq), err)
		}
		if seq = m.Sequence; seq > last {
			return nil
		}
		if err := do(m); err != nil {
			return err
		}
	}
	return nil
}

// interrupted is where tests end the process.
func (i *Ingest) interrupted(point string) error {
	if i.o.interrupt == nil {
		return nil
	}
	return i.o.interrupt(point)
}
