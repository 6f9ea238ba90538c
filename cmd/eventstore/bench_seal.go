package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"

	"home.lab/event-store/ledger"
)

// measureSeal seals one segment of the run's events while nothing else runs, and another one under a running projection.
func (b *bench) measureSeal(ctx context.Context) error {
	dir, err := b.ledger(ctx, "unsealed", b.o.events, false)
	if err != nil {
		return err
	}
	b.say("sealing")
	raw, err := gzipRate(dir)
	if err != nil {
		return err
	}
	l, err := ledger.Open(ctx, ledger.Options{Dir: dir, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	defer l.Close()
	status := l.Status()
	f := &feeder{l: l, at: time.Now()}
	start := time.Now()
	if err := f.end(ctx, b.samples); err != nil {
		return err
	}
	if err := sealing(ctx, dir); err != nil {
		return err
	}
	b.out.add(megabytes("seal", pace{rate: float64(status.TotalSizeBytes) / time.Since(start).Seconds()}, "gzip on one core", raw))
	size, err := sealedSize(dir)
	if err != nil {
		return err
	}
	b.out.add(figure{Name: "bytes per event on disk", Value: float64(size) / float64(status.TotalEvents), Unit: "bytes"})
	return b.measureStolen(ctx, f, dir)
}

// measureStolen projects alone, and then while what it projected is sealed.
func (b *bench) measureStolen(ctx context.Context, f *feeder, dir string) error {
	alone, err := f.run(ctx, b.samples, func() bool { return f.since() > b.o.time })
	if err != nil {
		return err
	}
	if err := f.end(ctx, b.samples); err != nil {
		return err
	}
	beside, err := f.run(ctx, b.samples, func() bool {
		plain, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		return len(plain) <= 1 || f.since() > 10*b.o.time
	})
	if err != nil {
		return err
	}
	b.out.add(rate("project while sealing", beside, "project", alone))
	return nil
}

// end makes a segment end: its next event is more than a day younger.
func (f *feeder) end(ctx context.Context, samples []sampleEvent) error {
	f.at = f.at.Add(25 * time.Hour)
	if err := f.project(ctx, samples[:1]); err != nil {
		return err
	}
	return f.l.Wait(ctx, f.l.Projected())
}

// run projects, batch after batch, until done.
func (f *feeder) run(ctx context.Context, samples []sampleEvent, done func() bool) (pace, error) {
	f.began = time.Now()
	n := 0
	for ; !done(); n += bulkEvents {
		if err := f.project(ctx, samples[n%len(samples):][:bulkEvents]); err != nil {
			return pace{}, err
		}
	}
	err := f.l.Wait(ctx, f.l.Projected())
	return pace{rate: float64(n) / f.since().Seconds()}, err
}

func (f *feeder) since() time.Duration { return time.Since(f.began) }

// gzipRate compresses the lines of a folder's plain segments as one stream.
func gzipRate(dir string) (pace, error) {
	var size int64
	start := time.Now()
	err := eachFile(dir, ".jsonl", 1, func(content io.Reader) error {
		z := gzip.NewWriter(io.Discard)
		n, err := io.Copy(z, content)
		size += n
		return errors.Join(err, z.Close())
	})
	return pace{rate: float64(size) / time.Since(start).Seconds()}, err
}

// sealedSize is what a folder's sealed segments take on disk, manifests and indexes included.
func sealedSize(dir string) (size int64, err error) {
	for _, pattern := range []string{"events_*.gz", "events_*.manifest.json", "index/*"} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return 0, err
		}
		for _, path := range paths {
			info, err := os.Stat(path)
			if err != nil {
				return 0, err
			}
			size += info.Size()
		}
	}
	return size, nil
}
