//go:build !386 && !s390x

package direct

import (
	"errors"
	"os"
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
