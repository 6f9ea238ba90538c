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
// parts of it that were never written read as zeros, which no line holds. A
// zero byte or two is damage; so are zeros further from the end than a commit.
func soundEnd(f *os.File) (end, size int64, err error) {
	end, size, err = lastLineEnd(f)
	if err != nil {
		return 0, 0, err
	}
	from := max(0, size-maxTorn)
	tail := make([]byte, size-from)
	if _, err := f.ReadAt(tail, from); err != nil {
		return 0, 0, err
	}
	hole := bytes.Index(tail, make([]byte, sector))
	if hole < 0 {
		return end, size, nil
	}
	line := bytes.LastIndexByte(tail[:hole], '\n') + 1
	if line == 0 && from > 0 {
		return end, size, nil
	}
	return min(end, from+int64(line)), size, nil
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
