package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"golang.org/x/sync/semaphore"

	"home.lab/event-store/ledger"
)

// Stream is what gives events their order: the way in for an append.
type Stream interface {
	// Send publishes one draft, with key as its idempotency key unless empty, and does not wait.
	Send(d ledger.Draft, key string) Sent

	// AppendBatch publishes all drafts or none; their ids are first to last without a hole. An error about one draft has a
	// method Draft() int, which gives its place in ds.
	AppendBatch(ctx context.Context, ds []ledger.Draft) (first, last ledger.ID, err error)

	// Holds tells whether the stream's message with an id that is not committed yet is the draft's event.
	Holds(ctx context.Context, id ledger.ID, d ledger.Draft) (bool, error)

	// Reset gives a channel that is closed when acknowledgements given until then hold no longer: the stream is another
	// one, or lost messages that it had acknowledged.
	Reset() <-chan struct{}

	// Compare projects again what the stream still holds of the ledger, ids first to last (none when first > last);
	// differs is the first id whose event is not the ledger's, or 0.
	Compare(ctx context.Context) (first, last, differs ledger.ID, err error)

	// StreamStatus says how the stream is, from memory and at once.
	StreamStatus() StreamStatus
}

// Sent is a draft that was published.
type Sent interface {
	// Committed gives a channel that is closed when the draft is committed, or will not be as things are. It may be closed
	// early: Ack and the ledger tell.
	Committed() <-chan struct{}

	// Ack waits for the stream's answer, not beyond a time, and gives the id that the draft has in the stream; duplicate
	// says that the key was known and the id is the first event's. ledger.ErrUnavailable when the stream is not there or
	// refuses.
	Ack(until time.Time) (id ledger.ID, duplicate bool, err error)
}

// StreamStatus is the stream as /status and /health show it.
type StreamStatus struct {
	Connected   bool     `json:"connected"`
	Reason      string   `json:"reason,omitempty"` // why it is not connected
	Lag         uint64   `json:"lag"`              // messages in the stream that are not projected yet
	Messages    uint64   `json:"messages"`
	Bytes       uint64   `json:"bytes"`
	MaxBytes    int64    `json:"max_bytes"`
	Drift       []string `json:"drift"`         // settings of the stream that could lose messages
	Warnings    []string `json:"warnings"`      // what may lead to lost events, or did: fullness, lag, drops, replicas
	Dropped     uint64   `json:"dropped"`       // times that the embedded server said that it dropped messages
	ClockSkewMS int64    `json:"clock_skew_ms"` // stream time minus local time, in milliseconds
	Replicas    []any    `json:"replicas"`      // the stores on a stream that others can reach, as they reported
	Moved       []any    `json:"moved"`         // since the start: ranges of ids that NATS acknowledged and that are others now
}

// Retention runs and previews retention passes; what they give is answered as JSON.
type Retention interface {
	Cleanup(ctx context.Context, dryRun bool) (any, error)
}

// Options is what New needs.
type Options struct {
	Ledger        *ledger.Ledger
	Stream        Stream
	Retention     Retention     // nil: POST /cleanup is not there
	Metrics       *Metrics      // what GET /metrics shows; nil: metrics that no commit is told to
	Version       string        // shown by /status and /health
	Logger        *slog.Logger  // default slog.Default()
	CommitTimeout time.Duration // how long an append waits for its commit before it answers 202; default 10 s

	Tokens      []Token            // none: everybody who reaches the API may do everything
	OpenMetrics bool               // GET /metrics needs no token
	Local       bool               // only this host reaches the API: requests for other hosts' names are refused
	Refused     func(RefusedLogin) // nil: nobody keeps count

	// Cleaning is told of a clean-up before it begins; an error forbids it. May be nil.
	Cleaning func(context.Context, Caller) error
}

// API answers HTTP requests about one ledger.
type API struct {
	ledger        *ledger.Ledger
	stream        Stream
	retention     Retention
	metrics       *Metrics
	version       string
	log           *slog.Logger
	commitTimeout time.Duration
	verifier      *verifier
	followers     followers
	tokens        []Token
	openMetrics   bool
	local         bool
	bodies        *semaphore.Weighted // bytes of bodies
	bodyGrace     time.Duration
	patience      time.Duration // with a client that does not take its answer
	verifyEvery   time.Duration
	refused       func(RefusedLogin)
	cleaning      func(context.Context, Caller) error
}

// New gives the API. Run should run besides, for the background verification.
func New(o Options) *API {
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.CommitTimeout <= 0 {
		o.CommitTimeout = 10 * time.Second
	}
	if o.Metrics == nil {
		o.Metrics = NewMetrics(o.Version)
	}
	a := &API{
		ledger:        o.Ledger,
		stream:        o.Stream,
		retention:     o.Retention,
		metrics:       o.Metrics,
		version:       o.Version,
		log:           o.Logger,
		commitTimeout: o.CommitTimeout,
		verifier:      newVerifier(o.Ledger, o.Stream),
		tokens:        o.Tokens,
		openMetrics:   o.OpenMetrics,
		local:         o.Local,
		bodies:        semaphore.NewWeighted(maxBodies),
		bodyGrace:     bodyGrace,
		patience:      stallTimeout,
		verifyEvery:   verifyEvery,
		refused:       o.Refused,
		cleaning:      o.Cleaning,
	}
	a.metrics.registry.MustRegister(collector{a, everChained(a.ledger.Status())})
	return a
}

// Handler gives the routes. Paths are absolute: mount it at the root.
func (a *API) Handler() http.Handler {
	r := chi.NewRouter()
	r.Use(a.guard, a.paced, sameOrigin(), middleware.GetHead)
	if a.local {
		r.Use(a.ownNames)
	}
	r.NotFound(a.handle(noRoute))
	r.MethodNotAllowed(a.handle(wrongMethod))

	others := a.bounded(maxOthers)
	read, admin := r.With(a.need(ScopeRead), others), r.With(a.need(ScopeAdmin), others)
	r.With(a.need(ScopeAppend), a.bounded(maxAppends)).Post("/events", a.handle(bare(a.append)))
	read.Get("/events", a.handle(a.query))
	read.Get("/events/count", a.handle(a.count))
	r.With(a.need(ScopeRead), a.bounded(maxFollowers)).Get("/events/stream", a.handle(a.follow))
	read.Get("/events/{id}", a.handle(bare(a.event)))
	read.Post("/verify", a.handle(bare(a.verify)))
	read.Get("/verify", a.handle(bare(a.verification)))
	if a.retention != nil {
		admin.Post("/cleanup", a.handle(a.cleanup))
	}
	read.Get("/status", a.handle(bare(a.status)))
	read.Get("/openapi.yaml", a.handle(bare(a.openapi)))
	if !a.openMetrics {
		read.Get("/metrics", a.handle(bare(a.scrape)))
	}
	// Without a token: for those who only watch whether the store is up.
	r.Get("/health", a.handle(bare(a.health)))
	if a.openMetrics {
		r.Get("/metrics", a.handle(bare(a.scrape)))
	}
	r.Get("/", a.front())
	r.Get("/page/{file}", a.handle(bare(a.asset)))
	return r
}

// handle makes a handler of a function that returns its error: the one place where errors become answers.
func (a *API) handle(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			a.fail(w, r, err)
		}
	}
}

// fail answers with err as a problem, or cuts the connection when an answer has begun: a client must not take half an
// answer for a whole one.
func (a *API) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if r.Context().Err() != nil && p.Status != http.StatusRequestTimeout {
		panic(http.ErrAbortHandler) // nobody is there to read an answer
	}
	if p.Status == http.StatusInternalServerError {
		a.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "error", err)
	}
	if started(w) {
		panic(http.ErrAbortHandler)
	}
	p.write(w)
}

// scrape is GET /metrics.
func (a *API) scrape(w http.ResponseWriter, r *http.Request) error {
	a.metrics.handler().ServeHTTP(w, r)
	return nil
}

// guard recovers panics, tells browsers what an answer may do, and counts what was answered.
func (a *API) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rw := &response{ResponseWriter: w, status: http.StatusOK, control: http.NewResponseController(w), patience: a.patience}
		rw.control.SetWriteDeadline(time.Time{}) // that of the connection's last answer is over
		began := time.Now()
		defer func() { a.metrics.served(r, rw.status, time.Since(began)) }()
		defer func() {
			switch v := recover(); {
			case v == nil:
			case v == http.ErrAbortHandler:
				panic(v)
			default:
				a.log.Error("request panicked", "method", r.Method, "path", r.URL.Path, "panic", v)
				if rw.started {
					panic(http.ErrAbortHandler)
				}
				newProblem(http.StatusInternalServerError, "the store failed to handle this request; its log says why").write(rw)
			}
		}()
		secure(w.Header(), r.Method)
		next.ServeHTTP(rw, r)
	})
}

// sameOrigin refuses what a browser sends from another site's page (Fetch Metadata, RFC 6454): without it any page that
// an operator opens could write into his audit log. Programs send no such headers and pass.
func sameOrigin() func(http.Handler) http.Handler {
	c := http.NewCrossOriginProtection()
	c.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		newProblem(http.StatusForbidden, "requests from another site's page are refused").write(w)
	}))
	return c.Handler
}

// response knows whether its header has been sent, and with which status.
type response struct {
	http.ResponseWriter
	started  bool
	status   int
	control  *http.ResponseController
	patience time.Duration // with a client that does not take what is written
}

// begin makes the answer due: else a client that asks on and on and reads nothing would hold its connection for ever.
// Who writes for longer sets his own deadlines.
func (r *response) begin() {
	if !r.started {
		r.started = true
		r.control.SetWriteDeadline(time.Now().Add(r.patience))
	}
}

func (r *response) WriteHeader(code int) {
	if !r.started && code >= 200 {
		r.status = code
		r.begin()
	}
	r.ResponseWriter.WriteHeader(code)
}

func (r *response) Write(b []byte) (int, error) {
	r.begin()
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *response) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func started(w http.ResponseWriter) bool {
	rw, ok := w.(*response)
	return ok && rw.started
}
