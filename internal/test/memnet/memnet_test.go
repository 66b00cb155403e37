package memnet_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"greetd.example/internal/test/memnet"
)

func TestConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		l := memnet.Listen("192.0.2.1:10000")
		dialed, err := l.Dial()
		if err != nil {
			return nil, nil, nil, err
		}
		accepted, err := l.Accept()
		return dialed, accepted, func() {
			_ = dialed.Close()
			_ = accepted.Close()
			_ = l.Close()
		}, err
	})
}

// A conn is what both kinds of connection have.
type conn interface {
	net.Conn
	CloseWrite() error
	SetLinger(seconds int) error
}

// pairs are how to connect, in memory and by the kernel's TCP.
var pairs = map[string]func(t *testing.T) (near, far conn){
	"memnet": func(t *testing.T) (near, far conn) {
		t.Helper()
		l := memnet.Listen("192.0.2.1:10000")
		t.Cleanup(func() { _ = l.Close() })
		dialed, err := l.Dial()
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return dialed, accepted.(conn)
	},
	"TCP": func(t *testing.T) (near, far conn) {
		t.Helper()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		dialed, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		return dialed.(conn), accepted.(conn)
	},
}

// read is what one Read gives.
func read(c net.Conn) string {
	b := make([]byte, 16)
	n, err := c.Read(b)
	return fmt.Sprintf("%q %s", b[:n], reason(err))
}

// reason names the error that callers test for.
func reason(err error) string {
	for _, known := range []error{
		io.EOF, net.ErrClosed, os.ErrDeadlineExceeded,
		syscall.EPIPE, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.ENOTCONN,
	} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprint(err)
}

func write(c net.Conn, text string) string {
	n, err := io.WriteString(c, text)
	return fmt.Sprint(n, " ", reason(err))
}

// TestBehavesAsTCP holds the same steps against both, and both against what they must be.
func TestBehavesAsTCP(t *testing.T) {
	past := time.Unix(1, 0)
	for name, test := range map[string]struct {
		steps func(near, far conn) []string
		want  []string
	}{
		"half-close ends one direction": {func(near, far conn) []string {
			return []string{write(near, "a"), reason(near.CloseWrite()), read(far), read(far), write(far, "b"), read(near), write(near, "c"), reason(near.CloseWrite())}
		}, []string{"1 <nil>", "<nil>", `"a" <nil>`, `"" EOF`, "1 <nil>", `"b" <nil>`, "0 broken pipe", "<nil>"}},
		"a passed deadline comes before data": {func(near, far conn) []string {
			said := write(far, "a")
			_ = near.SetReadDeadline(past)
			first := read(near)
			_ = near.SetReadDeadline(time.Time{})
			return []string{said, first, read(near)}
		}, []string{"1 <nil>", `"" i/o timeout`, `"a" <nil>`}},
		"a passed deadline comes before room": {func(near, far conn) []string {
			_ = near.SetWriteDeadline(past)
			first := write(near, "a")
			_ = near.SetWriteDeadline(time.Time{})
			return []string{first, write(near, "b"), read(far)}
		}, []string{"0 i/o timeout", "1 <nil>", `"b" <nil>`}},
		"nothing works after Close": {func(near, _ conn) []string {
			return []string{
				reason(near.Close()), read(near), write(near, "a"), reason(near.Close()), reason(near.CloseWrite()),
				reason(near.SetDeadline(past)), reason(near.SetReadDeadline(past)), reason(near.SetWriteDeadline(past)), reason(near.SetLinger(0)),
			}
		}, []string{
			"<nil>", `"" ` + net.ErrClosed.Error(), "0 " + net.ErrClosed.Error(), net.ErrClosed.Error(), net.ErrClosed.Error(),
			net.ErrClosed.Error(), net.ErrClosed.Error(), net.ErrClosed.Error(), net.ErrClosed.Error(),
		}},
		"Close with unread input resets": {func(near, far conn) []string {
			said := write(far, "a")
			waitForInput(near)
			return []string{said, reason(near.Close()), read(far)}
		}, []string{"1 <nil>", "<nil>", `"" connection reset by peer`}},
		"SetLinger(0) resets at Close, and not before": {func(near, far conn) []string {
			set := reason(near.SetLinger(0))
			return []string{set, write(near, "a"), read(far), reason(near.Close()), read(far)}
		}, []string{"<nil>", "1 <nil>", `"a" <nil>`, "<nil>", `"" connection reset by peer`}},
		"SetLinger(-1) takes it back": {func(near, far conn) []string {
			return []string{reason(near.SetLinger(0)), reason(near.SetLinger(-1)), reason(near.Close()), read(far)}
		}, []string{"<nil>", "<nil>", "<nil>", `"" EOF`}},
	} {
		for kind, pair := range pairs {
			t.Run(name+"/"+kind, func(t *testing.T) {
				near, far := pair(t)
				defer far.Close()
				defer near.Close()
				if got := test.steps(near, far); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", test.want) {
					t.Errorf("got  %q\nwant %q", got, test.want)
				}
			})
		}
	}
}

// waitForInput waits until the kernel has what the other end has written.
func waitForInput(c conn) {
	if s, ok := c.(syscall.Conn); ok {
		if raw, err := s.SyscallConn(); err == nil {
			_ = raw.Read(func(fd uintptr) bool {
				n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
				return n > 0 || err != syscall.EAGAIN
			})
		}
	}
}

// TestListenerBehavesAsTCP holds a closed listener against the kernel's.
func TestListenerBehavesAsTCP(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mem := memnet.Listen("192.0.2.1:10000")
	for kind, test := range map[string]struct {
		listener net.Listener
		dial     func() (net.Conn, error)
	}{
		"memnet": {mem, func() (net.Conn, error) { return mem.Dial() }},
		"TCP":    {tcp, func() (net.Conn, error) { return net.Dial("tcp", tcp.Addr().String()) }},
	} {
		waiting, err := test.dial()
		if err != nil {
			t.Fatal(err)
		}
		closed := reason(test.listener.Close())
		_, accepted := test.listener.Accept()
		_, refused := test.dial()
		got := []string{closed, read(waiting), reason(test.listener.Close()), reason(accepted), reason(refused)}
		want := []string{"<nil>", `"" connection reset by peer`, net.ErrClosed.Error(), net.ErrClosed.Error(), "connection refused"}
		if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
			t.Errorf("%s:\ngot  %q\nwant %q", kind, got, want)
		}
	}
}
