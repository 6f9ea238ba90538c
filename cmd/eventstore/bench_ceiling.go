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
	"sync/atomic"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"home.lab/event-store/ledger"
)

// ceilingCommand runs the parts that the store is made of, without a ledger: a JetStream stream that an ordered
// consumer in the same process reads, an HTTP handler that only reads its body, and one that also writes and fdatasyncs a
// line. It has the doors that bench uses of a store.
func ceilingCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:    "ceiling",
		Short:  "Run what bench compares the store with",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return serveCeiling(cmd.Context(), dir, newLogger(cmd.ErrOrStderr(), Config{LogFormat: "json"}))
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", "", "`FOLDER` of the stream")
	return cmd
}

func serveCeiling(ctx context.Context, dir string, log *slog.Logger) error {
	opts := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoSigs: true, NoLog: true, JetStream: true, StoreDir: dir,
		SyncInterval: 5 * time.Second, StreamMaxBufferedMsgs: 10_000_000, StreamMaxBufferedSize: 2 << 30}
	srv, err := server.NewServer(opts)
	if err != nil {
		return err
	}
	srv.Start()
	defer srv.WaitForShutdown()
	defer srv.Shutdown()
	if !srv.ReadyForConnections(20 * time.Second) {
		return errors.New("the NATS server did not come up")
	}
	var seen atomic.Uint64
	consuming, err := consumeOnly(ctx, srv, &seen)
	if err != nil {
		return err
	}
	defer consuming.Stop()
	lines, err := os.OpenFile(filepath.Join(dir, "lines"), os.O_WRONLY|os.O_CREATE|os.O_APPEND|dataSync, 0o600)
	if err != nil {
		return err
	}
	defer lines.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web := newServer(ctx, ceilingHandler(&seen, lines), log)
	stop := context.AfterFunc(ctx, func() { web.Close() })
	defer stop()
	log.Info("listening", "http", listener.Addr().String(), "nats", srv.Addr().String())
	if err := web.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// consumeOnly makes the stream and counts what an ordered consumer delivers.
func consumeOnly(ctx context.Context, srv *server.Server, seen *atomic.Uint64) (jetstream.ConsumeContext, error) {
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		return nil, err
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	s, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "EVENTS", Subjects: []string{"events.>"}, Storage: jetstream.FileStorage, AllowAtomicPublish: true})
	if err != nil {
		return nil, err
	}
	c, err := s.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return nil, err
	}
	return c.Consume(func(jetstream.Msg) { seen.Add(1) }, jetstream.PullMaxMessages(4096))
}

// ceilingHandler answers as a store would that commits at once and keeps nothing, and on pathSynced as one that keeps a
// line and nothing else.
func ceilingHandler(seen *atomic.Uint64, lines io.Writer) http.Handler {
	r := chi.NewRouter()
	r.Post(pathEvents, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	line := make([]byte, lineBytes)
	r.Post(pathSynced, func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if _, err := lines.Write(line); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	r.Get("/status", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"last_id":%q}`, ledger.ID(seen.Load()).String())
	})
	r.Get("/events/{id}", func(w http.ResponseWriter, r *http.Request) {
		if id, err := ledger.ParseID(chi.URLParam(r, "id")); err != nil || uint64(id) > seen.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	return r
}

// syncedWrites measures write + fdatasync of batches of lines.
func (b *bench) syncedWrites(lines int) (pace, error) {
	f, err := os.CreateTemp(b.folder, "synced-")
	if err != nil {
		return pace{}, err
	}
	f.Close()
	defer os.Remove(f.Name())
	if f, err = os.OpenFile(f.Name(), os.O_WRONLY|os.O_APPEND|dataSync, 0); err != nil {
		return pace{}, err
	}
	defer f.Close()
	batch := make([]byte, lines*lineBytes)
	return repeat(1, b.o.time/2, lines, func(int) error { _, err := f.Write(batch); return err })
}
