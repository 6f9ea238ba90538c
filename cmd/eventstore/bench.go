package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// benchOptions are the flags of bench.
type benchOptions struct {
	events  int
	rounds  int
	time    time.Duration
	dir     string
	client  client // of the running store
	running bool   // it was given
	natsURL string
	phases  []string
	asJSON  bool
}

var benchPhases = []string{"jetstream", "core", "append", "bulk", "query", "start", "verify", "seal"}

func benchCommand() *cobra.Command {
	var o benchOptions
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the store beside the raw parts that it is made of",
		Long: `Measure a store of a throwaway folder, or a running one (--url), and in the same run the raw parts on the same machine:
JetStream without a ledger, an HTTP handler that only reads its body, SHA-256, gunzip, write + fdatasync. Each figure is
the median of its rounds and is shown with its ratio to its ceiling.

With --url the events are appended to that store for good; verify and seal always use the throwaway folder.

Exit code: 0 everything was measured, 1 something failed, 2 wrong usage.`,
		Example: `  eventstore bench
  eventstore bench --phases jetstream,append --events 50000 --json
  eventstore bench --url http://127.0.0.1:5101 --nats-url nats://127.0.0.1:4222`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.running = cmd.Flags().Changed("url")
			if err := o.check(); err != nil {
				return usage(err)
			}
			return runBench(cmd.Context(), o, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.events, "events", 100_000, "events of each NATS round; the verified ledgers have up to four times as many")
	f.IntVar(&o.rounds, "rounds", 3, "rounds of each figure; the median counts")
	f.DurationVar(&o.time, "time", 2*time.Second, "length of each HTTP round")
	f.StringVar(&o.dir, "dir", os.TempDir(), "where the throwaway `FOLDER` is made: the disk that is measured")
	o.client.addURL(cmd)
	f.Lookup("url").DefValue, f.Lookup("url").Usage = "", "measure the running store at this `URL`"
	f.StringVar(&o.natsURL, "nats-url", "", "where the running store's NATS is; without it --url measures HTTP only")
	f.StringSliceVar(&o.phases, "phases", benchPhases, "what to measure")
	f.BoolVar(&o.asJSON, "json", false, "print JSON")
	cmd.AddCommand(ceilingCommand())
	return cmd
}

func (o benchOptions) check() error {
	for _, p := range o.phases {
		if !slices.Contains(benchPhases, p) {
			return fmt.Errorf("--phases: %q is none of %s", p, strings.Join(benchPhases, ", "))
		}
	}
	switch {
	case o.events < 1000 || o.events > 100_000_000:
		return errors.New("--events: 1,000 to 100,000,000")
	case o.rounds < 1 || o.rounds > 100:
		return errors.New("--rounds: 1 to 100")
	case o.time < 100*time.Millisecond || o.time > time.Hour:
		return errors.New("--time: 100ms to 1h")
	case o.natsURL != "" && !o.running:
		return errors.New("--nats-url: needs --url too")
	}
	return nil
}

// A bench is one run. Its throwaway folder is removed at its end.
type bench struct {
	o       benchOptions
	out     *benchReport
	folder  string
	samples []sampleEvent
	store   *target // measured
	raw     *target // the ceilings that need another process
	nats    float64 // the JetStream figure, events/s
	stream  pace    // its ceiling
	say     func(string)
}

func runBench(ctx context.Context, o benchOptions, out, progress io.Writer) error {
	folder, err := os.MkdirTemp(o.dir, "eventstore-bench-")
	if err != nil {
		return fmt.Errorf("making the throwaway folder: %w", err)
	}
	defer os.RemoveAll(folder)
	b := &bench{o: o, folder: folder, out: newBenchReport(o), samples: makeSamples((min(o.events, 200_000) + bulkEvents - 1) / bulkEvents * bulkEvents), say: func(string) {}}
	if f, ok := progress.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		b.say = func(s string) { fmt.Fprintf(f, "\r\x1b[K%s", s) }
	}
	start := time.Now()
	err = b.run(ctx)
	b.say("")
	if err != nil {
		return err
	}
	b.out.TookMS = time.Since(start).Milliseconds()
	if o.asJSON {
		text, err := json.Marshal(b.out)
		if err != nil {
			return err
		}
		return printLine(out, text)
	}
	return b.out.print(out)
}

// run measures phase after phase.
func (b *bench) run(ctx context.Context) (err error) {
	if slices.ContainsFunc(b.o.phases, func(p string) bool { return p != "verify" && p != "seal" }) {
		if err := b.start(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.raw.stop(), b.store.stop()) }()
	}
	for _, phase := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"jetstream", b.measureJetStream}, {"core", b.measureCore}, {"append", b.measureAppend}, {"bulk", b.measureBulk}, {"query", b.measureQueries},
		{"", b.measureMemory}, {"start", b.measureStart}, {"verify", b.measureVerify}, {"seal", b.measureSeal},
	} {
		if phase.name != "" && !slices.Contains(b.o.phases, phase.name) {
			continue
		}
		if err := phase.run(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start brings up what is measured and what it is measured against.
func (b *bench) start(ctx context.Context) (err error) {
	b.say("starting")
	if b.raw, err = startTarget(ctx, "bench", "ceiling", "--data-dir", filepath.Join(b.folder, "ceiling")); err != nil {
		return err
	}
	if b.o.running {
		if b.store, err = newTarget(&b.o.client); err != nil {
			return errors.Join(err, b.raw.stop())
		}
		b.store.nats = b.o.natsURL
		return nil
	}
	if b.store, err = b.startStore(ctx); err != nil {
		return errors.Join(err, b.raw.stop())
	}
	if n := b.store.memory("VmRSS"); n > 0 {
		b.out.add(figure{Name: "memory at rest", Value: float64(n) / 1e6, Unit: "MB"})
	}
	return nil
}

func (b *bench) startStore(ctx context.Context) (*target, error) {
	return startTarget(ctx, "serve", "--data-dir", filepath.Join(b.folder, "store"), "--listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0")
}

// measureStart starts the throwaway store again on the folder that it has by now, until its first answer.
func (b *bench) measureStart(ctx context.Context) (err error) {
	if b.o.running {
		return nil
	}
	b.say("starting again")
	if err := b.store.stop(); err != nil {
		return err
	}
	start := time.Now()
	if b.store, err = b.startStore(ctx); err != nil {
		return err
	}
	b.out.add(figure{Name: "start-up", Value: milliseconds(time.Since(start)), Unit: "ms"})
	return nil
}

// rounds runs a measurement on the store and on its ceiling in turn, and gives the median of each.
func (b *bench) rounds(what string, store, raw func() (pace, error)) (pace, pace, error) {
	var stores, raws []pace
	for n := range b.o.rounds {
		for _, side := range []struct {
			paces *[]pace
			run   func() (pace, error)
			name  string
		}{{&raws, raw, "the ceiling"}, {&stores, store, "the store"}} {
			b.say(fmt.Sprintf("%s: round %d of %d, %s", what, n+1, b.o.rounds, side.name))
			b.store.settle()
			b.raw.settle()
			runtime.GC() // what the rounds before have left
			l, err := side.run()
			if err != nil {
				return pace{}, pace{}, fmt.Errorf("measuring %s, %s: %w", what, side.name, err)
			}
			*side.paces = append(*side.paces, l)
		}
	}
	return median(stores), median(raws), nil
}

// A pace is what one round measured.
type pace struct {
	rate     float64 // per second
	p50, p99 time.Duration
}

// median gives the pace of the median rate.
func median(paces []pace) pace {
	slices.SortFunc(paces, func(a, b pace) int { return int(a.rate - b.rate) })
	return paces[len(paces)/2]
}

func cores() int { return runtime.GOMAXPROCS(0) }
