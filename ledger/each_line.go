package ledger

import (
	"bufio"
	"errors"
	"io"
)

// eachLine calls f for each whole line (without newline) of a segment's file,
// with the offset of its start in the uncompressed content.
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
	for off := int64(0); ; {
		chunk, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long, chunk...)
			continue
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(long) > 0 {
			chunk, long = append(long, chunk...), long[:0]
		}
		if err := f(chunk[:len(chunk)-1], off); err != nil {
			return err
		}
		off += int64(len(chunk))
	}
}
