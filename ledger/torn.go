package ledger

import (
	"bytes"
	"os"
)

const (
	sector  = 512                    // bytes that a disk writes or does not write
	maxTorn = maxPending + (4 << 20) // bytes of one commit, at most
)

// soundEnd finds where the lines of the active segment end that a power loss
// cannot have touched, and the file's size. Behind the last fsync a disk may
// have written any part of one commit: the file then ends within a line, or
// parts of it that were never written read as zeros, which no line holds: whole
// sectors, and the rest of the sector that the commit begins in. Other zeros
// are damage; so are those further from the end than a commit.
func soundEnd(f *os.File) (end, size int64, err error) {
	end, size, err = lastLineEnd(f)
	if err != nil {
		return 0, 0, err
	}
	from := max(0, size-maxTorn)
	if zeros, err := hasZeros(f, from, size); err != nil || !zeros {
		return end, size, err
	}
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil {
		return 0, 0, err
	}
	line := firstHole(tail, from)
	if line < 0 || line == 0 && from > 0 {
		return end, size, nil
	}
	return min(end, from+int64(line)), size, nil
}

// hasZeros tells whether there is a zero byte between two offsets of a file.
func hasZeros(f *os.File, from, to int64) (bool, error) {
	buf := make([]byte, 64<<10)
	for ; from < to; from += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), to-from)]
		if _, err := f.ReadAt(buf, from); err != nil || bytes.IndexByte(buf, 0) >= 0 {
			return err == nil, err
		}
	}
	return false, nil
}

// firstHole finds where the line begins that has the first hole of a tail, and
// which is at from in its file; -1: there is none.
func firstHole(tail []byte, from int64) int {
	line := -1
	if hole := bytes.Index(tail, make([]byte, sector)); hole >= 0 {
		line = bytes.LastIndexByte(tail[:hole], '\n') + 1
		tail = tail[:line]
	}
	for at := 0; ; {
		n := bytes.Index(tail[at:], []byte("\n\x00"))
		if n < 0 {
			return line
		}
		at += n + 1
		rest := tail[at:]
		rest = rest[:min(len(rest), sector-int((from+int64(at))%sector))]
		if len(bytes.Trim(rest, "\x00")) == 0 {
			return at
		}
	}
}

// lastLineEnd finds where the last whole line ends.
func lastLineEnd(f *os.File) (end, size int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, 0, err
	}
	size = info.Size()
	buf := make([]byte, 64<<10)
	for end = size; end > 0; {
		n := min(end, int64(len(buf)))
		if _, err := f.ReadAt(buf[:n], end-n); err != nil {
			return 0, 0, err
		}
		if i := bytes.LastIndexByte(buf[:n], '\n'); i >= 0 {
			return end - n + int64(i) + 1, size, nil
		}
		end -= n
	}
	return 0, size, nil
}
