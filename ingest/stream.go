package ingest

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"home.lab/event-store/ledger"
)

const (
	keyMetadata           = "eventstore_public_key"
	prefixMetadata        = "eventstore_subject_prefix"
	defaultMaxBytes       = 8 << 30
	defaultMaxConnections = 1000
	maxMsgSize            = 1 << 20
	duplicateWindow       = 10 * time.Minute
	apiTimeout            = 5 * time.Second
)

// Options say which NATS and which stream.
type Options struct {
	Dir           string        // the embedded server's JetStream folder
	Listen        string        // the embedded server's client address, "host:port"; port 0 = any; empty = no listener
	URL           string        // NATS elsewhere; empty = embedded
	Login         Login         // for URL, and for a ServerConfig with its own users
	ServerConfig  string        // nats-server configuration file for the embedded server
	Stream        string        // default "EVENTS"
	SubjectPrefix string        // default "events"
	SyncInterval  time.Duration // how often the embedded server syncs to disk; 0 = with every message
	MaxBytes      int64         // the stream's limit; default 8 GiB
	NameFile      string        // where this replica's name is kept, for a stream that other stores can reach; empty = a new name each time
	Logger        *slog.Logger

	// Of the embedded server.
	Guarded        bool // only Publishers may come in; else everybody
	Publishers     []Publisher
	Open           bool                 // listen beyond this host although everybody may come in
	TLS            *tls.Config          // of the listener; nil: plain text
	MaxConnections int                  // default 1000
	Refused        func(address string) // told of every refused login; nil: nobody keeps count

	interrupt func(point string) error // tests: an error ends a move there
	stall     time.Duration            // tests: for moveStalls
}

// Ingest connects one stream with one ledger.
type Ingest struct {
	o      Options
	led    *ledger.Ledger
	emb    *embedded // nil with Options.URL
	nc     *nats.Conn
	js     jetstream.JetStream
	closed <-chan struct{} // the connection has ended
	away   absence
	reset  chan struct{} // capacity 1: the connection is another one

	ackPrefix []byte // of the PubAcks of most messages; see pubAck

	ready   atomic.Bool  // reconciled: appends may pass
	answers atomic.Bool  // the stream did when it was asked last
	atEnd   atomic.Bool  // the consumer has seen the stream's last message
	skew    atomic.Int64 // nanoseconds, of the last message that came live
	nudge   chan struct{}
	reached bool                            // the consumer at hand has been at the end; owned by project
	sent    map[[sha256.Size]byte]time.Time // own messages; owned by Open, then by publishOwn
	created atomic.Int64                    // the stream's creation, Unix nanoseconds

	mu      sync.Mutex
	state   jetstream.StreamState // last seen
	drift   []string              // last seen
	stopped string                // why the last consumer ended, or could not begin; empty while one runs
	limit   int64                 // the stream's max_bytes, last seen
	late    lateness
	told    map[string]bool // kinds of warnings that were logged and still hold
	moved   []Moved         // since Open
	epoch   epoch
	acks    acks

	replicas []Replica // that reported, last seen
	name     string    // of this replica

	run     string  // of this process
	awaited awaited // owned by reconcile
	keyed   keyed
	runs    map[string]string // run by replica's name when trimming was considered last; owned by watch

	closing sync.Once
}

// Open starts or connects NATS, makes the stream and compares it with the
// ledger; only then are publishers let in. With Options.URL an unreachable
// NATS is no error: Run keeps trying. A stream that is not this ledger's is
// an error that Is ErrHistory.
func Open(ctx context.Context, o Options, l *ledger.Ledger) (*Ingest, error) {
	o = withDefaults(o)
	i := &Ingest{o: o, led: l, reset: make(chan struct{}, 1), nudge: make(chan struct{}, 1), sent: map[[sha256.Size]byte]time.Time{},
		told: map[string]bool{}, epoch: epoch{over: make(chan struct{})}, ackPrefix: []byte(`{"stream":"` + o.Stream + `","seq":`)}
	if err := i.open(ctx); err != nil {
		i.Close()
		return nil, err
	}
	return i, nil
}

func withDefaults(o Options) Options {
	if o.Stream == "" {
		o.Stream = "EVENTS"
	}
	if o.SubjectPrefix == "" {
		o.SubjectPrefix = "events"
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	if o.MaxConnections <= 0 {
		o.MaxConnections = defaultMaxConnections
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func (i *Ingest) open(ctx context.Context) (err error) {
	if i.o.URL == "" {
		if i.emb, err = startServer(i.o); err != nil {
			return err
		}
	}
	if i.nc, i.closed, err = connect(i.o, i.emb, &i.away, i.reset); err != nil {
		return err
	}
	if i.js, err = jetstream.New(i.nc); err != nil {
		return fmt.Errorf("using JetStream: %w", err)
	}
	if err := i.hearAcks(); err != nil {
		return fmt.Errorf("hearing acknowledgements: %w", err)
	}
	if err := i.loadName(); err != nil {
		return err
	}
	err = i.reconcile(ctx)
	if err != nil && (i.emb != nil || errors.Is(err, ErrHistory)) {
		return err
	}
	switch {
	case errors.Is(err, errAway): // told, and tried again by Run
		return nil
	case err != nil:
		i.o.Logger.Warn("stream not available, trying again", "error", err)
		return nil
	}
	return i.admit(ctx)
}

// Close ends the connection and the embedded server; no goroutine stays.
// Run must have returned.
func (i *Ingest) Close() {
	i.closing.Do(func() {
		i.ready.Store(false)
		if i.nc != nil {
			i.nc.Close()
			<-i.closed
		}
		if i.emb != nil {
			i.emb.stop()
		}
	})
}

// Addr returns the embedded server's client address, "host:port"; empty when
// there is none.
func (i *Ingest) Addr() string {
	if i.emb == nil {
		return ""
	}
	return i.emb.address()
}

// wanted is the stream as the ledger needs it.
func (i *Ingest) wanted() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               i.o.Stream,
		Description:        "Event Store: every message becomes one event of the ledger",
		Subjects:           []string{i.o.SubjectPrefix + ".>", ownPrefix + ">"},
		Storage:            jetstream.FileStorage,
		Retention:          jetstream.LimitsPolicy,
		Discard:            jetstream.DiscardNew,
		MaxBytes:           i.o.MaxBytes,
		MaxMsgSize:         maxMsgSize,
		MaxMsgs:            -1,
		MaxMsgsPerSubject:  -1,
		DenyDelete:         true,
		AllowAtomicPublish: true,
		PersistMode:        jetstream.DefaultPersistMode,
		Duplicates:         duplicateWindow,
		Metadata:           map[string]string{keyMetadata: i.led.PublicKey(), prefixMetadata: i.o.SubjectPrefix},
	}
}

// ensure returns the stream and its state, making it when there is none: then
// it begins after the ledger's last event.
func (i *Ingest) ensure(ctx context.Context) (jetstream.Stream, *jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	s, err := i.js.Stream(ctx, i.o.Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		if err := i.led.KeepKey(); err != nil {
			return nil, nil, err
		}
		cfg := i.wanted()
		cfg.FirstSeq = uint64(i.led.Head().ID) + 1
		s, err = i.js.CreateStream(ctx, cfg)
		if err == nil {
			i.o.Logger.Info("stream made", "stream", cfg.Name, "first_id", ledger.ID(cfg.FirstSeq).String())
		}
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening stream %s: %w", i.o.Stream, err)
	}
	return s, s.CachedInfo(), nil
}

// claim writes into the stream's metadata whose it is, and which subjects are
// its publishers' (they shape the projection), and, for the embedded server,
// the configured limit.
func (i *Ingest) claim(ctx context.Context, cfg jetstream.StreamConfig) error {
	resize := i.emb != nil && cfg.MaxBytes != i.o.MaxBytes
	if cfg.Metadata[keyMetadata] != "" && cfg.Metadata[prefixMetadata] != "" && !resize {
		return nil
	}
	if err := i.led.KeepKey(); err != nil {
		return err
	}
	metadata := i.wanted().Metadata
	maps.Copy(metadata, cfg.Metadata)
	maps.DeleteFunc(metadata, func(_, v string) bool { return v == "" })
	cfg.Metadata = metadata
	if resize {
		cfg.MaxBytes = i.o.MaxBytes
	}
	if _, err := i.js.UpdateStream(ctx, cfg); err != nil {
		return fmt.Errorf("updating stream %s: %w", cfg.Name, err)
	}
	return nil
}
