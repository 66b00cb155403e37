//go:build amd64 || arm64

package stdout

import "golang.org/x/sys/unix"

// status is the result of F_GETFD on standard output: a negative error number if it was closed. It is 0 if the
// process did not begin with greetd_start, which sets it.
var status int64

func wasClosed() bool { return status < 0 }

// refuseWrites replaces standard output by a file that is open only for reading. It is not closed, since the next
// file or socket would get its number. The runtime has opened /dev/null before, so that this can be done, too.
func refuseWrites() {
	null, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = unix.Dup3(null, unix.Stdout, 0)
	_ = unix.Close(null)
}
