package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"golang.org/x/sync/errgroup"

	"home.lab/event-store/ledger"
)

// measureVerify verifies a plain ledger and a sealed one, beside hashing (and unpacking) the same bytes on all cores.
func (b *bench) measureVerify(ctx context.Context) error {
	// As many as fill segments of a size that stores have: each costs something by itself.
	events := min(4*b.o.events, max(b.o.events, 400_000))
	plain, err := b.ledger(ctx, "plain", events, false)
	if err != nil {
		return err
	}
	sealed, err := b.ledger(ctx, "sealed", events, true)
	if err != nil {
		return err
	}
	store, raw, err := b.rounds("verify, plain", func() (pace, error) { return verifyRate(ctx, plain) }, func() (pace, error) { return hashRate(plain, ".jsonl") })
	if err != nil {
		return err
	}
	b.out.add(megabytes("verify, plain segments", store, "SHA-256 of each line on all cores", raw))
	b.out.add(figure{Name: "only SHA-256 of each line", Value: raw.rate / 1e6, Unit: "MB/s"})
	var unpacked []pace
	store, raw, err = b.rounds("verify, sealed", func() (pace, error) { return verifyRate(ctx, sealed) }, func() (pace, error) {
		u, err := repeated(func() (int64, error) { return contentSize(sealed, ".gz") })
		if err != nil {
			return pace{}, err
		}
		unpacked = append(unpacked, u)
		return hashRate(sealed, ".gz")
	})
	if err != nil {
		return err
	}
	b.out.add(megabytes("verify, sealed segments", store, "gunzip + SHA-256 of each line on all cores", raw))
	b.out.add(figure{Name: "only gunzip of the same segments", Value: median(unpacked).rate / 1e6, Unit: "MB/s"})
	return nil
}

// ledger fills a ledger; sealed: all of it but the seals themselves.
func (b *bench) ledger(ctx context.Context, name string, events int, sealed bool) (dir string, err error) {
	b.say("filling a ledger: " + name)
	dir = filepath.Join(b.folder, name)
	c := ledger.DefaultConfig()
	c.MaxFileSize = 1 << 40
	if sealed {
		c.MaxFileSize = int64(events) * lineBytes / 8
	}
	l, err := ledger.Open(ctx, ledger.Options{Dir: dir, Config: c, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	f := &feeder{l: l, at: time.Now().Add(-time.Hour)}
	if err := f.own(ctx); err != nil {
		return "", err
	}
	for n := 0; n < events; n += bulkEvents {
		if err := f.project(ctx, b.samples[n%len(b.samples):][:min(bulkEvents, events-n)]); err != nil {
			return "", err
		}
	}
	if err := l.Wait(ctx, l.Projected()); err != nil || !sealed {
		return dir, err
	}
	if err := f.end(ctx, b.samples); err != nil {
		return "", err
	}
	if err := sealing(ctx, dir); err != nil {
		return "", err
	}
	for len(l.OwnMessages()) < l.Status().FileCount-1 && ctx.Err() == nil { // the last file is in place a moment earlier
		time.Sleep(2 * time.Millisecond)
	}
	return dir, f.own(ctx)
}

// sealing waits until only the active segment is plain.
func sealing(ctx context.Context, dir string) error {
	for ctx.Err() == nil {
		plain, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
		if err != nil || len(plain) <= 1 {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
	return ctx.Err()
}

// A feeder projects events onto a ledger without a stream.
type feeder struct {
	l     *ledger.Ledger
	at    time.Time
	began time.Time
	batch []ledger.Message
}

func (f *feeder) project(ctx context.Context, events []sampleEvent) error {
	f.batch = f.batch[:0]
	seq := uint64(f.l.Projected())
	for _, e := range events {
		seq++
		f.at = f.at.Add(10 * time.Microsecond)
		f.batch = append(f.batch, ledger.Message{Seq: seq, Time: f.at, Subject: e.subject, Data: e.body})
	}
	return f.l.Project(ctx, f.batch)
}

// own chains the ledger's own messages.
func (f *feeder) own(ctx context.Context) error {
	for _, m := range f.l.OwnMessages() {
		if err := f.project(ctx, []sampleEvent{{"eventstore.ledger." + m.Action, m.Data}}); err != nil {
			return err
		}
	}
	return f.l.Wait(ctx, f.l.Projected())
}

// megabytes is a figure of bytes a second, of lines before they were compressed.
func megabytes(name string, l pace, ceiling string, c pace) figure {
	return figure{Name: name, Value: l.rate / 1e6, Unit: "MB/s", Ceiling: ceiling, CeilingValue: c.rate / 1e6}
}

// verifyRate verifies a folder as `eventstore verify` does.
func verifyRate(ctx context.Context, dir string) (pace, error) {
	size, err := contentSize(dir, "")
	if err != nil {
		return pace{}, err
	}
	return repeated(func() (int64, error) {
		r, err := ledger.VerifyDir(ctx, dir, ledger.VerifyOptions{})
		if err == nil && r.Status != "valid" {
			err = fmt.Errorf("the ledger is not valid: %s", r.Error)
		}
		return size, err
	})
}

// repeated does a short thing again and again, for long enough to be measured.
func repeated(do func() (size int64, err error)) (pace, error) {
	const long = 300 * time.Millisecond
	sum, start := int64(0), time.Now()
	for time.Since(start) < long {
		size, err := do()
		if err != nil {
			return pace{}, err
		}
		sum += size
	}
	return pace{rate: float64(sum) / time.Since(start).Seconds()}, nil
}

// contentSize reads (and unpacks) all segments whose files end so, on all cores: how many bytes they hold.
func contentSize(dir, suffix string) (size int64, err error) {
	err = eachFile(dir, suffix, cores(), func(content io.Reader) error {
		n, err := io.Copy(io.Discard, content)
		atomic.AddInt64(&size, n)
		return err
	})
	return size, err
}

// hashRate hashes each line of all segments whose files end so: what no verification can do without.
func hashRate(dir, suffix string) (pace, error) {
	return repeated(func() (size int64, err error) {
		err = eachFile(dir, suffix, cores(), func(content io.Reader) error {
			n, in := 0, bufio.NewReaderSize(content, 1<<20)
			for {
				line, err := in.ReadSlice('\n')
				sha256.Sum256(line)
				n += len(line)
				if err != nil {
					atomic.AddInt64(&size, int64(n))
					return ignoreEOF(err)
				}
			}
		})
		return size, err
	})
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// eachFile calls f with the content of every segment's file, unpacked, by some workers; a large plain file in pieces.
func eachFile(dir, suffix string, workers int, f func(content io.Reader) error) error {
	const piece = 4 << 20
	names, err := filepath.Glob(filepath.Join(dir, "events_*"+suffix))
	if err != nil {
		return err
	}
	var g errgroup.Group
	g.SetLimit(workers)
	for _, name := range names {
		file, err := os.Open(name)
		if err != nil {
			return err
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		switch filepath.Ext(name) {
		case ".jsonl":
			for at := int64(0); at < info.Size(); at += piece {
				g.Go(func() error { return f(io.NewSectionReader(file, at, piece)) })
			}
		case ".gz":
			g.Go(func() error {
				z, err := gzip.NewReader(file)
				if err != nil {
					return err
				}
				return f(z)
			})
		}
	}
	return g.Wait()
}
