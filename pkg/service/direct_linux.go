//go:build linux && !386 && !s390x

package service

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// The fast path of a visit. Each of its tricks has a reason:
//
//   - Accept waits in the runtime's poller, but on a descriptor of our own: net's accept
//     registers each connection there, asks for its address and sets options, five system
//     calls before the first byte.
//   - A connection enters the poller when something has to wait. A greeting fits into an
//     empty socket, so nothing does.
//   - The greeting is sent with MSG_MORE, so it waits for the FIN of the half-close, and
//     both travel in one segment: the client is woken once and not twice.
//   - System calls that can't block are raw: the scheduler needs no chance to run others
//     meanwhile. Where it has one, it takes the processor away from calls that the kernel
//     interrupts, and a thread watches for that every 20 us, a tenth of all the time.
//
// The other half is the reaper's: a client that has hung up by its first look is never
// registered anywhere (see reaper.sweep).

// A directListener is a listening TCP socket.
type directListener struct {
	file  *os.File
	raw   syscall.RawConn
	addr  net.Addr
	local netip.AddrPort // of each connection; invalid where the socket is bound to all addresses
}

// direct makes a directListener of ln, or returns ln where that can't be done.
func direct(ln *net.TCPListener) net.Listener {
	file, err := duplicate(ln)
	if err != nil {
		return ln
	}
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return ln
	}
	l := &directListener{file: file, raw: raw, addr: ln.Addr()}
	if local := addrPort(l.addr); !local.Addr().IsUnspecified() {
		l.local = local
	}
	_ = ln.Close()
	return l
}

// duplicate returns ln's socket as a file of its own. File() would make it blocking, for
// everybody who shares it (golang/go#29277).
func duplicate(ln *net.TCPListener) (*os.File, error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	var copied uintptr
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		// Connections inherit it, and TLS needs it: a second small write would wait for
		// the client's delayed acknowledgement.
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

// Accept implements net.Listener.
func (l *directListener) Accept() (net.Conn, error) {
	c := &conn{}
	err := l.raw.Read(c.accept)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
	case err != nil:
		err = net.ErrClosed
	case c.fd < 0:
		err = os.NewSyscallError("accept4", syscall.Errno(-c.fd))
	default:
		c.local = l.local
		return c, nil
	}
	return nil, &net.OpError{Op: "accept", Net: "tcp", Addr: l.addr, Err: err}
}

// Close implements net.Listener.
func (l *directListener) Close() error {
	if l.file.Close() != nil {
		return &net.OpError{Op: "close", Net: "tcp", Addr: l.addr, Err: net.ErrClosed}
	}
	return nil
}

// Addr implements net.Listener.
func (l *directListener) Addr() net.Addr { return l.addr }

// SetDeadline bounds Accept, as that of net.TCPListener does.
func (l *directListener) SetDeadline(t time.Time) error { return l.file.SetReadDeadline(t) }

// SyscallConn implements syscall.Conn.
func (l *directListener) SyscallConn() (syscall.RawConn, error) { return rawListener{l.raw}, nil }

// A rawListener says net.ErrClosed, as that of net.TCPListener does.
type rawListener struct{ syscall.RawConn }

// Control implements syscall.RawConn.
func (r rawListener) Control(f func(fd uintptr)) error {
	if r.RawConn.Control(f) != nil {
		return net.ErrClosed
	}
	return nil
}

// A conn is a TCP connection that enters the runtime's poller when something has to wait.
type conn struct {
	remote netip.AddrPort

	mu      sync.Mutex     // held during direct system calls, so that fd is not closed meanwhile
	local   netip.AddrPort // invalid until somebody asks
	fd      int            // negative when it is closed
	file    *os.File       // owns fd; nil until something had to wait
	readBy  time.Time
	writeBy time.Time
}

// accept takes a connection from the listening socket at fd, and reports false if none is
// there. An error becomes a negative c.fd.
func (c *conn) accept(fd uintptr) bool {
	stayNonblocking(fd)
	var from syscall.RawSockaddrAny
	size := uint32(unsafe.Sizeof(from))
	n, _, errno := syscall.RawSyscall6(syscall.SYS_ACCEPT4, fd,
		uintptr(unsafe.Pointer(&from)), uintptr(unsafe.Pointer(&size)), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		c.fd = -int(errno)
		return errno != syscall.EAGAIN
	}
	c.fd, c.remote = int(n), endpoint(&from)
	return true
}

// stayNonblocking undoes what another process that shares the socket may have done: a raw
// call that waits holds up everybody here.
func stayNonblocking(fd uintptr) {
	flags, _, errno := syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_GETFL, 0)
	if errno == 0 && flags&syscall.O_NONBLOCK == 0 {
		_, _, _ = syscall.RawSyscall(syscall.SYS_FCNTL, fd, syscall.F_SETFL, flags|syscall.O_NONBLOCK)
	}
}

// endpoint is the zero value for what is no IP address.
func endpoint(sa *syscall.RawSockaddrAny) netip.AddrPort {
	switch sa.Addr.Family {
	case syscall.AF_INET:
		v4 := (*syscall.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), fromNetwork(v4.Port))
	case syscall.AF_INET6:
		v6 := (*syscall.RawSockaddrInet6)(unsafe.Pointer(sa))
		ip := netip.AddrFrom16(v6.Addr).Unmap()
		if v6.Scope_id != 0 && ip.Is6() {
			ip = ip.WithZone(zone(v6.Scope_id))
		}
		return netip.AddrPortFrom(ip, fromNetwork(v6.Port))
	}
	return netip.AddrPort{}
}

// fromNetwork is a number that the kernel wrote in network byte order.
func fromNetwork(n uint16) uint16 {
	b := (*[2]byte)(unsafe.Pointer(&n))
	return uint16(b[0])<<8 | uint16(b[1])
}

// zone is what netip calls the scope of an address: the name of its interface.
func zone(scope uint32) string {
	if i, err := net.InterfaceByIndex(int(scope)); err == nil {
		return i.Name
	}
	return strconv.FormatUint(uint64(scope), 10)
}

func (c *conn) ends() (remote, local netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.local.IsValid() && c.fd >= 0 {
		var at syscall.RawSockaddrAny
		size := uint32(unsafe.Sizeof(at))
		_, _, errno := syscall.RawSyscall(syscall.SYS_GETSOCKNAME, uintptr(c.fd),
			uintptr(unsafe.Pointer(&at)), uintptr(unsafe.Pointer(&size)))
		if errno == 0 {
			c.local = endpoint(&at)
		}
	}
	return c.remote, c.local
}

// RemoteAddr implements net.Conn.
func (c *conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// LocalAddr implements net.Conn.
func (c *conn) LocalAddr() net.Addr {
	_, local := c.ends()
	return net.TCPAddrFromAddrPort(local)
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	n, errno := c.now(&c.readBy, func(fd int) (int, syscall.Errno) { return receive(fd, b) })
	switch {
	case errno == 0 && n == 0 && len(b) > 0:
		return 0, io.EOF
	case errno == 0:
		return n, nil
	case errno != syscall.EAGAIN:
		return 0, c.failed("read", errno)
	}
	file, err := c.pollable()
	if err == nil {
		n, err = file.Read(b)
	}
	return n, c.failed("read", err)
}

// Write implements net.Conn.
func (c *conn) Write(b []byte) (int, error) {
	n, errno := c.now(&c.writeBy, func(fd int) (int, syscall.Errno) { return send(fd, b, 0) })
	switch {
	case errno == 0 && n == len(b):
		return n, nil
	case errno != 0 && errno != syscall.EAGAIN:
		return 0, c.failed("write", errno)
	}
	file, err := c.pollable()
	if err != nil {
		return n, c.failed("write", err)
	}
	more, err := file.Write(b[n:])
	return n + more, c.failed("write", err)
}

func (c *conn) writeQuick(b []byte) (int, error) {
	n, errno := c.now(nil, func(fd int) (int, syscall.Errno) { return send(fd, b, msgMore) })
	if errno != 0 && errno != syscall.EAGAIN {
		return 0, c.failed("write", errno)
	}
	return n, nil
}

// now transfers bytes if that goes without waiting. It says EAGAIN where it does not, and,
// unless by is nil, where the poller is to do it: it has taken c over, or by has passed.
func (c *conn) now(by *time.Time, transfer func(fd int) (int, syscall.Errno)) (int, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd < 0:
		return 0, syscall.EBADF
	case by != nil && (c.file != nil || !by.IsZero() && !time.Now().Before(*by)):
		return 0, syscall.EAGAIN
	}
	for {
		n, errno := transfer(c.fd)
		switch errno {
		case 0:
			return n, 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

func receive(fd int, b []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	return int(n), errno
}

const msgMore = 0x8000 // MSG_MORE of sendto(2)

func send(fd int, b []byte, flags uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
		flags|syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

// pollable is c in the runtime's poller.
func (c *conn) pollable() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil, net.ErrClosed
	}
	if c.file == nil {
		c.file = os.NewFile(uintptr(c.fd), "connection")
		_ = c.setFileDeadlines()
	}
	return c.file, nil
}

// setFileDeadlines passes on the deadlines: both at once take one timer. c.mu is held.
func (c *conn) setFileDeadlines() error {
	if c.readBy.Equal(c.writeBy) {
		return c.file.SetDeadline(c.readBy)
	}
	return errors.Join(c.file.SetReadDeadline(c.readBy), c.file.SetWriteDeadline(c.writeBy))
}

// failed makes of err what net would say.
func (c *conn) failed(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var errno syscall.Errno
	var path *fs.PathError
	switch {
	case errors.Is(err, os.ErrClosed), errors.Is(err, syscall.EBADF):
		err = net.ErrClosed
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	case errors.As(err, &path):
		err = path.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd < 0:
		return net.ErrClosed
	case c.file != nil:
		_ = c.file.Close()
	default:
		_, _, _ = syscall.RawSyscall(syscall.SYS_CLOSE, uintptr(c.fd), 0, 0)
	}
	c.fd = -1
	return nil
}

func (c *conn) discard(waste []byte) (int, error) {
	n, errno := c.now(nil, func(fd int) (int, syscall.Errno) { return receive(fd, waste) })
	if errno != 0 {
		return 0, errno
	}
	return n, nil
}

func (c *conn) control(f func(fd int)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	f(c.fd)
	return nil
}

// CloseWrite half-closes, as that of net.TCPConn does.
func (c *conn) CloseWrite() error {
	var errno syscall.Errno
	err := c.control(func(fd int) {
		_, _, errno = syscall.RawSyscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return c.failed("shutdown", err)
}

// SetLinger says what becomes of unsent bytes at Close, as that of net.TCPConn does.
func (c *conn) SetLinger(seconds int) error {
	linger := syscall.Linger{Onoff: 1, Linger: int32(seconds)}
	if seconds < 0 {
		linger = syscall.Linger{}
	}
	var failed error
	err := c.control(func(fd int) {
		failed = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &linger)
	})
	return c.failed("setsockopt", errors.Join(err, failed))
}

// SetDeadline implements net.Conn.
func (c *conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.readBy, &c.writeBy) }

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.readBy) }

// SetWriteDeadline implements net.Conn.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.writeBy) }

func (c *conn) setDeadlines(t time.Time, which ...*time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	for _, by := range which {
		*by = t
	}
	if c.file == nil {
		return nil
	}
	return c.setFileDeadlines()
}

// SyscallConn implements syscall.Conn.
func (c *conn) SyscallConn() (syscall.RawConn, error) {
	file, err := c.pollable()
	if err != nil {
		return nil, err
	}
	return file.SyscallConn()
}
