//go:build !386 && !s390x

package direct_test

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"

	"greetd.example/pkg/service/internal/direct"
)

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	wrapped := direct.Listen(ln.(*net.TCPListener))
	t.Cleanup(func() { _ = wrapped.Close() })
	return wrapped
}

func dial(t *testing.T, ln net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// accepted returns a client and what ln has accepted for it.
func accepted(t *testing.T, ln net.Listener) (client, server net.Conn) {
	t.Helper()
	client = dial(t, ln)
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return client, server
}

// Connections do all that a net.Conn has to do: deadlines, concurrent use, and so on.
func TestConnectionsAreNetConns(t *testing.T) {
	connect := func() (client, server net.Conn, stop func(), err error) {
		ln := listen(t, "tcp", "127.0.0.1:0")
		client, err = net.Dial("tcp", ln.Addr().String())
		if err != nil {
			return nil, nil, nil, err
		}
		server, err = ln.Accept()
		return client, server, func() { _, _, _ = client.Close(), server.Close(), ln.Close() }, err
	}
	// nettest examines the first one more than the other.
	t.Run("client first", func(t *testing.T) { nettest.TestConn(t, connect) })
	t.Run("server first", func(t *testing.T) {
		nettest.TestConn(t, func() (server, client net.Conn, stop func(), err error) {
			client, server, stop, err = connect()
			return server, client, stop, err
		})
	})
}

func TestListenersCloseAndExpire(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	expiring := ln.(interface{ SetDeadline(time.Time) error })
	_ = expiring.SetDeadline(time.Now().Add(-time.Second))
	if _, err := ln.Accept(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Accept after its deadline = %v", err)
	}
	_ = expiring.SetDeadline(time.Time{})
	accepted(t, ln)

	ended := make(chan error)
	go func() {
		_, err := ln.Accept()
		ended <- err
	}()
	_ = ln.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close = %v", err)
	}
	if err := ln.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the second Close = %v", err)
	}
	raw, err := ln.(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(uintptr) { t.Error("a closed listener has a descriptor") })
	}
	if !errors.Is(err, net.ErrClosed) {
		t.Errorf("Control after Close = %v", err)
	}
	if c, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		_ = c.Close()
		t.Error("a closed listener takes clients")
	}
}

// The socket is shared with systemd: it must stay nonblocking for everybody.
func TestSocketsStayNonblocking(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	defer ln.Close()
	_, server := accepted(t, ln)
	for what, socket := range map[string]any{"listener": ln, "connection": server} {
		raw, err := socket.(syscall.Conn).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.Control(func(fd uintptr) {
			flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
			if flags&syscall.O_NONBLOCK == 0 {
				t.Errorf("the %s blocks", what)
			}
			flags, _, _ = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0)
			if flags&syscall.FD_CLOEXEC == 0 {
				t.Errorf("the %s is not closed on exec", what)
			}
		})
	}
}

func TestEndsAreThoseOfNet(t *testing.T) {
	for _, test := range []struct{ network, address, dial string }{
		{"tcp4", "127.0.0.1:0", "127.0.0.1"},
		{"tcp4", "0.0.0.0:0", "127.0.0.2"},
		{"tcp", ":0", "127.0.0.2"}, // IPv4 on a socket for both
		{"tcp", ":0", "::1"},
		{"tcp6", "[::1]:0", "::1"},
	} {
		t.Run(test.network+" "+test.address+" "+test.dial, func(t *testing.T) {
			ln := listen(t, test.network, test.address)
			to := netip.AddrPortFrom(netip.MustParseAddr(test.dial), netip.MustParseAddrPort(ln.Addr().String()).Port())
			client, err := net.Dial("tcp", to.String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			accepted, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			server := accepted.(*direct.Conn)
			for range 2 { // after Close, too
				remote, local := server.Ends(true)
				if remote.String() != client.LocalAddr().String() || local != to ||
					server.RemoteAddr().String() != remote.String() || server.LocalAddr().String() != local.String() {
					t.Errorf("%v to %v, want %v to %v", remote, local, client.LocalAddr(), to)
				}
				_ = server.Close()
			}
		})
	}
}

func TestDiscardAndWriteNowNeverWait(t *testing.T) {
	client, accepted := accepted(t, listen(t, "tcp", "127.0.0.1:0"))
	server := accepted.(*direct.Conn)
	_ = server.SetDeadline(time.Unix(1, 0)) // does not count
	waste := make([]byte, 4)
	if n, err := server.Discard(waste); n != 0 || !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("Discard of nothing = %d, %v", n, err)
	}
	if _, err := client.Write([]byte("12345")); err != nil {
		t.Fatal(err)
	}
	_ = client.(*net.TCPConn).CloseWrite()
	for _, want := range []int{4, 1, 0} {
		n, err := server.Discard(waste)
		for ; errors.Is(err, syscall.EAGAIN); n, err = server.Discard(waste) {
		}
		if n != want || err != nil {
			t.Errorf("Discard = %d, %v, want %d", n, err, want)
		}
	}

	var written int
	for {
		n, err := server.WriteNow(make([]byte, 1<<20))
		if err != nil {
			t.Fatal(err)
		}
		if written += n; n == 0 {
			break // it is full
		}
	}
	if err := server.CloseWrite(); err != nil {
		t.Error(err)
	}
	if got, err := io.Copy(io.Discard, client); err != nil || got != int64(written) {
		t.Errorf("%d bytes came, %v; want the %d that WriteNow has taken", got, err, written)
	}
}

// BeforeWait is called once, by the first read, and only if nothing is there yet.
func TestBeforeWait(t *testing.T) {
	_, silent := accepted(t, listen(t, "tcp", "127.0.0.1:0"))
	server, calls := silent.(*direct.Conn), 0
	server.BeforeWait(func() {
		calls++
		_ = server.SetReadDeadline(time.Unix(1, 0))
	})
	for range 2 {
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || calls != 1 {
			t.Errorf("%v after %d calls, want the deadline of the one call", err, calls)
		}
	}

	ln := listen(t, "tcp", "127.0.0.1:0")
	raw, _ := ln.(syscall.Conn).SyscallConn()
	_ = raw.Control(func(fd uintptr) { // the kernel hands over who has spoken
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_DEFER_ACCEPT, 10)
	})
	if _, err := dial(t, ln).Write([]byte("1")); err != nil {
		t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	server = c.(*direct.Conn)
	server.BeforeWait(func() { t.Error("called, though the first read has not to wait") })
	if _, err := server.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	_ = server.SetReadDeadline(time.Unix(1, 0))
	if _, err := server.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("second read: %v", err)
	}
}

func TestClosedConnectionsSaySo(t *testing.T) {
	_, accepted := accepted(t, listen(t, "tcp", "127.0.0.1:0"))
	server := accepted.(*direct.Conn)
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	b := make([]byte, 1)
	for what, use := range map[string]func() error{
		"Read":        func() error { _, err := server.Read(b); return err },
		"Write":       func() error { _, err := server.Write(b); return err },
		"WriteNow":    func() error { _, err := server.WriteNow(b); return err },
		"Discard":     func() error { _, err := server.Discard(b); return err },
		"Control":     func() error { return server.Control(func(int) { t.Error("a closed connection has a descriptor") }) },
		"CloseWrite":  server.CloseWrite,
		"SetLinger":   func() error { return server.SetLinger(0) },
		"SetDeadline": func() error { return server.SetDeadline(time.Time{}) },
		"SyscallConn": func() error { _, err := server.SyscallConn(); return err },
		"Close":       server.Close,
	} {
		if err := use(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s after Close = %v", what, err)
		}
	}
}

// A descriptor's number is used again as soon as it is closed. Whoever still calls the connection
// must never reach what has the number next.
func TestNobodyReachesTheNextWithTheSameNumber(t *testing.T) {
	ln := listen(t, "tcp", "127.0.0.1:0")
	for range 200 {
		_, accepted := accepted(t, ln)
		server := accepted.(*direct.Conn)
		start := make(chan struct{})
		var using sync.WaitGroup
		for _, use := range []func(b []byte){
			func(b []byte) { _, _ = server.WriteNow(b) },
			func(b []byte) { _, _ = server.Discard(b) },
			func([]byte) { _ = server.CloseWrite() },
			func([]byte) { _ = server.SetLinger(1) },
			func([]byte) { _, _ = server.Ends(true) },
			func(b []byte) { _, _ = server.Write(b) },
			func([]byte) { _ = server.Close() },
		} {
			using.Go(func() {
				<-start
				for range 50 {
					use([]byte("stray"))
				}
			})
		}
		close(start)
		_ = server.Close()
		next, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		for i, fd := range next { // what is sent to one comes out of the other, and nothing else
			if _, err := syscall.Write(fd, []byte{byte(i)}); err != nil {
				t.Errorf("somebody has closed the next: %v", err)
			}
		}
		using.Wait()
		for i, fd := range next {
			got := make([]byte, 16)
			if n, err := syscall.Read(fd, got); n != 1 || got[0] != byte(1-i) {
				t.Errorf("the next got %q, %v", got[:max(n, 0)], err)
			}
			_ = syscall.Close(fd)
		}
	}
}
