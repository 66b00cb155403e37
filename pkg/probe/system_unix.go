//go:build unix

package probe

import (
	"math"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// errnoName returns the name of an error number, as "ECONNREFUSED"; "" if it has none.
func errnoName(errno syscall.Errno) string { return unix.ErrnoName(errno) }

// portable returns errno as the tables of this package have it.
func portable(errno syscall.Errno) syscall.Errno { return errno }

// freeDescriptors returns how many file descriptors this process may open still.
func freeDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	open, _ := os.ReadDir("/dev/fd") // none if it can't be read: then the limit is found by running into it
	return int(limit.Cur) - len(open) - spareDescriptors
}

// The range of all error numbers.
const (
	firstErrno syscall.Errno = 0
	errnos     syscall.Errno = 1024
)
