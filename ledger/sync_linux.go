package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes a file's content durable, with the length but without the times.
func datasync(f *os.File) error {
	return uninterrupted(func() error { return unix.Fdatasync(int(f.Fd())) })
}

// allocate gives a file n bytes of the disk.
func allocate(f *os.File, n int64) error {
	err := uninterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, n) })
	if err == unix.EOPNOTSUPP || err == unix.ENOSYS {
		return fill(f, n)
	}
	return err
}

// roomFor tells whether a folder's disk has n bytes for this process.
func roomFor(dir string, n int64) bool {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return true // the attempt will tell
	}
	return int64(s.Bavail)*int64(s.Bsize) >= n
}

func uninterrupted(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
