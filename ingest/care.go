package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// StreamStatus is the stream as seen from the store.
type StreamStatus struct {
	Connected   bool      `json:"connected"`
	Reason      string    `json:"reason,omitempty"` // why it is not connected
	Lag         uint64    `json:"lag"`              // messages that are not committed to the ledger yet
	Messages    uint64    `json:"messages"`
	Bytes       uint64    `json:"bytes"`
	MaxBytes    int64     `json:"max_bytes"`
	Drift       []string  `json:"drift,omitempty"`    // settings that differ from what the ledger needs
	Warnings    []string  `json:"warnings,omitempty"` // what may lead to lost events, or did
	Dropped     uint64    `json:"dropped"`            // times that the embedded server said that its ingest queue dropped messages
	ClockSkewMS int64     `json:"clock_skew_ms"`      // local clock minus message time, at receipt
	Replicas    []Replica `json:"replicas,omitempty"` // the stores on a stream that others can reach
	Moved       []Moved   `json:"moved,omitempty"`    // since the start: events with other ids than NATS acknowledged
}

// Status is the stream as last seen, at most about observeEvery ago: who asks
// never waits for the stream. Connected says whether it answered then.
func (i *Ingest) Status() StreamStatus {
	connected := i.nc.IsConnected() && i.ready.Load() && i.answers.Load()
	i.mu.Lock()
	defer i.mu.Unlock()
	s := StreamStatus{
		Connected: connected, Reason: i.reason(connected), Messages: i.state.Msgs, Bytes: i.state.Bytes, MaxBytes: i.limit,
		Drift: slices.Clone(i.drift), Warnings: i.warnings(time.Now()), ClockSkewMS: time.Duration(i.skew.Load()).Milliseconds(),
		Moved: slices.Clone(i.moved), Replicas: slices.Clone(i.replicas),
	}
	if i.emb != nil {
		s.Dropped = i.emb.drops.count()
	}
	if head := uint64(i.led.Head().ID); i.state.LastSeq > head {
		s.Lag = i.state.LastSeq - head
	}
	return s
}

// reason says why the stream is not connected. The caller has mu.
func (i *Ingest) reason(connected bool) string {
	switch {
	case connected:
		return ""
	case !i.nc.IsConnected():
		return strings.TrimSuffix("NATS is not reached: "+i.away.last(), ": ")
	}
	return i.stopped
}

// observe keeps what Status tells fresh.
func (i *Ingest) observe(ctx context.Context) error {
	tick := time.NewTicker(observeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !i.nc.IsConnected() || !i.ready.Load() {
			continue
		}
		actx, cancel := context.WithTimeout(ctx, observeEvery)
		i.check(actx) // keeps what it saw, also that there was no answer
		cancel()
	}
}

// watch finds out whether the stream is still the one that was compared: a
// recreated one gives time-outs or foreign messages, not an error.
func (i *Ingest) watch(ctx context.Context, full bool) error {
	actx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	info, err := i.check(actx)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		i.endEpoch("it is gone")
		i.created.Store(0)
		return fmt.Errorf("%w: stream %s is gone", errReset, i.o.Stream)
	}
	if err != nil {
		return err
	}
	if info.Created.UnixNano() != i.created.Load() {
		i.keepEpoch(info)
		return fmt.Errorf("%w: stream %s was made again", errReset, i.o.Stream)
	}
	if key := info.Config.Metadata[keyMetadata]; key != i.led.PublicKey() {
		return fmt.Errorf("%w: stream %s says that it is of the ledger with the key %q", errReset, i.o.Stream, key)
	}
	if full {
		if err := i.trim(actx, info.State, info.Config.MaxBytes); err != nil && ctx.Err() == nil {
			i.o.Logger.Warn("stream not trimmed, trying again", "stream", i.o.Stream, "error", err)
		}
	}
	return nil
}

// check asks for the stream's state and keeps it.
func (i *Ingest) check(ctx context.Context) (*jetstream.StreamInfo, error) {
	s, err := i.js.Stream(ctx, i.o.Stream)
	i.answers.Store(err == nil)
	if err != nil {
		return nil, fmt.Errorf("checking stream %s: %w", i.o.Stream, err)
	}
	i.keep(s.CachedInfo())
	return s.CachedInfo(), nil
}

// keep keeps the stream's state for Status. What changed for the worse is logged
// once.
func (i *Ingest) keep(info *jetstream.StreamInfo) {
	now, drift := time.Now(), i.compare(info.Config)
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case slices.Equal(drift, i.drift):
	case len(drift) == 0:
		i.o.Logger.Info("stream settings are as the ledger needs them", "stream", i.o.Stream)
	default:
		i.o.Logger.Warn("stream settings differ from what the ledger needs", "stream", i.o.Stream, "drift", drift)
	}
	i.state, i.drift, i.limit = info.State, drift, info.Config.MaxBytes
	i.late.observe(info.State.LastSeq, uint64(i.led.Head().ID), now)
	i.tell(now)
}

// compare names the settings that could lose messages before the ledger has
// them, keep it from reading them, or let others change them.
func (i *Ingest) compare(c jetstream.StreamConfig) []string {
	w := i.wanted()
	var drift []string
	differs := func(bad bool, name string, has, want any) {
		if bad {
			drift = append(drift, fmt.Sprintf("%s is %v, want %v", name, has, want))
		}
	}
	lacks := func(subject string) bool { return !slices.Contains(c.Subjects, subject) }
	differs(slices.ContainsFunc(w.Subjects, lacks), "subjects", c.Subjects, w.Subjects)
	differs(c.Storage != w.Storage, "storage", c.Storage, w.Storage)
	differs(c.PersistMode != w.PersistMode, "persist_mode", c.PersistMode, w.PersistMode)
	differs(c.Retention != w.Retention, "retention", c.Retention, w.Retention)
	differs(c.Discard != w.Discard, "discard", c.Discard, w.Discard)
	differs(c.MaxAge != 0, "max_age", c.MaxAge, "0")
	differs(c.MaxMsgs > 0, "max_msgs", c.MaxMsgs, "none")
	differs(c.MaxMsgsPerSubject > 0, "max_msgs_per_subject", c.MaxMsgsPerSubject, "none")
	differs(c.MaxConsumers > 0, "max_consumers", c.MaxConsumers, "none")                                                              // of replicas, and of each comparison
	differs(c.ConsumerLimits.InactiveThreshold > 0, "consumer_limits.inactive_threshold", c.ConsumerLimits.InactiveThreshold, "none") // it would remove a replica's position
	differs(c.MaxBytes <= 0, "max_bytes", c.MaxBytes, w.MaxBytes)
	differs(c.MaxMsgSize != w.MaxMsgSize, "max_msg_size", c.MaxMsgSize, w.MaxMsgSize)
	differs(c.Duplicates < w.Duplicates, "duplicate_window", c.Duplicates, w.Duplicates)
	differs(!c.DenyDelete, "deny_delete", c.DenyDelete, true)
	differs(!c.AllowAtomicPublish, "allow_atomic", c.AllowAtomicPublish, true)
	differs(c.AllowRollup, "allow_rollup_hdrs", c.AllowRollup, false)
	differs(c.DenyPurge, "deny_purge", c.DenyPurge, false) // it could not be trimmed, and becomes full
	differs(c.AllowMsgCounter, "allow_msg_counter", c.AllowMsgCounter, false)
	differs(c.AllowMsgSchedules, "allow_msg_schedules", c.AllowMsgSchedules, false)
	differs(c.AllowMsgTTL, "allow_msg_ttl", c.AllowMsgTTL, false)
	differs(c.NoAck, "no_ack", c.NoAck, false)
	differs(c.Sealed, "sealed", c.Sealed, false)
	differs(c.Mirror != nil, "mirror", "set", "none")
	differs(c.SubjectTransform != nil, "subject_transform", "set", "none")
	return drift
}
