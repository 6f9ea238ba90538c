package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// retryAfter is how long sealing and ageing out wait after a failure. A
// variable for tests.
var retryAfter = 10 * time.Second

// sealAll is the sealer: it compresses ended segments, oldest first, and takes
// out of sealed ones what was decided to age out.
func (l *Ledger) sealAll(ctx context.Context) {
	for {
		select {
		case <-l.sealing:
		case <-ctx.Done():
			return
		}
		for _, s := range l.view.Load().segs {
			if ctx.Err() != nil || s.doubt != nil || s.sealed.Load() {
				continue // what is damaged stays as it is
			}
			if err := l.seal(ctx, s); ctx.Err() != nil {
				break
			} else if err != nil {
				l.log.Error("sealing failed", "segment", s.name, "err", err)
				if l.NoRoom(err) {
					wake(l.sealing)
				} else {
					l.sealAgain()
				}
				break
			}
			l.log.Info("sealed", "segment", s.name, "bytes", s.size, "bytes_on_disk", s.disk.Load())
		}
		l.ageAll(ctx)
		l.indexAll(ctx)
		l.keepReserve()
	}
}

// sealAgain wakes the sealer in a while: once, however much of its round failed.
func (l *Ledger) sealAgain() {
	if l.again.CompareAndSwap(false, true) {
		time.AfterFunc(retryAfter, func() {
			l.again.Store(false)
			wake(l.sealing)
		})
	}
}

// seal turns an ended segment into its .gz and manifest (DESIGN section 3).
// Each step leaves a folder that load understands:
//
//	temporary .gz, fsync     the .jsonl holds; the temporary file is removed
//	manifest in place        the .jsonl holds; sealed again
//	.gz in place, dir fsync  the .gz matches its manifest and wins
//	.jsonl removed           sealed
func (l *Ledger) seal(ctx context.Context, s *segment) error {
	plain := filepath.Join(l.dir, s.name+suffixPlain)
	zipped := filepath.Join(l.dir, s.name+suffixSealed)
	blocks, err := l.compress(ctx, plain, zipped+suffixTemp)
	if err != nil {
		return fmt.Errorf("compressing: %w", err)
	}
	whole := *s.manifest
	whole.Map = packMap(s.categoryMap)
	if err := writeFile(l.dir, s.name+suffixManifest, append(whole.canonical(), '\n')); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	if err := os.Rename(zipped+suffixTemp, zipped); err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	l.writeIndex(s, blocks, s.growing.Load())
	s.measure(l.dir)
	if err := os.Remove(plain); err != nil {
		return err
	}
	s.sealed.Store(true)
	s.categoryMap = nil
	s.lines.Store(nil)
	s.growing.Store(nil)
	return syncDir(l.dir) // where it fails, the .jsonl may come back after a power loss: the .gz wins
}

// measure sets how many bytes a sealed segment takes on disk.
func (s *segment) measure(dir string) {
	var n int64
	for _, suffix := range []string{suffixSealed, suffixManifest} {
		if info, err := os.Stat(filepath.Join(dir, s.name+suffix)); err == nil {
			n += info.Size()
		}
	}
	s.disk.Store(n)
}

// compress writes the lines of plain as gzip members cut at line ends. Between
// two members it gives way to a running ingest.
func (l *Ledger) compress(ctx context.Context, plain, zipped string) ([]block, error) {
	in, err := openFile(plain)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.OpenFile(zipped, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	z, began := newZipper(out), time.Now()
	err = readLines(in, func(raw []byte, _ int64) error {
		if raw == nil {
			return errLine
		}
		if err := z.add(raw[:len(raw)+1]); err != nil || z.lines.Len() > 0 {
			return err
		}
		l.giveWay(ctx, time.Since(began))
		began = time.Now()
		return ctx.Err()
	})
	if err == nil {
		err = z.flush()
	}
	if err == nil {
		err = out.Sync()
	}
	settleMembers(z.blocks)
	return z.blocks, errors.Join(err, out.Close())
}

const (
	busyFor     = 50 * time.Millisecond // after a commit of a burst
	restFor     = 20                    // times as long as was worked
	mayWait     = 4                     // ended segments, before sealing them goes first
	longestRest = 250 * time.Millisecond
)

// giveWay lets the sealer rest after some work.
func (l *Ledger) giveWay(ctx context.Context, worked time.Duration) {
	rest := l.restAfter(worked)
	if rest == 0 {
		return
	}
	select {
	case <-time.After(rest):
	case <-ctx.Done():
	}
}

// restAfter is how long the sealer rests: while events come in bursts a segment
// is sealed a few seconds later, but ingest keeps its cores.
func (l *Ledger) restAfter(worked time.Duration) time.Duration {
	waiting := 0
	for _, s := range slices.Backward(l.view.Load().segs) {
		if s.sealed.Load() {
			break
		}
		waiting++
	}
	if waiting > mayWait || time.Since(time.Unix(0, l.burst.Load())) > busyFor {
		return 0
	}
	return min(restFor*worked, longestRest)
}

// A zipper writes lines as gzip members cut at line ends.
type zipper struct {
	out    io.Writer
	lines  bytes.Buffer
	member memberWriter
	off    int64
	last   ID
	blocks []block
}

func newZipper(out io.Writer) *zipper {
	return &zipper{out: out}
}

// add takes a line with its newline.
func (z *zipper) add(raw []byte) error {
	z.lines.Write(raw)
	if z.lines.Len() < memberSize {
		return nil
	}
	return z.flush()
}

// flush writes the lines that wait as one member.
func (z *zipper) flush() error {
	if z.lines.Len() == 0 {
		return nil
	}
	packed, err := z.member.pack(z.lines.Bytes())
	if err != nil {
		return err
	}
	b := memberOf(z.lines.Bytes(), z.last)
	b.off, b.n = z.off, int64(len(packed))
	z.blocks = append(z.blocks, b)
	z.off += b.n
	z.last = max(z.last, lastID(z.lines.Bytes()))
	z.lines.Reset()
	_, err = z.out.Write(packed)
	return err
}
