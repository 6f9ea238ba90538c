package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"home.lab/event-store/httpapi"
	"home.lab/event-store/ingest"
	"home.lab/event-store/ledger"
	"home.lab/event-store/retention"
)

const (
	shutdownTimeout = 3 * time.Second // for HTTP requests under way
	stopTimeout     = 5 * time.Second // for everything; what is committed is on disk whenever it ends
	commitTimeout   = 10 * time.Second
)

func serveCommand() *cobra.Command {
	var file string
	flags := []struct{ flag, key, text string }{
		{"listen", "server.listen", "HTTP address, host:port"},
		{"data-dir", "storage.data_dir", "folder of the ledger"},
		{"nats-listen", "nats.listen", "address of the embedded NATS server, host:port"},
		{"nats-url", "nats.url", "external NATS instead of the embedded server"},
	}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the event store",
		Long:  "Run the event store until SIGTERM or SIGINT.\nConfiguration: defaults < --config FILE < environment EVENT_STORE_<SECTION>_<KEY> < flags.",
		Example: `  eventstore serve
  eventstore serve --config configs/store.yaml
  eventstore serve --listen 127.0.0.1:8080 --data-dir ./data`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := LoadConfig(file, os.Environ())
			if err != nil {
				return usage(err)
			}
			for _, f := range flags {
				if !cmd.Flags().Changed(f.flag) {
					continue
				}
				if err := c.set("--"+f.flag, f.key, cmd.Flag(f.flag).Value.String()); err != nil {
					return usage(err)
				}
			}
			if err := c.Validate(); err != nil {
				return usage(err)
			}
			log := newLogger(cmd.ErrOrStderr(), c)
			for _, name := range unknownVariables(os.Environ()) {
				log.Warn("environment variable is no configuration key", "variable", name)
			}
			return serve(cmd.Context(), c, log)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "configuration `FILE`, as configs/store.yaml")
	for _, f := range flags {
		cmd.Flags().String(f.flag, "", f.text+" (key "+f.key+")")
	}
	return cmd
}

func newLogger(w io.Writer, c Config) *slog.Logger {
	o := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// serve runs the store until ctx ends or a part of it fails. The ledger is opened first and closed last.
func serve(ctx context.Context, c Config, log *slog.Logger) (err error) {
	defer forceStop(ctx, log)()
	metrics := httpapi.NewMetrics(version())
	l, err := ledger.Open(ctx, ledger.Options{Dir: c.DataDir, Config: c.Ledger(), Logger: log, SubjectPrefix: c.SubjectPrefix,
		Committed: metrics.Committed, Rejected: metrics.Rejected, Testified: metrics.Testified})
	if err != nil {
		return unlessStopped(ctx, err, "opening the ledger in "+c.DataDir)
	}
	defer func() { err = errors.Join(err, closeLedger(l, log)) }()

	told := newTeller(l, log)
	options, err := ingestOptions(c, log)
	if err != nil {
		return err
	}
	options.Refused = told.refusedLogin
	in, err := ingest.Open(ctx, options, l)
	if err != nil {
		return unlessStopped(ctx, err, "opening the stream")
	}
	defer in.Close()
	told.in = in

	keeper := retention.New(l, in, c.RetentionEvery, log)
	api := httpapi.New(httpapi.Options{Ledger: l, Stream: stream{in}, Retention: passes{keeper}, Metrics: metrics, Version: version(), Logger: log, CommitTimeout: commitTimeout, Tokens: c.apiTokens(), OpenMetrics: c.ServerMetrics == "open", Local: len(c.Tokens) == 0 && !c.ServerOpen,
		Refused: told.refusedRequest, Cleaning: told.cleanup})
	listener, err := listenHTTP(c, log)
	if err != nil {
		return err
	}
	log.Info("listening", "http", listener.Addr().String(), "nats", natsAddress(c, in), "data_dir", c.DataDir, "version", version())
	return runAll(ctx, c, listener, told, keeper, api)
}

// runAll runs the consumer, the API's background work and the HTTP server. When ctx ends, HTTP goes first: requests
// under way still get their commit; then the rest.
func runAll(ctx context.Context, c Config, listener net.Listener, told *teller, keeper *retention.Keeper, api *httpapi.API) error {
	l, in, log := told.ledger, told.in, told.log
	runCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, gctx := errgroup.WithContext(runCtx)
	server := newServer(gctx, api.Handler(), log)
	server.RegisterOnShutdown(api.EndStreams)
	g.Go(func() error { return unlessStopped(gctx, in.Run(gctx), "consuming the stream") })
	g.Go(func() error { return unlessStopped(gctx, api.Run(gctx), "verifying in the background") })
	g.Go(func() error { return unlessStopped(gctx, keeper.Run(gctx), "ageing out") })
	g.Go(func() error { return told.run(gctx) })
	g.Go(func() error { told.configuration(gctx, c); return nil })
	g.Go(func() error {
		configured(gctx, l)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving HTTP: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
			log.Info("stopping")
		case <-gctx.Done():
		}
		shutdown(server)
		told.stop()
		stop()
		return nil
	})
	return g.Wait()
}

// configured waits, for a while, until the configuration is chained: else the first events would fall under the one
// before, and their retention with them. Without NATS the store serves reads all the same.
func configured(ctx context.Context, l *ledger.Ledger) {
	for end := time.Now().Add(2 * time.Second); !l.Configured() && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(5 * time.Millisecond)
	}
}

func shutdown(s *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	if s.Shutdown(ctx) != nil {
		s.Close()
	}
}

// unlessStopped drops the error of a part that was told to stop.
func unlessStopped(ctx context.Context, err error, doing string) error {
	if err == nil || ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// forceStop ends the program when stopping takes longer than stopTimeout; the returned function calls it off.
func forceStop(ctx context.Context, log *slog.Logger) (cancel func()) {
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-ctx.Done():
		}
		select {
		case <-done:
		case <-time.After(stopTimeout):
			log.Error("stopping took too long, ending", "timeout", stopTimeout)
			os.Exit(1)
		}
	}()
	return func() { close(done) }
}

func closeLedger(l *ledger.Ledger, log *slog.Logger) error {
	if err := l.Close(); err != nil {
		return fmt.Errorf("closing the ledger: %w", err)
	}
	head := l.Head()
	log.Info("stopped", "head", head.ID.String(), "hash", head.Hash)
	return nil
}

func ingestOptions(c Config, log *slog.Logger) (ingest.Options, error) {
	secure, err := newTLS(c.NATSTLS, log)
	if err != nil {
		return ingest.Options{}, fmt.Errorf("nats.server_tls_cert: %w", err)
	}
	return ingest.Options{
		Dir:           filepath.Join(c.DataDir, "jetstream"),
		Listen:        c.NATSListen,
		URL:           c.NATSURL,
		Login:         c.NATSLogin,
		ServerConfig:  c.ServerConfig,
		Stream:        c.Stream,
		SubjectPrefix: c.SubjectPrefix,
		SyncInterval:  c.SyncInterval,
		MaxBytes:      c.MaxBytes,
		NameFile:      filepath.Join(c.DataDir, "replica"),
		Logger:        log,

		Guarded:        len(c.Tokens)+len(c.NATSUsers) > 0,
		Publishers:     c.publishers(),
		Open:           c.ServerOpen,
		TLS:            secure,
		MaxConnections: c.NATSMaxConns,
	}, nil
}

// natsAddress names where publishers connect; of an external URL it leaves out what may be secret.
func natsAddress(c Config, in *ingest.Ingest) string {
	if c.NATSURL == "" {
		return in.Addr()
	}
	return redactURLs(c.NATSURL)
}

// passes is the keeper as the API wants it.
type passes struct{ keeper *retention.Keeper }

func (p passes) Cleanup(ctx context.Context, dryRun bool) (any, error) {
	if dryRun {
		return p.keeper.Preview(ctx)
	}
	return p.keeper.Pass(ctx)
}

// stream is the ingest as the API wants it.
type stream struct{ in *ingest.Ingest }

func (s stream) Send(d ledger.Draft, key string) httpapi.Sent { return s.in.Send(d, key) }

func (s stream) AppendBatch(ctx context.Context, ds []ledger.Draft) (first, last ledger.ID, err error) {
	return s.in.AppendBatch(ctx, ds)
}

func (s stream) Holds(ctx context.Context, id ledger.ID, d ledger.Draft) (bool, error) {
	return s.in.Holds(ctx, id, d)
}

func (s stream) Reset() <-chan struct{} { return s.in.Reset() }

func (s stream) Compare(ctx context.Context) (first, last, differs ledger.ID, err error) {
	return s.in.Compare(ctx)
}

func (s stream) StreamStatus() httpapi.StreamStatus {
	in := s.in.Status()
	return httpapi.StreamStatus{
		Moved:       anys(in.Moved),
		Replicas:    anys(in.Replicas),
		Connected:   in.Connected,
		Reason:      in.Reason,
		Lag:         in.Lag,
		Messages:    in.Messages,
		Bytes:       in.Bytes,
		MaxBytes:    in.MaxBytes,
		Drift:       in.Drift,
		Warnings:    in.Warnings,
		Dropped:     in.Dropped,
		ClockSkewMS: -in.ClockSkewMS, // the API shows stream minus local, the ingest measures local minus stream
	}
}

// anys is a list as the API answers it, whatever it holds.
func anys[T any](list []T) []any {
	out := make([]any, len(list))
	for i, v := range list {
		out[i] = v
	}
	return out
}
