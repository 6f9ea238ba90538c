package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// Every store on a stream that others can reach reports its position as the
// metadata of a durable consumer that delivers nothing, replica-<name>: only
// stores may make consumers, an operator sees them with `nats consumer ls` and
// removes one that is gone with `nats consumer rm`.
const (
	replicaPrefix    = "replica-"
	positionMetadata = "eventstore_position" // first id that the replica still needs
	headMetadata     = "eventstore_head"     // its head, <id>:<hash>
	seenMetadata     = "eventstore_seen"     // when it reported, RFC 3339
	runMetadata      = "eventstore_run"      // of the process: tells two apart that have one name

	reportEvery = 20 * time.Second
	staleAfter  = 10 * time.Minute
)

// Replica is a store on the stream as it reported itself.
type Replica struct {
	Name     string    `json:"name"`
	Position string    `json:"position"` // the first id that it needs in the stream
	LastID   string    `json:"last_id"`
	LastHash string    `json:"last_hash"`
	Seen     time.Time `json:"seen"`
	Self     bool      `json:"self"`

	position uint64
	run      string
	other    bool // it has another event than this ledger
}

// alone tells that no other store can reach the stream.
func (i *Ingest) alone() bool { return i.emb != nil && i.emb.user != "" }

// loadName reads the replica's name, and makes one for a folder without.
func (i *Ingest) loadName() error {
	i.run = secret()
	if i.o.NameFile == "" {
		return i.newName()
	}
	b, err := os.ReadFile(i.o.NameFile)
	if name := strings.TrimSpace(string(b)); name != "" {
		i.name = name
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("reading the replica's name: %w", err)
	}
	return i.newName()
}

func (i *Ingest) newName() error {
	name := secret()[:8]
	if i.o.NameFile != "" {
		if err := os.WriteFile(i.o.NameFile, []byte(name+"\n"), 0o600); err != nil {
			return fmt.Errorf("writing the replica's name: %w", err)
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.name = name
	return nil
}

func (i *Ingest) replicaName() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.name
}

// needs is the first id that this store needs in the stream: the active
// segment's first, and the last committed message in any case.
func (i *Ingest) needs() uint64 {
	return min(uint64(i.led.ActiveFirst()), uint64(i.led.Head().ID))
}

// reportReplica reports as soon as the stream is reconciled, and then from time
// to time.
func (i *Ingest) reportReplica(ctx context.Context) error {
	if i.alone() {
		return nil
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for reported := (time.Time{}); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !i.ready.Load() || time.Since(reported) < reportEvery {
			continue
		}
		if err := i.report(ctx); err != nil && ctx.Err() == nil {
			i.o.Logger.Warn("position not reported, trying again", "replica", i.replicaName(), "error", err)
			continue
		}
		reported = time.Now()
	}
}

// report writes this store's position into the stream and takes over what the
// others reported. A copied folder has its original's name: whoever finds
// another process under his takes a new one.
func (i *Ingest) report(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	replicas, err := i.listReplicas(ctx)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(replicas, func(r Replica) bool { return r.Self && r.run != i.run }) {
		old := i.replicaName()
		if err := i.newName(); err != nil {
			return err
		}
		i.o.Logger.Warn("another store has this replica's name, taking a new one", "old", old, "name", i.replicaName())
	}
	if err := i.register(ctx); err != nil {
		return err
	}
	if replicas, err = i.listReplicas(ctx); err != nil {
		return err
	}
	for k, r := range replicas {
		replicas[k].other = i.differs(r)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.replicas = replicas
	return nil
}

// register writes this store's position. It does so first before anything is
// projected, and takes the name with it.
func (i *Ingest) register(ctx context.Context) error {
	if i.alone() {
		return nil
	}
	host, _ := os.Hostname() // only to be read by people
	head := i.led.Head()
	_, err := i.js.CreateOrUpdateConsumer(ctx, i.o.Stream, jetstream.ConsumerConfig{
		Durable:       replicaPrefix + i.replicaName(),
		Description:   "Event Store: position of the replica on " + host + "; delivers nothing",
		DeliverPolicy: jetstream.DeliverNewPolicy,
		AckPolicy:     jetstream.AckNonePolicy,
		FilterSubject: ownPrefix + "none", // nobody publishes it: nothing ever looks unprocessed
		Metadata: map[string]string{
			positionMetadata: strconv.FormatUint(i.needs(), 10),
			headMetadata:     head.ID.String() + ":" + head.Hash,
			seenMetadata:     time.Now().UTC().Format(time.RFC3339),
			runMetadata:      i.run,
		},
	})
	if err != nil {
		return fmt.Errorf("reporting the position to stream %s: %w", i.o.Stream, err)
	}
	return nil
}

// listReplicas reads what the stores on the stream reported. It fails when the
// list may lack one.
func (i *Ingest) listReplicas(ctx context.Context) ([]Replica, error) {
	info, err := i.info(ctx)
	if err != nil {
		return nil, err
	}
	s, err := i.js.Stream(ctx, i.o.Stream)
	if err != nil {
		return nil, fmt.Errorf("listing the replicas of stream %s: %w", i.o.Stream, err)
	}
	var replicas []Replica
	n, broken, self := 0, error(nil), i.replicaName()
	list := s.ListConsumers(ctx)
	for c := range list.Info() {
		n++
		if name, ok := strings.CutPrefix(c.Name, replicaPrefix); ok && c.Config.Durable != "" {
			r, err := parseReplica(name, c.Config.Metadata)
			r.Self = name == self
			replicas, broken = append(replicas, r), errors.Join(broken, err)
		}
	}
	if err := errors.Join(list.Err(), broken); err != nil {
		return nil, fmt.Errorf("listing the replicas of stream %s: %w", i.o.Stream, err)
	}
	if n < info.State.Consumers {
		return nil, fmt.Errorf("listing the replicas of stream %s: %d of %d consumers answered", i.o.Stream, n, info.State.Consumers)
	}
	slices.SortFunc(replicas, func(a, b Replica) int { return strings.Compare(a.Name, b.Name) })
	return replicas, nil
}

func parseReplica(name string, md map[string]string) (r Replica, err error) {
	r = Replica{Name: name, run: md[runMetadata]}
	r.LastID, r.LastHash, _ = strings.Cut(md[headMetadata], ":")
	r.Seen, _ = time.Parse(time.RFC3339, md[seenMetadata]) // unreadable: stale
	if r.position, err = strconv.ParseUint(md[positionMetadata], 10, 64); err != nil {
		return r, fmt.Errorf("consumer %s%s does not say a position: %w", replicaPrefix, name, err)
	}
	r.Position = ledger.ID(r.position).String()
	return r, nil
}

// replicaWarnings are replicas that do not report, and those that have other
// events than this one. The caller has mu.
func (i *Ingest) replicaWarnings(now time.Time) []warning {
	var ws []warning
	for _, r := range i.replicas {
		if r.Self {
			continue
		}
		if now.Sub(r.Seen) > staleAfter {
			ws = append(ws, warning{"stale replica " + r.Name, fmt.Sprintf(
				"replica %s has not reported since %s, and the stream keeps everything from %s for it; if it is gone: nats consumer rm %s %s%s",
				r.Name, r.Seen.Format(time.RFC3339), r.Position, i.o.Stream, replicaPrefix, r.Name), slog.LevelWarn})
		}
		if r.other {
			ws = append(ws, warning{"other replica " + r.Name, fmt.Sprintf(
				"replica %s has another event %s than this ledger; make the one that lacks events anew from a copy of the other's folder", r.Name, r.LastID), slog.LevelError})
		}
	}
	return ws
}

// differs tells whether this ledger has another event than a replica's head.
func (i *Ingest) differs(r Replica) bool {
	id, err := ledger.ParseID(r.LastID)
	if err != nil || id == 0 || id > i.led.Head().ID {
		return false
	}
	line, err := i.led.Get(id)
	if errors.Is(err, ledger.ErrNotFound) {
		return true // one of a hole here
	}
	var event struct{ Hash string }
	return err == nil && json.Unmarshal(line, &event) == nil && event.Hash != r.LastHash
}
