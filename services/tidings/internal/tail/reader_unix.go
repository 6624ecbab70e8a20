//go:build unix

package tail

import (
	"os"

	"golang.org/x/sys/unix"
)

// nobodyReads reports whether f is a pipe, or the like, whose other end is closed.
func nobodyReads(f *os.File) bool {
	raw, err := f.SyscallConn()
	if err != nil {
		return false // closed, and a write will say so
	}
	gone := false
	_ = raw.Control(func(fd uintptr) { // an error: as above
		fds := []unix.PollFd{{Fd: int32(fd)}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&unix.POLLERR != 0
	})
	return gone
}
