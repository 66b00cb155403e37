//go:build unix

package debian

import (
	"os"

	"golang.org/x/sys/unix"
)

// flock waits for the lock on f, which ends when f is closed.
func flock(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_EX) }
