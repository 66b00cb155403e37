//go:build linux && !386 && !s390x

package direct

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Conn is a TCP connection that enters the runtime's poller when something has to wait.
type Conn struct {
	remote netip.AddrPort

	mu       sync.Mutex     // held during raw system calls, so that fd is not closed meanwhile
	local    netip.AddrPort // invalid until somebody asks
	fd       int            // negative when it is closed
	file     *os.File       // owns fd; nil until something had to wait
	fault    error          // why nobody can wait on file
	readEnd  time.Time      // the deadlines
	writeEnd time.Time
}

// accept accepts c from the listening socket at fd, and reports false if no connection is
// there. An error becomes a negative c.fd.
func (c *Conn) accept(fd uintptr) bool {
	var errno syscall.Errno
	if c.fd, c.remote, errno = accept(fd); errno != 0 {
		c.fd = -int(errno)
	}
	return errno != syscall.EAGAIN
}

// Ends returns the addresses of both ends, IPv4 ones never mapped into IPv6. Where the listener is
// bound to all addresses, it takes a system call to know the local one: unless ask is true, it is the
// zero value then.
func (c *Conn) Ends(ask bool) (remote, local netip.AddrPort) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ask && !c.local.IsValid() && c.fd >= 0 {
		c.local = localAddr(c.fd)
	}
	return c.remote, c.local
}

// RemoteAddr implements net.Conn.
func (c *Conn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.remote) }

// LocalAddr implements net.Conn.
func (c *Conn) LocalAddr() net.Addr {
	_, local := c.Ends(true)
	return net.TCPAddrFromAddrPort(local)
}

// Read implements net.Conn.
func (c *Conn) Read(b []byte) (int, error) {
	n, errno := c.beforeDeadline(&c.readEnd, func(fd int) (int, syscall.Errno) { return receive(fd, b) })
	switch {
	case errno == 0 && n == 0 && len(b) > 0:
		return 0, io.EOF
	case errno == 0:
		return n, nil
	case errno != syscall.EAGAIN:
		return 0, c.opError("read", errno)
	}
	file, err := c.pollable()
	if err == nil {
		n, err = file.Read(b)
	}
	return n, c.opError("read", err)
}

// Write implements net.Conn.
func (c *Conn) Write(b []byte) (int, error) {
	n, errno := c.beforeDeadline(&c.writeEnd, func(fd int) (int, syscall.Errno) { return send(fd, b, 0) })
	switch {
	case errno == 0 && n == len(b):
		return n, nil
	case errno != 0 && errno != syscall.EAGAIN:
		return 0, c.opError("write", errno)
	}
	file, err := c.pollable()
	if err != nil {
		return n, c.opError("write", err)
	}
	more, err := file.Write(b[n:])
	return n + more, c.opError("write", err)
}

// WriteNow writes as much of b as goes without waiting, whatever the deadline, and returns how
// much that was; the rest is for Write. The kernel may keep the bytes until Write, CloseWrite or Close,
// one of which must follow.
func (c *Conn) WriteNow(b []byte) (int, error) {
	n, errno := c.now(func(fd int) (int, syscall.Errno) { return send(fd, b, msgMore) })
	if errno != 0 && errno != syscall.EAGAIN {
		return 0, c.opError("write", errno)
	}
	return n, nil
}

// Discard reads into waste once, without waiting, whatever the deadline. It returns
// EAGAIN where nothing is there, and 0 and nil at the end of what the client sends.
func (c *Conn) Discard(waste []byte) (int, error) {
	n, errno := c.now(func(fd int) (int, syscall.Errno) { return receive(fd, waste) })
	switch errno {
	case 0:
		return n, nil
	case syscall.EBADF:
		return 0, net.ErrClosed
	}
	return 0, errno
}

// now transfers bytes without waiting. It returns EAGAIN where none can be, and EBADF where c is closed.
func (c *Conn) now(transfer func(fd int) (int, syscall.Errno)) (int, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.transfer(transfer)
}

// beforeDeadline is now for calls that can wait: EAGAIN says that it is the poller's turn, also
// because it owns c already, or because the deadline has passed, which it reports.
func (c *Conn) beforeDeadline(end *time.Time, transfer func(fd int) (int, syscall.Errno)) (int, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 && (c.file != nil || !end.IsZero() && !time.Now().Before(*end)) {
		return 0, syscall.EAGAIN
	}
	return c.transfer(transfer)
}

// transfer tries again when a signal interrupts it. Where c is closed, the kernel says EBADF. c.mu is held.
func (c *Conn) transfer(transfer func(fd int) (int, syscall.Errno)) (int, syscall.Errno) {
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

// pollable makes c enter the runtime's poller, unless it is there.
func (c *Conn) pollable() (*os.File, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return nil, net.ErrClosed
	}
	if c.file == nil {
		c.file = os.NewFile(uintptr(c.fd), "connection")
		if err := c.setFileDeadlines(); errors.Is(err, os.ErrNoDeadline) {
			c.fault = whyNotPolled(c.fd)
		}
	}
	return c.file, c.fault
}

// setFileDeadlines passes on the deadlines: both at once take one timer. c.mu is held.
func (c *Conn) setFileDeadlines() error {
	if c.readEnd.Equal(c.writeEnd) {
		return c.file.SetDeadline(c.readEnd)
	}
	return errors.Join(c.file.SetReadDeadline(c.readEnd), c.file.SetWriteDeadline(c.writeEnd))
}

// opError makes of err what net would return.
func (c *Conn) opError(op string, err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	var errno syscall.Errno
	var path *fs.PathError
	switch {
	case errors.Is(err, os.ErrClosed), errors.Is(err, syscall.EBADF):
		err = net.ErrClosed
	case errors.Is(err, errNotPolled):
	case errors.As(err, &errno):
		err = os.NewSyscallError(op, errno)
	case errors.As(err, &path):
		err = path.Err
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: err}
}

// Close implements net.Conn.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.fd < 0:
		return net.ErrClosed
	case c.file != nil:
		_ = c.file.Close()
	default:
		closeDescriptor(c.fd)
	}
	c.fd = -1
	return nil
}

// Control calls f with the number of the descriptor, which stays open until f returns. f must
// not call c. The error is net.ErrClosed; f is not called then.
func (c *Conn) Control(f func(fd int)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	f(c.fd)
	return nil
}

// CloseWrite half-closes, as that of net.TCPConn does.
func (c *Conn) CloseWrite() error {
	var errno syscall.Errno
	err := c.Control(func(fd int) { errno = closeWrite(fd) })
	if err == nil && errno != 0 {
		err = errno
	}
	return c.opError("shutdown", err)
}

// SetLinger says what becomes of unsent bytes at Close, as that of net.TCPConn does.
func (c *Conn) SetLinger(seconds int) error {
	linger := syscall.Linger{Onoff: 1, Linger: int32(seconds)}
	if seconds < 0 {
		linger = syscall.Linger{}
	}
	var failed error
	err := c.Control(func(fd int) {
		failed = syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &linger)
	})
	return c.opError("setsockopt", errors.Join(err, failed))
}

// SetDeadline implements net.Conn.
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.readEnd, &c.writeEnd) }

// SetReadDeadline implements net.Conn.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.readEnd) }

// SetWriteDeadline implements net.Conn.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.writeEnd) }

func (c *Conn) setDeadlines(t time.Time, ends ...*time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	for _, end := range ends {
		*end = t
	}
	if c.file == nil {
		return nil
	}
	return c.setFileDeadlines()
}

// SyscallConn implements syscall.Conn. It makes c enter the runtime's poller.
func (c *Conn) SyscallConn() (syscall.RawConn, error) {
	file, err := c.pollable()
	if err != nil {
		return nil, err
	}
	return file.SyscallConn()
}
