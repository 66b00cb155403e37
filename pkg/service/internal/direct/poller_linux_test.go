//go:build !386 && !s390x

package direct

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"
)

// A connection that the kernel does not wait for costs no descriptor each time.
func TestTheReasonCostsNoDescriptor(t *testing.T) {
	regular, err := os.Open(os.Args[0]) // epoll_ctl(2) refuses files
	if err != nil {
		t.Fatal(err)
	}
	defer regular.Close()
	before := openDescriptors(t)
	for range 100 {
		if err := whyNotPolled(int(regular.Fd())); !errors.Is(err, errNotPolled) {
			t.Fatal(err)
		}
	}
	if after := openDescriptors(t); after > before+10 { // the runtime may open its own
		t.Errorf("%d descriptors more", after-before)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// A signal between does not end a transfer.
func TestTransfersSurviveSignals(t *testing.T) {
	errnos := []syscall.Errno{syscall.EINTR, syscall.EINTR, 0}
	n, errno := (&Conn{fd: -1}).now(func(int) (int, syscall.Errno) {
		errno := errnos[0]
		errnos = slices.Delete(errnos, 0, 1)
		return 7, errno
	})
	if n != 7 || errno != 0 {
		t.Errorf("%d bytes and %v, want 7 and no error", n, errno)
	}
}
