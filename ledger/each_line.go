package ledger

import (
	"bufio"
	"errors"
	"io"
)

// eachLine calls f for each whole line (without newline) of a segment's file,
// with the offset of its start in the uncompressed content. A line that is longer
// than any is not kept, and given as nil.
func eachLine(path string, zip bool, f func(raw []byte, off int64) error) error {
	file, err := openFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	var r io.Reader = file
	if zip {
		r = newMemberReader(file, streamBuffer)
	}
	return readLines(r, f)
}

func readLines(r io.Reader, f func(raw []byte, off int64) error) error {
	in := bufio.NewReaderSize(r, 1<<20)
	var long []byte
	for off, n := int64(0), int64(0); ; n = 0 {
		chunk, err := in.ReadSlice('\n')
		for ; errors.Is(err, bufio.ErrBufferFull); chunk, err = in.ReadSlice('\n') {
			if n += int64(len(chunk)); n <= maxLine {
				long = append(long, chunk...)
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n += int64(len(chunk)); len(long) > 0 {
			chunk, long = append(long, chunk...), long[:0]
		}
		raw := chunk[:len(chunk)-1]
		if n > maxLine {
			raw = nil
		}
		if err := f(raw, off); err != nil {
			return err
		}
		off += n
	}
}
