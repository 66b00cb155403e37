package e2e

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A network is a network namespace, by the path of its file.
type network string

// newNetwork makes a network with nothing in it but a loopback interface that is up. It
// goes away when the test has ended and nothing runs in it any more.
func newNetwork(t *testing.T) network {
	t.Helper()
	made := make(chan error)
	var file *os.File
	go func() {
		runtime.LockOSThread() // and never unlocked, as in inside
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			file, err = os.Open("/proc/thread-self/ns/net")
		}
		made <- err
	}()
	if err := <-made; err != nil {
		t.Fatal("make a network: ", err)
	}
	t.Cleanup(func() { _ = file.Close() })
	n := network(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()))
	n.run(t, "ip", "link", "set", "lo", "up")
	return n
}

// inside calls do on a thread that is in the network: what it dials or starts is in there.
func (n network) inside(do func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		done <- func() error {
			file, err := os.Open(string(n))
			if err != nil {
				return err
			}
			defer file.Close()
			if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the network: %w", err)
			}
			return do()
		}()
	}()
	return <-done
}

// run runs a command that must succeed in the network.
func (n network) run(t *testing.T, name string, args ...string) {
	t.Helper()
	err := n.inside(func() error {
		_, err := command(name, args...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// dial connects from an address in the network.
func (n network) dial(from, address string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: waitLimit}
	var c net.Conn
	err := n.inside(func() (err error) {
		c, err = dialer.Dial("tcp", address)
		return err
	})
	return c, err
}
