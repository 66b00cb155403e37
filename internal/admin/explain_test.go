package admin

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
)

// What root, who may do everything, can't make the kernel say.
func TestListenExplainsWhatTheKernelSays(t *testing.T) {
	file := func(err error) error { return &fs.PathError{Op: "open", Path: "/run/g/s.lock", Err: err} }
	connect := func(err error) error { return os.NewSyscallError("connect", err) }
	for _, test := range []struct {
		err, explained error
		want           string
	}{
		{syscall.EACCES, explainReserve(connect(syscall.EACCES), "/run/g/s"), "permission denied: the socket there is another's; choose another path in admin.address"},
		{syscall.EACCES, explainReserve(file(syscall.EACCES), "/run/g/s"), "permission denied: the service's user must own the directory /run/g"},
		{syscall.EROFS, explainReserve(file(syscall.EROFS), "/run/g/s"), "read-only file system: choose another path in admin.address"},
		{syscall.EACCES, explainFile(connect(syscall.EACCES), "/run/g/s"), "permission denied: the service's user must own the directory /run/g"},
	} {
		if got := test.explained; got == nil || got.Error() != test.want || !errors.Is(got, test.err) {
			t.Errorf("%v: got %v, want %s", test.err, got, test.want)
		}
	}
}
