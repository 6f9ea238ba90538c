package ingest

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

// epoch is a time in which the stream's acknowledgements hold: who has one
// waits for the commit of its sequence. Another stream under the same name, or
// the same one without its last messages, gives a sequence a second time. A
// reconnection to a stream that still has everything it acknowledged to this
// store is no new epoch.
type epoch struct {
	over  chan struct{} // closed at its end
	acked uint64        // the highest sequence acknowledged to this store
}

// Reset returns a channel that is closed when acknowledgements given until then
// hold no longer.
func (i *Ingest) Reset() <-chan struct{} {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.epoch.over
}

func (i *Ingest) acknowledged(seq uint64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.epoch.acked = max(i.epoch.acked, seq)
}

// endEpoch fails all who wait.
func (i *Ingest) endEpoch(reason string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.epoch.acked > 0 {
		i.o.Logger.Warn("stream was reset, who waits for a commit is told", "stream", i.o.Stream, "reason", reason)
	}
	close(i.epoch.over)
	i.epoch = epoch{over: make(chan struct{})}
}

// keepEpoch ends the epoch when the stream is not the one that acknowledged.
func (i *Ingest) keepEpoch(info *jetstream.StreamInfo) {
	created := i.created.Load()
	if created == 0 {
		return // the first comparison: nothing was acknowledged yet
	}
	i.mu.Lock()
	acked := i.epoch.acked
	i.mu.Unlock()
	switch {
	case info.Created.UnixNano() != created:
		i.endEpoch("it was made again")
	case info.State.LastSeq < acked:
		i.endEpoch("it lost messages that it had acknowledged")
	default:
		return
	}
	i.created.Store(0) // told once
}

// repeated is the error for a sequence that the ledger had before the message
// was published: the stream was made again, and this store had not noticed.
func (i *Ingest) repeated(seq uint64) error {
	i.endEpoch("it gave an id again")
	i.ready.Store(false) // the consumer compares, and sets it again
	notify(i.reset)
	return fmt.Errorf("%w: stream %s was made again; the event is in it, as %s, and comes under another id", ledger.ErrUnavailable, i.o.Stream, ledger.ID(seq))
}
