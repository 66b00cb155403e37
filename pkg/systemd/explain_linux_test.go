package systemd

import (
	"errors"
	"net"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What a test can't make the kernel say.
func TestExplain(t *testing.T) {
	for _, tc := range []struct {
		errno   syscall.Errno
		address string
		want    string
	}{
		{unix.EACCES, ":80", "permission denied: port 80 is privileged: "},
		{unix.EACCES, ":8080", "permission denied: a policy forbids it: see SocketBindDeny="},
		{unix.EACCES, ":1023", "permission denied: port 1023 is privileged: "},
		{unix.EACCES, ":1024", "permission denied: a policy forbids it: see SocketBindDeny="},
		{unix.EPERM, ":8080", "operation not permitted: a policy forbids it: see SocketBindDeny="},
		{unix.EAFNOSUPPORT, "[::]:80", "address family not supported by protocol: IPv6 is off in this kernel, or RestrictAddressFamilies="},
		{unix.EMFILE, ":80", "too many open files: the process is out of descriptors: raise LimitNOFILE="},
		{unix.ENFILE, "unix:/x", "too many open files in system: the machine is out of descriptors: raise fs.file-max"},
		{unix.ENOBUFS, ":80", "no buffer space available"},
	} {
		err := explain(tc.errno, tc.address)
		if !strings.HasPrefix(err.Error(), tc.want) || !errors.Is(err, tc.errno) {
			t.Errorf("%s at %s: %v", tc.errno, tc.address, err)
		}
	}
	unknown := &net.DNSError{Err: "no such host", Name: "nobody.invalid"}
	err := explain(&net.OpError{Op: "listen", Err: unknown}, "nobody.invalid:80")
	if want := "lookup nobody.invalid: no such host: correct the name nobody.invalid, or write its address"; err.Error() != want || !errors.Is(err, unknown) {
		t.Errorf("a name: %v", err)
	}
	err = explain(&groupError{"/run/s", "www-data", unix.EPERM}, "unix:/run/s")
	if want := "give /run/s to group www-data: operation not permitted: set SupplementaryGroups=www-data"; !strings.HasPrefix(err.Error(), want) || !errors.Is(err, unix.EPERM) {
		t.Errorf("a group: %v", err)
	}
}
