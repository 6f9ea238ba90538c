package ledger

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
)

const (
	projectAtOnce = 512 // messages that are chained without letting others at the state
	shareFrom     = 32  // messages that are worth one more core
)

// Project chains messages, in stream order and all behind Projected, and hands
// them to the committer; ids that the stream lacks become one events_missing
// event. It blocks while too much waits to be committed. One goroutine calls it.
func (l *Ledger) Project(ctx context.Context, msgs []Message) error {
	if err := l.KeepKey(); err != nil {
		l.fail(err) // as a commit that could not be written: Recover, then again
		return err
	}
	defer wake(l.work) // also of what was projected before an error
	for len(msgs) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(len(msgs), projectAtOnce)
		if err := l.chainAll(msgs[:n]); err != nil {
			if errors.Is(err, errNeeds) {
				wake(l.work)
				l.Wait(ctx, l.Projected()) // what is before it is sound; in vain where that fails too
				l.fail(err)
			}
			return err
		}
		msgs = msgs[n:]
	}
	return nil
}

// chainAll derives the events of messages before it takes the lock, and chains
// them under it.
func (l *Ledger) chainAll(msgs []Message) error {
	l.mu.Lock()
	prefix, config, configs := l.proj.prefix, l.proj.config(), len(l.proj.configs)
	l.mu.Unlock()
	ready := l.drafter.derive(msgs, prefix, config)
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.proj.pending > maxPending && l.Err() == nil {
		wake(l.work)
		l.room.Wait()
	}
	if err := l.Err(); err != nil {
		return err
	}
	for i, m := range msgs {
		d := &ready[i]
		if d.own || len(l.proj.configs) != configs {
			d = nil // own messages depend on what is before them; a new configuration is in force
		}
		if err := l.proj.apply(m, d); err != nil {
			return err
		}
	}
	return nil
}

// A derived is the event that a message becomes.
type derived struct {
	draft Draft
	why   string // it was rejected
	own   bool   // not derived: the message claims to be the store's
}

// A drafter derives the events of many messages, on all cores. What it gives
// holds until the next call.
type drafter struct {
	events []derived
	quick  []plain // one for each core
}

func (d *drafter) derive(msgs []Message, prefix string, c Config) []derived {
	d.events = append(d.events[:0], make([]derived, len(msgs))...)
	shares := max(1, min(runtime.GOMAXPROCS(0), len(msgs)/shareFrom))
	for len(d.quick) < shares {
		d.quick = append(d.quick, plain{})
	}
	var all sync.WaitGroup
	for n := 1; n < shares; n++ {
		all.Go(func() { d.share(msgs, n, shares, prefix, c) })
	}
	d.share(msgs, 0, shares, prefix, c)
	all.Wait()
	return d.events
}

// share derives the nth of so many equal runs of messages.
func (d *drafter) share(msgs []Message, n, shares int, prefix string, c Config) {
	quick := &d.quick[n]
	quick.out = quick.out[:0]
	for i := len(msgs) * n / shares; i < len(msgs)*(n+1)/shares; i++ {
		e := &d.events[i]
		if e.own = strings.HasPrefix(msgs[i].Subject, subjectOwn); !e.own {
			e.draft, e.why = deriveEvent(msgs[i], prefix, c, quick)
		}
	}
}
