package ledger

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// rounds scales the fault suite. The default takes seconds; .ci/run says 100.
var rounds = flag.Int("rounds", 3, "how many rounds the fault tests run")

// A tape is the stream of a fault test: it forgets nothing, and gives the same
// messages again after a crash. First comes the ledger's configuration, then n
// messages that are 40 days old, so that those of category service age out, and
// then what the ledger itself publishes.
type tape struct {
	msgs  []Message
	n     int
	start time.Time
	rng   *rand.Rand
	keep  func(Message) // told of every message before it is projected
	dead  chan struct{} // closed when the power is lost: nothing is worth waiting for
}

func newTape(seed uint64, n int, start time.Time) *tape {
	return &tape{n: n, start: start, dead: make(chan struct{}), rng: rand.New(rand.NewPCG(seed, 7))}
}

// begin fills an empty tape; the configuration makes small segments.
func (tp *tape) begin(l *Ledger) {
	add := func(subject string, data []byte) {
		i := len(tp.msgs)
		tp.append(Message{Seq: uint64(i) + 1, Time: tp.start.Add(-40*day + time.Duration(i)*time.Second), Subject: subject, Data: data})
	}
	for _, o := range l.OwnMessages() {
		add(subjectOwn+o.Action, o.Data)
	}
	for i := range tp.n {
		text := strings.Repeat("x", tp.rng.IntN(1200))
		category := []string{"service", "service", "security", "user", "nosuch"}[i%5]
		add("events."+category, fmt.Appendf(nil, `{"action":"a","actor":"u%d","data":{"n":%d,"text":"%s"}}`, i%7, i, text))
	}
}

func (tp *tape) append(m Message) {
	if tp.keep != nil {
		tp.keep(m)
	}
	tp.msgs = append(tp.msgs, m)
}

// today is when what is not old happens: just before now.
func today() time.Time { return time.Now().Add(-10 * time.Second).Truncate(time.Second) }

// add publishes an own message, or a publisher's of today.
func (tp *tape) add(subject string, data []byte) ID {
	seq := uint64(len(tp.msgs)) + 1
	tp.append(Message{Seq: seq, Time: tp.start.Add(time.Duration(seq) * time.Millisecond), Subject: subject, Data: data})
	return ID(seq)
}

// play projects what the ledger does not have, until it has it all and has
// sealed and aged out what it should. tell is called with heads that were
// acknowledged.
func (tp *tape) play(l *Ledger, tell func(Head)) error {
	ctx := context.Background()
	if len(tp.msgs) == 0 {
		tp.begin(l)
	}
	for {
		for at := int(l.Projected()); at < len(tp.msgs); {
			n := min(1+tp.rng.IntN(60), len(tp.msgs)-at)
			if err := l.Project(ctx, tp.msgs[at:at+n]); err != nil {
				return err
			}
			if at += n; tp.rng.IntN(2) == 0 || at == len(tp.msgs) {
				if err := l.Wait(ctx, ID(at)); err != nil {
					return err
				}
				tell(l.Head())
			}
		}
		more, err := tp.own(ctx, l)
		if err != nil || !more {
			return err
		}
	}
}

// own adds what the ledger wants to publish: seals, then a decision.
func (tp *tape) own(ctx context.Context, l *Ledger) (more bool, err error) {
	if err := tp.sealed(l); err != nil {
		return false, err
	}
	before := len(tp.msgs)
	for _, o := range l.OwnMessages() {
		tp.add(subjectOwn+o.Action, o.Data)
	}
	if len(tp.msgs) > before {
		return true, nil
	}
	if due := l.Due(time.Now()); len(due) > 0 {
		o, _, err := l.Decide(due)
		tp.add(subjectOwn+o.Action, o.Data)
		return true, err
	}
	if tp.msgs[before-1].Time.Before(tp.start) { // the head must be of today for files to be rewritten
		tp.add("events.user", []byte(`{"action":"today","actor":"u"}`))
		return true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	go func() {
		select {
		case <-tp.dead:
			cancel()
		case <-ctx.Done():
		}
	}()
	for err = ErrPending; errors.Is(err, ErrPending); { // a failed rewrite is tried again
		err = l.Rewritten(ctx, l.Head().ID)
	}
	return false, err
}

var errDead = errors.New("the power is lost")

// sealed waits until every ended segment is sealed.
func (tp *tape) sealed(l *Ledger) error {
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		waiting := false
		for _, s := range l.view.Load().segs {
			waiting = waiting || !s.sealed.Load()
		}
		if !waiting {
			return nil
		}
		if err := l.Err(); err != nil {
			return err
		}
		select {
		case <-tp.dead:
			return errDead
		default:
		}
	}
	return errors.New("the sealer did not finish")
}

// An acked is the last acknowledged head. The chain before it is bound by its hash.
type acked struct{ head atomic.Pointer[Head] }

func (a *acked) tell(h Head) { a.head.Store(&h) }

// holds checks a folder that nobody uses: sound as a whole, and with every
// event that was acknowledged, by id and hash.
func (a *acked) holds(t *testing.T, dir, round string) *Report {
	t.Helper()
	h := a.head.Load()
	if h == nil {
		return nil // nothing was acknowledged
	}
	opts := VerifyOptions{Heads: []Head{*h}}
	r, err := VerifyDir(context.Background(), dir, opts)
	if err != nil {
		t.Fatalf("%s: %v", round, err)
	}
	if r.Status != "valid" {
		t.Fatalf("%s: acknowledged to %v, now %+v", round, opts.Heads, r.Findings)
	}
	return r
}

// faultConfig has small segments, so that a short tape seals several.
func faultConfig() Config {
	c := DefaultConfig()
	c.MaxFileSize = 64 << 10
	return c
}

func tryOpen(dir string) (*Ledger, error) {
	return Open(context.Background(), Options{Dir: dir, Config: faultConfig(), Logger: quiet})
}
