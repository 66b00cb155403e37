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

// A Conn is a TCP connection that enters the runtime's poller only when an operation has to wait.
type Conn struct {
	remote netip.AddrPort

	mu       sync.Mutex     // held during raw system calls, so that fd is not closed meanwhile
	local    netip.AddrPort // invalid until Ends has asked for it
	fd       int            // negative when it is closed
	file     *os.File       // owns fd; nil until an operation had to wait
	fault    error          // why operations cannot wait on file
	readEnd  time.Time      // the deadlines
	writeEnd time.Time

	beforeWait func() // nil, or called if the first read has to wait
}

// accept accepts a connection from the listening socket at fd into c. It reports false if there is none.
// An error becomes a negative c.fd.
func (c *Conn) accept(fd uintptr) bool {
	var errno syscall.Errno
	if c.fd, c.remote, errno = accept(fd); errno != 0 {
		c.fd = -int(errno)
	}
	return errno != syscall.EAGAIN
}

// Ends returns the addresses of both ends. IPv4 addresses are never mapped into IPv6. If the listener is
// bound to all addresses, the local address needs a system call; unless ask is true, it is then the
// zero value.
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
	if c.beforeWait != nil {
		if errno == syscall.EAGAIN {
			c.beforeWait()
		}
		c.beforeWait = nil
	}
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

// BeforeWait makes the next Read call f if it has to wait for the client; f may change the deadlines.
// It must not be called during a Read.
func (c *Conn) BeforeWait(f func()) { c.beforeWait = f }

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

// WriteNow writes as much of b as possible without waiting, and returns the number of bytes; use Write
// for the rest. The deadline does not matter. The kernel may keep the bytes until Write, CloseWrite or
// Close is called, so one of these must follow.
func (c *Conn) WriteNow(b []byte) (int, error) {
	n, errno := c.now(func(fd int) (int, syscall.Errno) { return send(fd, b, msgMore) })
	if errno != 0 && errno != syscall.EAGAIN {
		return 0, c.opError("write", errno)
	}
	return n, nil
}

// Discard reads into waste once, without waiting. The deadline does not matter. It returns EAGAIN if
// there is no input, and 0 and nil at the end of the client's data.
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

// now transfers bytes without waiting. It returns EAGAIN if that is not possible, and EBADF if c is closed.
func (c *Conn) now(transfer func(fd int) (int, syscall.Errno)) (int, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.transfer(transfer)
}

// beforeDeadline is like now, for calls that can wait. It returns EAGAIN if the call has to use the
// poller: because it has to wait, because c is in the poller already, or because the deadline has
// passed, which the poller reports.
func (c *Conn) beforeDeadline(end *time.Time, transfer func(fd int) (int, syscall.Errno)) (int, syscall.Errno) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd >= 0 && (c.file != nil || !end.IsZero() && !time.Now().Before(*end)) {
		return 0, syscall.EAGAIN
	}
	return c.transfer(transfer)
}

// transfer tries again if a signal interrupts it. If c is closed, the kernel returns EBADF. c.mu is held.
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

// setFileDeadlines sets the deadlines of the file. If both are equal, one timer is enough. c.mu is held.
func (c *Conn) setFileDeadlines() error {
	if c.readEnd.Equal(c.writeEnd) {
		return c.file.SetDeadline(c.readEnd)
	}
	return errors.Join(c.file.SetReadDeadline(c.readEnd), c.file.SetWriteDeadline(c.writeEnd))
}

// opError returns the error that package net would return for err.
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

// Control calls f with the descriptor, which stays open until f returns. f must not call methods of c.
// If c is closed, Control returns net.ErrClosed and does not call f.
func (c *Conn) Control(f func(fd int)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fd < 0 {
		return net.ErrClosed
	}
	f(c.fd)
	return nil
}

// CloseWrite closes c for writing, like CloseWrite of net.TCPConn.
func (c *Conn) CloseWrite() error {
	var errno syscall.Errno
	err := c.Control(func(fd int) { errno = closeWrite(fd) })
	if err == nil && errno != 0 {
		err = errno
	}
	return c.opError("shutdown", err)
}

// SetLinger sets what Close does with unsent bytes, like SetLinger of net.TCPConn.
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
