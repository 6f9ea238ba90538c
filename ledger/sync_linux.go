package ledger

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes a file's content durable, with the length but without the times.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
