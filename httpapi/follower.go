package httpapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"home.lab/event-store/ledger"
)

const (
	followEvery    = 200 * time.Millisecond // at least between two looks of one follower: a thousand of them cost little at any rate of commits
	heartbeatEvery = 15 * time.Second       // proxies close what is silent for long
	followBuffer   = 4 << 10
	partingTime    = time.Second // for a client to hear that the store stops
)

// errEnding ends a stream because the store stops.
var errEnding = errors.New("the store is stopping")

// follow is GET /events/stream: events as server-sent events (HTML Living Standard, section 9.2), from now on or behind
// Last-Event-ID, for as long as the client reads.
func (a *API) follow(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r)
	if err != nil {
		return err
	}
	filter, err := followFilter(grantOf(r), values)
	if err != nil {
		return err
	}
	at, from, err := a.followFrom(r.Header.Get("Last-Event-ID"), filter, values)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.Method == http.MethodHead {
		return nil
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	f := newFollower(w, a.ledger, filter, at, cancel)
	f.from = from
	if !a.followers.add(f) {
		return newProblem(http.StatusServiceUnavailable, "%v", errEnding)
	}
	defer a.followers.remove(f)
	f.part(ctx, f.run(ctx), a.log.With("remote", r.RemoteAddr))
	return nil
}

// followFilter reads the parameters: those of GET /events but for what would give a stream an end or another order.
func followFilter(g grant, values url.Values) (ledger.Filter, error) {
	var errs []fieldError
	for _, name := range []string{"before", "limit", "order"} {
		if values.Has(name) {
			errs = append(errs, fieldError{Field: name, Message: "is not a parameter of this call: a stream goes on, oldest first"})
		}
	}
	if len(errs) > 0 {
		return ledger.Filter{}, invalid(errs...)
	}
	f, err := parseFilter(g, values, true)
	f.Ascending = true
	return f, err
}

// followFrom is the id behind which a stream begins: the last that the client has had, else that of after, else the head.
// A client that reconnects sends its first URL again, so the header goes before after. from says it in words.
//
// Behind an id that no event has yet there would be nothing for as long as it takes to get there. after is refused then;
// of the header, which a browser sends again and again, the stream says that it is not heeded: the ledger is not the one
// that gave it.
func (a *API) followFrom(last string, f ledger.Filter, values url.Values) (at ledger.ID, from string, err error) {
	head := a.ledger.Head().ID
	newest := head + ledger.ID(a.stream.StreamStatus().Lag) // also what waits for its commit
	at = head
	switch {
	case last != "":
		at, err = ledger.ParseID(last)
	case values.Has("after"):
		at = f.After
	}
	from = "events behind " + at.String()
	switch {
	case err != nil || at <= newest:
		return at, from, err
	case last != "":
		return head, fmt.Sprintf("events behind %s, which is the newest: Last-Event-ID %s is beyond it", head, at), nil
	}
	return 0, "", invalid(fieldError{Field: "after", Message: "is beyond the newest event, " + head.String()})
}

// A follower sends one client what is committed. It reads the ledger from its own position at its client's pace: a slow
// client is nobody else's matter, and none can make the store keep anything for it.
type follower struct {
	ledger *ledger.Ledger
	filter ledger.Filter // Before is the end of the look under way
	at     ledger.ID     // all up to here was looked at
	sent   ledger.ID     // the last id that the client was told
	from   string        // where it began, in words
	out    *sender
	lost   error // why the client cannot be written to
	cancel context.CancelCauseFunc
}

func newFollower(w http.ResponseWriter, l *ledger.Ledger, filter ledger.Filter, at ledger.ID, cancel context.CancelCauseFunc) *follower {
	control := http.NewResponseController(w)
	out := &sender{bufio.NewWriterSize(deadlineWriter{w, control}, followBuffer), control, time.Now()}
	return &follower{ledger: l, filter: filter, at: at, sent: at, out: out, cancel: cancel}
}

// run sends events until ctx ends or something fails.
func (f *follower) run(ctx context.Context) error {
	heartbeat := time.NewTicker(heartbeatEvery)
	defer heartbeat.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	if err := f.say(": " + f.from + "\nretry: 1000\n\n"); err != nil {
		return err
	}
	for {
		select {
		case <-rest.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		notice := f.ledger.Notice()
		if err := f.look(ctx); err != nil {
			return err
		}
		rest.Reset(followEvery)
		select {
		case <-notice:
		case <-heartbeat.C:
			if err := f.say(f.heartbeat()); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// look sends what was committed since the last look.
func (f *follower) look(ctx context.Context) error {
	head := f.ledger.Head().ID
	if head <= f.at {
		return nil
	}
	f.filter.After, f.filter.Before = f.at, head+1
	if err := f.ledger.Query(ctx, f.filter, f.event); err != nil {
		return err
	}
	f.at = head
	return f.flush()
}

// event sends one event. Its line is one, so data needs one field.
func (f *follower) event(line []byte) error {
	id, err := idOf(line)
	if err != nil {
		return err
	}
	if f.lost = f.out.raw([]byte("id: " + id.String() + "\ndata: ")); f.lost != nil {
		return f.lost
	}
	f.sent = id
	f.out.Write(line)
	_, f.lost = f.out.WriteString("\n\n")
	return f.lost
}

// heartbeat is a comment, and an id without data where the filter passed events over: that moves the client's
// Last-Event-ID and gives it no event, so that it need not look through them again.
func (f *follower) heartbeat() string {
	if f.sent >= f.at {
		return ": heartbeat\n\n"
	}
	f.sent = f.at
	return ": heartbeat\nid: " + f.at.String() + "\n\n"
}

func (f *follower) say(text string) error {
	f.out.WriteString(text)
	return f.flush()
}

func (f *follower) flush() error {
	if f.out.Buffered() > 0 {
		f.lost = f.out.push()
	}
	return f.lost
}

// part says why the stream ends: to the client where it still reads, and to the operator where it does not.
func (f *follower) part(ctx context.Context, err error, log *slog.Logger) {
	switch {
	case errors.Is(context.Cause(ctx), errEnding):
		f.say(": " + errEnding.Error() + "\n\n")
	case errors.Is(f.lost, os.ErrDeadlineExceeded):
		log.Info("follower dropped", "reason", "it took nothing for "+stallTimeout.String(), "last_id", f.sent.String())
	case f.lost != nil, ctx.Err() != nil: // the client left
	default:
		log.Error("follower dropped", "reason", err.Error(), "last_id", f.sent.String())
		f.say("event: error\ndata: the store could not read its ledger; its log says why\n\n")
	}
}

// followers are the open streams. They have no end of their own, so stopping has to end them.
type followers struct {
	mu    sync.Mutex
	ended bool
	open  map[*follower]bool
}

// add reports false once the streams were ended.
func (s *followers) add(f *follower) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = map[*follower]bool{}
	}
	if !s.ended {
		s.open[f] = true
	}
	return !s.ended
}

func (s *followers) remove(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, f)
}

func (s *followers) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}

// EndStreams ends the open event streams, and lets no new one begin. It is for http.Server.RegisterOnShutdown, which
// waits for requests that end by themselves.
func (a *API) EndStreams() {
	s := &a.followers
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for f := range s.open {
		f.cancel(errEnding)
		f.out.control.SetWriteDeadline(time.Now().Add(partingTime)) // of a write that waits for its client
	}
}
