package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

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
//
// A message is published again without its Nats-Msg-Id: a purge does not take
// that out of the duplicate window, so it would be answered as a duplicate and
// not be stored. Who sends it once more within the window, and before the server
// starts again, still gets its old sequence, and no second event.
//
// Of several replicas that find the stream branched one moves: the copy stream
// is the lock (see mover.go).
const (
	movedSubject  = "eventstore.moved"
	closedSubject = "eventstore.closed" // nobody publishes it

	subjectHeader  = "Event-Store-Subject"  // of a copy: where its message was published
	sequenceHeader = "Event-Store-Sequence" // of a copy: its message's sequence
	msgIDHeader    = "Event-Store-Msg-Id"   // of a copy: its message's Nats-Msg-Id, for the record
	moverHeader    = "Event-Store-Mover"    // of no copy: the replica that took the move over
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
	mover    string // the replica that moves
	beat     uint64 // changes while it does

	replicas int       // of the copy stream, as of the stream
	beaten   time.Time // when this process changed beat last
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
		"eventstore_mover": m.mover, "eventstore_beat": strconv.FormatUint(m.beat, 10),
	}
}

func parseMove(md map[string]string) (m move, err error) {
	m.token, m.copied, m.mover = md["eventstore_token"], md["eventstore_phase"] == "copied", md["eventstore_mover"]
	m.beat, _ = strconv.ParseUint(md["eventstore_beat"], 10, 64)
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

func (i *Ingest) copyConfig(m move) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: i.copyName(), Description: "Event Store: messages on their way behind the ledger's last event",
		Subjects: []string{movedSubject}, Storage: jetstream.FileStorage, Replicas: m.replicas,
		MaxBytes: -1, MaxMsgs: -1, Discard: jetstream.DiscardNew, Metadata: m.metadata(i.led.PublicKey()),
	}
}

// beginMove is steps 1 to 3: afterwards everything from branch to the ledger's
// last that the ledger does not have is in the copy stream.
func (i *Ingest) beginMove(ctx context.Context, s jetstream.Stream, branch ledger.ID) error {
	cfg := s.CachedInfo().Config
	m := move{token: nuid.Next(), head: uint64(i.led.Head().ID), created: s.CachedInfo().Created.UnixNano(), subjects: cfg.Subjects,
		mover: i.replicaName(), replicas: cfg.Replicas, beaten: time.Now()}
	if _, err := i.js.CreateStream(ctx, i.copyConfig(m)); err != nil {
		return fmt.Errorf("making stream %s: %w", i.copyName(), err)
	}
	i.o.Logger.Warn("stream branches off the ledger, moving its messages", "stream", i.o.Stream,
		"branch_id", branch.String(), "head", ledger.ID(m.head).String())
	last, err := i.closeStream(ctx, cfg)
	if err != nil {
		return err
	}
	if err := i.interrupted("closed"); err != nil {
		return err
	}
	if err := i.copyMessages(ctx, s, &m, uint64(branch), min(last, m.head)); err != nil {
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
	if err := i.signOfLife(ctx, &m); err != nil {
		return err
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
	m.replicas, m.beaten = c.CachedInfo().Config.Replicas, time.Now()
	if m.mover != i.replicaName() && !i.alone() {
		if err := i.takeOver(ctx, c, &m); err != nil {
			return false, err
		}
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
		if err := i.publishAgain(ctx, s, c, &m, same); err != nil {
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

// interrupted is where tests end the process.
func (i *Ingest) interrupted(point string) error {
	if i.o.interrupt == nil {
		return nil
	}
	return i.o.interrupt(point)
}
