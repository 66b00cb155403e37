//go:build linux && !386 && !s390x

package direct

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"
)

// checkEach is the number of connections that are accepted without a wait before Accept checks that the
// socket is still nonblocking. It also checks this after each wait. If another process makes the socket
// blocking between a check and the next accept, that accept waits for the next client, and the check
// follows. SO_RCVTIMEO would limit this wait, but not on Multipath TCP sockets.
const checkEach = 64

// A listener is a listening TCP socket.
type listener struct {
	accepts atomic.Uint32 // calls of Accept

	file  *os.File
	fault error // why Accept cannot wait on file; nil if it can
	raw   syscall.RawConn
	addr  net.Addr
	local netip.AddrPort // of each connection; invalid if the socket is bound to all addresses
}

// Listen returns a listener on ln's socket, whose connections are of type [*Conn], and closes ln. If the
// socket cannot be duplicated, it returns ln itself. If the kernel has no room to wait for clients on it
// (ENOSPC or ENOMEM of epoll_ctl(2)), SetDeadline and Accept of the returned listener return an error.
func Listen(ln *net.TCPListener) net.Listener {
	file, err := duplicate(ln)
	if err != nil {
		return ln
	}
	raw, _ := file.SyscallConn() // fails only for nil
	l := &listener{file: file, raw: raw, addr: ln.Addr()}
	if tcp, ok := l.addr.(*net.TCPAddr); ok {
		if local := tcp.AddrPort(); !local.Addr().Unmap().IsUnspecified() {
			l.local = netip.AddrPortFrom(local.Addr().Unmap(), local.Port())
		}
	}
	if file.SetReadDeadline(time.Time{}) != nil {
		_ = raw.Control(func(fd uintptr) { l.fault = whyNotPolled(int(fd)) })
	}
	_ = ln.Close()
	return l
}

// duplicate returns a duplicate of ln's descriptor as a file. File() would make the socket blocking for
// all processes that share it (golang/go#29277).
func duplicate(ln *net.TCPListener) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	var copied uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		// Connections inherit TCP_NODELAY. TLS needs it: without it, a second small write would
		// wait for the client's delayed acknowledgement.
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
		copied, _, errno = syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_DUPFD_CLOEXEC, 0)
	})
	if err != nil {
		return nil, err
	}
	if errno != 0 {
		return nil, os.NewSyscallError("fcntl", errno)
	}
	return os.NewFile(copied, "listener"), nil
}

func (l *listener) Accept() (net.Conn, error) {
	c := &Conn{}
	waited := l.accepts.Add(1)%checkEach == 0
	err := l.raw.Read(func(fd uintptr) bool {
		if waited {
			stayNonblocking(fd)
		}
		waited = true // if it is called again
		return c.accept(fd)
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
	case err != nil:
		err = cmp.Or(l.fault, net.ErrClosed)
	case c.fd < 0:
		err = os.NewSyscallError("accept4", syscall.Errno(-c.fd))
	default:
		c.local = l.local
		return c, nil
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
}

func (l *listener) Close() error {
	if l.file.Close() != nil {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }

// SetDeadline sets the deadline of Accept, like SetDeadline of net.TCPListener.
func (l *listener) SetDeadline(t time.Time) error { return cmp.Or(l.fault, l.file.SetReadDeadline(t)) }

func (l *listener) SyscallConn() (syscall.RawConn, error) { return rawListener{l.raw}, nil }

// A rawListener returns net.ErrClosed after Close, like the RawConn of net.TCPListener.
type rawListener struct{ syscall.RawConn }

func (r rawListener) Control(f func(fd uintptr)) error {
	if r.RawConn.Control(f) != nil {
		return net.ErrClosed
	}
	return nil
}
