package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

const (
	nearlyFull = 80 // percent of max_bytes
	almostFull = 95
	lateAfter  = time.Minute // that a message may wait in the stream for its commit
	dropsHold  = time.Hour   // that a drop stays a warning
)

// lateness finds out since when the ledger is behind: a message that was the
// stream's last at some time is not committed yet.
type lateness struct {
	seq   uint64 // the message, 0 when the ledger is not behind
	since time.Time
}

// observe takes the stream's last sequence and the ledger's.
func (l *lateness) observe(last, head uint64, now time.Time) {
	switch {
	case last <= head:
		*l = lateness{}
	case l.seq <= head: // the message is committed, a later one is not
		*l = lateness{last, now}
	}
}

func (l lateness) late(now time.Time) bool { return l.seq > 0 && now.Sub(l.since) >= lateAfter }

// drops counts what the embedded server says of its ingest queue. It says so at
// most once a second, and not how many messages it dropped.
type drops struct {
	mu   sync.Mutex
	n    uint64
	last time.Time
}

func (d *drops) add() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.n++
	d.last = time.Now()
}

func (d *drops) count() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n
}

func (d *drops) recent(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.n > 0 && now.Sub(d.last) < dropsHold
}

// warning is something that may lead to lost events, or did.
type warning struct {
	kind  string // one line in the log for each, while it holds
	text  string
	level slog.Level
}

// warned are the warnings that hold now. The caller has mu.
func (i *Ingest) warned(now time.Time) []warning {
	var ws []warning
	if full := i.percentFull(); full >= nearlyFull {
		w := warning{"nearly full", fmt.Sprintf("stream %s is %d %% full: %d of %d bytes", i.o.Stream, full, i.state.Bytes, i.limit), slog.LevelWarn}
		if full >= almostFull {
			w.kind, w.level = "almost full", slog.LevelError
			w.text += "; full, it refuses new events"
		}
		ws = append(ws, w)
	}
	if i.late.late(now) {
		ws = append(ws, warning{"late", fmt.Sprintf("the ledger is behind stream %s since %s", i.o.Stream, i.late.since.UTC().Format(time.RFC3339)), slog.LevelWarn})
	}
	if i.emb != nil && i.emb.drops.recent(now) {
		ws = append(ws, warning{"dropped", "the embedded NATS server dropped messages that came without asking for an acknowledgement", slog.LevelError})
	}
	if i.emb != nil && !i.led.Signs() {
		ws = append(ws, warning{"keyless", "ledger.key is missing: nothing is sealed or ages out, and no configuration is chained", slog.LevelError})
	}
	return append(ws, i.replicaWarnings(now)...)
}

func (i *Ingest) percentFull() int {
	if i.limit <= 0 {
		return 0 // a drift, named as such
	}
	return int(i.state.Bytes * 100 / uint64(i.limit))
}

func (i *Ingest) warnings(now time.Time) []string {
	var texts []string
	for _, w := range i.warned(now) {
		texts = append(texts, w.text)
	}
	return texts
}

// tell logs the warnings that are new. The caller has mu.
func (i *Ingest) tell(now time.Time) {
	told := map[string]bool{}
	for _, w := range i.warned(now) {
		if told[w.kind] = true; !i.told[w.kind] {
			i.o.Logger.Log(context.Background(), w.level, "stream is in danger of losing events", "kind", w.kind, "detail", w.text)
		}
	}
	i.told = told
}
