package ledger

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/gzip"
)

// sealAll is the sealer: it compresses ended segments, oldest first.
func (l *Ledger) sealAll(ctx context.Context) {
	for {
		select {
		case <-l.sealing:
		case <-ctx.Done():
			return
		}
		for _, s := range l.view.Load().segs {
			if ctx.Err() != nil || s.sealed.Load() {
				continue
			}
			if err := l.seal(s); err != nil {
				l.log.Error("sealing failed", "segment", s.name, "err", err)
				time.AfterFunc(10*time.Second, func() { wake(l.sealing) })
				break
			}
			l.log.Info("sealed", "segment", s.name, "bytes", s.size, "bytes_on_disk", s.disk.Load())
		}
	}
}

// seal turns an ended segment into its .gz and manifest (DESIGN section 3).
// Each step leaves a folder that load understands:
//
//	temporary .gz, fsync     the .jsonl holds; the temporary file is removed
//	manifest in place        the .jsonl holds; sealed again
//	.gz in place, dir fsync  the .gz matches its manifest and wins
//	.jsonl removed           sealed
func (l *Ledger) seal(s *segment) error {
	plain := filepath.Join(l.dir, s.name+suffixPlain)
	zipped := filepath.Join(l.dir, s.name+suffixSealed)
	blocks, err := compress(plain, zipped+suffixTemp)
	if err != nil {
		return fmt.Errorf("compressing: %w", err)
	}
	if err := writeFile(l.dir, s.name+suffixManifest, append(s.manifest.canonical(), '\n')); err != nil {
		return fmt.Errorf("writing the manifest: %w", err)
	}
	if err := os.Rename(zipped+suffixTemp, zipped); err != nil {
		return err
	}
	if err := syncDir(l.dir); err != nil {
		return err
	}
	s.once.Do(func() { s.members = blocks })
	s.measure(l.dir)
	s.sealed.Store(true)
	if err := os.Remove(plain); err != nil {
		return err
	}
	return syncDir(l.dir)
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

// compress writes the lines of plain as gzip members cut at line ends.
func compress(plain, zipped string) ([]block, error) {
	in, err := os.Open(plain)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.OpenFile(zipped, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	blocks, err := zipLines(bufio.NewReaderSize(in, 1<<20), out)
	if err == nil {
		err = out.Sync()
	}
	return blocks, errors.Join(err, out.Close())
}

func zipLines(in *bufio.Reader, out io.Writer) (blocks []block, err error) {
	var lines, member bytes.Buffer
	z, _ := gzip.NewWriterLevel(&member, gzip.DefaultCompression)
	off := int64(0)
	flush := func() error {
		first, err := firstID(lines.Bytes())
		if err != nil {
			return err
		}
		member.Reset()
		z.Reset(&member)
		if _, err := z.Write(lines.Bytes()); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		blocks = append(blocks, block{first, off, int64(member.Len()), int64(lines.Len())})
		off += int64(member.Len())
		lines.Reset()
		_, err = out.Write(member.Bytes())
		return err
	}
	for {
		chunk, err := in.ReadSlice('\n')
		lines.Write(chunk)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if lines.Len() >= memberSize {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if lines.Len() == 0 {
		return blocks, nil
	}
	return blocks, flush()
}
