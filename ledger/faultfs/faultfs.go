//go:build linux

// Package faultfs is a file system in memory (FUSE) for tests of power loss
// and of failing calls. Nothing of the program uses it.
//
// Every file and folder has two images: the volatile one, which calls change
// and read, and the durable one. fsync of a file makes its bytes durable, fsync
// of a folder the names in it. When the power is lost the volatile image is
// forgotten:
//
//	lost   nothing survives that was not fsynced
//	torn   of the writes and names that were not fsynced any may survive; a
//	       write whole, cut short, or as zeros
//	kept   all survives, as after kill -9
//
// Names follow POSIX: without an fsync of its folder a new name is no more.
// With Journal they follow ext4, where any fsync commits all names so far.
// A failed fsync marks the bytes clean, as Linux does: a repeated one reports
// success and makes nothing durable.
package faultfs

import (
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// A Loss says what becomes of what was not fsynced when the power is lost.
type Loss int

const (
	Lost Loss = iota
	Torn
	Kept
)

// A Call is one call that reaches the file system. N counts them from 1 since
// SetFault.
type Call struct {
	N    int64
	Op   string // open, read, create, mkdir, write, truncate, allocate, fsync, fsyncdir, rename, unlink, rmdir
	Path string
	Size int // bytes of a read or write
}

// An Outcome is what a fault makes of a call; the zero Outcome lets it pass.
type Outcome struct {
	Err   syscall.Errno
	Short int // a write takes only so many bytes
}

// An FS is one file system. Journal and Limit are set before Mount.
type FS struct {
	Journal bool  // names as ext4 has them
	Limit   int64 // bytes of file contents; 0: none

	dir string
	srv *fuse.Server

	mu     sync.Mutex
	root   *inode
	lastID uint64
	used   int64
	calls  int64
	fault  func(Call) Outcome
	off    bool // the power is lost: nothing passes, nothing changes
	rng    *rand.Rand
}

// New gives an empty file system; seed decides what Torn keeps.
func New(seed uint64) *FS {
	f := &FS{lastID: 1, rng: rand.New(rand.NewPCG(seed, 1))}
	f.root = newInode(1, syscall.S_IFDIR|0o755)
	return f
}

// Unavailable says why nothing can be mounted here, or "".
func Unavailable() string {
	if os.Geteuid() != 0 {
		return "mounting FUSE without fusermount needs root"
	}
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return err.Error()
	}
	f.Close()
	return ""
}

// Mount mounts the file system on a folder.
func (f *FS) Mount(dir string) error {
	none := time.Duration(0)
	opts := &fs.Options{EntryTimeout: &none, AttrTimeout: &none, MountOptions: fuse.MountOptions{
		Logger: log.New(io.Discard, "", 0), DirectMount: true, DirectMountStrict: true, FsName: "faultfs", Name: "faultfs", MaxWrite: 1 << 20}}
	srv, err := fs.Mount(dir, &node{f: f, i: f.root}, opts)
	if err != nil {
		return err
	}
	f.dir, f.srv = dir, srv
	return nil
}

// Unmount ends the file system; files that are still open fail.
func (f *FS) Unmount() error {
	if err := syscall.Unmount(f.dir, syscall.MNT_FORCE|syscall.MNT_DETACH); err != nil {
		return err
	}
	f.srv.Wait()
	return nil
}

// SetFault asks fault before every call from now on; nil: none fails.
func (f *FS) SetFault(fault func(Call) Outcome) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.fault = 0, fault
}

// Calls is how many calls there were since SetFault.
func (f *FS) Calls() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// SetLimit changes Limit while mounted.
func (f *FS) SetLimit(n int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Limit = n
}

// PowerOff loses the power at this moment: every call fails from now on, and
// what is volatile can no longer become durable.
func (f *FS) PowerOff() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.off = true
}

// PowerOn forgets what was volatile and mounts again. What used the files must
// have ended. It gives how many writes and names were not fsynced.
func (f *FS) PowerOn(l Loss) (writes, names int, err error) {
	if err := f.Unmount(); err != nil {
		return 0, 0, err
	}
	f.mu.Lock()
	c := crash{loss: l, rng: f.rng, seen: map[*inode]bool{}}
	c.forget(f.root)
	f.used = c.bytes
	f.off, f.fault = false, nil
	f.mu.Unlock()
	return c.writes, c.names, f.Mount(f.dir)
}

// ErrNoByte: FlipBit names a byte that is not there.
var ErrNoByte = errors.New("faultfs: no such byte")

// FlipBit damages a file of the root folder on the disk itself, in both images.
func (f *FS) FlipBit(name string, off int64, bit uint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.root.kids[name]
	if i == nil || off >= int64(len(i.vol)) {
		return ErrNoByte
	}
	i.vol[off] ^= 1 << bit
	if off < int64(len(i.dur)) {
		i.dur[off] ^= 1 << bit
	}
	return nil
}

// ask counts a call and gives its outcome.
func (f *FS) ask(op, path string, size int) Outcome {
	f.mu.Lock()
	if f.off {
		f.mu.Unlock()
		return Outcome{Err: syscall.EIO}
	}
	f.calls++
	c, fault := Call{f.calls, op, path, size}, f.fault
	f.mu.Unlock()
	if fault == nil {
		return Outcome{}
	}
	return fault(c) // unlocked: it may lose the power
}

// grow takes n more bytes (fewer when negative) or says that there is no room.
func (f *FS) grow(n int64) syscall.Errno {
	if n > 0 && f.Limit > 0 && f.used+n > f.Limit {
		return syscall.ENOSPC
	}
	f.used += n
	return 0
}
