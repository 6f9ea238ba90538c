package ledger

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
)

// noTime is the time of a member that holds no event, until settleMembers.
const noTime = micros(math.MaxInt64)

// scanMembers finds the members of a sealed segment that has no index.
func scanMembers(path string, most int64) (blocks []block, err error) {
	err = inflateAll(path, most, func(b block, _ []byte) error {
		blocks = append(blocks, b)
		return nil
	})
	settleMembers(blocks)
	return blocks, err
}

// inflateAll calls f for each member of a .gz, in order. What is damaged is one
// block up to where the next member begins; of it f gets what could be read, and
// so of one that takes more than most bytes, packed or not.
func inflateAll(path string, most int64, f func(b block, lines []byte) error) error {
	file, err := openFile(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	var zipped []byte
	var lines bytes.Buffer
	var last ID
	for off := int64(0); off < info.Size(); {
		n, err := memberAt(file, off, info.Size(), most)
		if err != nil {
			return err
		}
		zipped = grown(zipped, min(n, most))
		if err := readAt(file, zipped, off); err != nil {
			return err
		}
		lines.Reset()
		err = readMost(&lines, newMemberReader(bytes.NewReader(zipped), len(zipped)), most)
		b := memberOf(lines.Bytes(), last)
		last = max(last, lastID(lines.Bytes()))
		b.off, b.n, b.damaged = off, n, err != nil || n > most
		if err := f(b, lines.Bytes()); err != nil {
			return err
		}
		off += n
	}
	return nil
}

// readMost reads what is in r; an error that Is errMember when it is more than most.
func readMost(lines *bytes.Buffer, r io.Reader, most int64) error {
	n, err := lines.ReadFrom(io.LimitReader(r, most+1))
	if n > most {
		return fmt.Errorf("%w: it holds more than its segment can", errMember)
	}
	return err
}

// memberAt is how long the member at off is. Where there is none it is how far
// it is to the next, or to the end where that is further than most.
func memberAt(file *os.File, off, size, most int64) (n int64, err error) {
	head := make([]byte, min(int64(memberHeader), size-off))
	if err := readAt(file, head, off); err != nil {
		return 0, err
	}
	if n, err := memberLen(head); err == nil && int64(n) <= size-off {
		return int64(n), nil
	}
	if size-off > most {
		return size - off, nil
	}
	rest := make([]byte, size-off)
	if err := readAt(file, rest, off); err != nil {
		return 0, err
	}
	for at := 1; ; at++ {
		i := bytes.Index(rest[at:], []byte(memberMagic))
		if i < 0 {
			return size - off, nil
		}
		if at += i; soundAt(rest[at:]) {
			return int64(at), nil
		}
	}
}

// soundAt tells whether b begins with a sound member.
func soundAt(b []byte) bool {
	n, err := memberLen(b)
	return err == nil && n <= len(b) && checkMember(b[:n]) == nil
}

// memberOf describes a member by its lines; where it is stays to be set. One
// without a sound line begins behind the last id before it.
func memberOf(lines []byte, last ID) block {
	b := block{first: last + 1, rawSize: int64(len(lines)), at: noTime}
	begun := false
	eachOf(lines, 0, func(raw []byte) bool {
		l, err := parseLine(raw)
		if err != nil {
			return true // damage is kept as it is
		}
		if !begun {
			b.first, begun = l.first(), true
		}
		if l.gap == nil {
			b.at = l.time
		}
		return l.gap != nil
	})
	return b
}

// lastID is the id of the last of some lines; 0 when it cannot be told.
func lastID(lines []byte) ID {
	lines = bytes.TrimSuffix(lines, []byte{'\n'})
	id, _ := idOf(lines[bytes.LastIndexByte(lines, '\n')+1:])
	return id
}

// settleMembers gives members that hold no event the time of the next.
func settleMembers(members []block) {
	at := noTime
	for i := range slices.Backward(members) {
		if members[i].at == noTime {
			members[i].at = at
		}
		at = members[i].at
	}
}
