package ledger

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
)

const (
	reserveFile = "reserve"
	reserveSize = 16 << 20
	reserveRoom = 8 << 20 // that must be free beside it: else it would be given up at once
)

// A reserve is a file that is there to be given up: on a full disk its bytes
// let a retention pass chain its decision and write files anew, which then
// gives room. Until there is room for it again nobody should bring new events;
// the file is empty then, so that a start knows it too.
type reserve struct {
	path  string
	used  atomic.Bool   // it was given up and is not back
	given chan struct{} // capacity 1: it was given up just now
}

func newReserve(dir string) reserve {
	return reserve{path: filepath.Join(dir, reserveFile), given: make(chan struct{}, 1)}
}

// Full tells whether the disk is full: the reserve is in use. Appends should be
// refused; what is in the stream is projected as long as there are bytes left.
func (l *Ledger) Full() bool { return l.reserve.used.Load() }

// Filled receives each time the disk became full: a retention pass may give room.
func (l *Ledger) Filled() <-chan struct{} { return l.reserve.given }

// NoRoom gives the reserve up when err says that the disk is full, and tells
// whether that gave room.
func (l *Ledger) NoRoom(err error) bool {
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		return false
	}
	l.reserve.used.Store(true)
	if info, err := os.Stat(l.reserve.path); err != nil || info.Size() == 0 || os.Truncate(l.reserve.path, 0) != nil {
		return false
	}
	l.log.Warn("the disk is full, the reserve is given up", "bytes", reserveSize)
	wake(l.reserve.given)
	return true
}

// recallReserve notes at the start that the reserve was given up and is not back.
func (l *Ledger) recallReserve() {
	if info, err := os.Stat(l.reserve.path); err == nil && info.Size() == 0 {
		l.reserve.used.Store(true)
		l.log.Warn("the disk was full and the reserve is not back: nobody may append until there is room", "bytes", reserveSize+reserveRoom)
	}
}

// keepReserve makes the reserve where it is missing. On a disk that never had
// room for it the ledger works without. The sealer calls it.
func (l *Ledger) keepReserve() {
	info, err := os.Stat(l.reserve.path)
	if err == nil && info.Size() == reserveSize && !l.reserve.used.Load() {
		return
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		err = l.reserve.make()
	}
	if err != nil {
		l.log.Debug("no room for the reserve", "err", err)
		l.sealAgain()
		return
	}
	if l.reserve.used.Swap(false) {
		l.log.Info("there is room again, the reserve is back", "bytes", reserveSize)
	}
}

// fill writes n bytes that no file system can compress.
func fill(f *os.File, n int64) error {
	_, err := io.CopyN(io.NewOffsetWriter(f, 0), rand.NewChaCha8([32]byte{}), n)
	return err
}

// make allocates the file, with the room beside it as the proof that there is some.
func (r *reserve) make() error {
	if !roomFor(filepath.Dir(r.path), reserveSize+reserveRoom) {
		return syscall.ENOSPC
	}
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, reserveSize+reserveRoom)
	if err == nil {
		err = f.Truncate(reserveSize)
	}
	if err = errors.Join(err, f.Close()); err == nil {
		return nil
	}
	undo := os.Remove(r.path)
	if r.used.Load() {
		undo = os.WriteFile(r.path, nil, 0o600)
	}
	return errors.Join(fmt.Errorf("making the reserve: %w", err), undo)
}
