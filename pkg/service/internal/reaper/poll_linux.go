package reaper

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// A poll is an epoll(7) set of sockets, which itself waits in the poller of the Go runtime. So the
// sockets need neither a goroutine each nor a thread. The methods need the reaper's lock, except wait,
// ready and close.
type poll struct {
	file  *os.File
	raw   syscall.RawConn
	socks map[int32]*Conn // by descriptor
	most  int             // the largest size of socks since it was made
	wake  time.Time       // when wait ends at the latest; zero: without a limit

	// Memory for the sweep.
	events [maxEvents]syscall.EpollEvent
	found  [maxEvents]*Conn
}

// errNoRoom stands for ENOSPC or ENOMEM of epoll_ctl(2): the runtime does not return the original error.
var errNoRoom = errors.New("the kernel has no room to wait for an epoll set; raise fs.epoll.max_user_watches, or the memory limit")

func newPoll() (*poll, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // or os.NewFile would not poll it
		_ = syscall.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, _ := file.SyscallConn()                  // fails only for nil
	if file.SetReadDeadline(time.Time{}) != nil { // the runtime's own poller does not have it
		_ = file.Close()
		return nil, errNoRoom
	}
	return &poll{file: file, raw: raw, socks: make(map[int32]*Conn)}, nil
}

// add puts c into the set, and reports whether it could.
func (p *poll) add(c *Conn) bool {
	var failed error
	err := c.socket.Control(func(fd int) {
		c.fd = int32(fd)
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: c.fd}
		p.socks[c.fd] = c
		p.most = max(p.most, len(p.socks))
		failed = p.control(syscall.EPOLL_CTL_ADD, fd, &event)
	})
	if err == nil && failed == nil {
		return true
	}
	p.forget(c)
	return false
}

func (p *poll) control(op, fd int, event *syscall.EpollEvent) (err error) {
	failed := p.raw.Control(func(set uintptr) { err = syscall.EpollCtl(int(set), op, fd, event) })
	return errors.Join(failed, err)
}

// forget removes c from socks. The kernel removes it from the epoll set when c is closed.
func (p *poll) forget(c *Conn) {
	if c.fd == 0 {
		return
	}
	if p.socks[c.fd] == c {
		delete(p.socks, c.fd)
	}
	if len(p.socks) == 0 && p.most > trimThreshold { // a map does not free its memory
		p.socks, p.most = make(map[int32]*Conn), 0
	}
	c.fd = 0
}

func (p *poll) len() int { return len(p.socks) }

// wakeBy makes wait end at t at the latest.
func (p *poll) wakeBy(t time.Time) {
	if p.wake.IsZero() || t.Before(p.wake) {
		p.setWake(t)
	}
}

func (p *poll) setWake(t time.Time) {
	p.wake = t
	_ = p.file.SetReadDeadline(t)
}

// wait waits for an event or until it is time to wake, and reports which. An error says that
// the set is closed.
func (p *poll) wait() (event bool, err error) {
	var one [1]syscall.EpollEvent
	var failed error
	err = p.raw.Read(func(set uintptr) bool {
		var n int
		n, failed = look(set, one[:])
		if errors.Is(failed, syscall.EINTR) {
			failed = nil
		}
		return n > 0 || failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return false, nil
	}
	return true, errors.Join(err, failed)
}

// ready asks for events, without waiting. It returns how many there are, and whether there may be more.
func (p *poll) ready() (n int, more bool) {
	_ = p.raw.Control(func(set uintptr) { n, _ = look(set, p.events[:]) })
	return max(n, 0), n == len(p.events)
}

// look is epoll_wait(2) without waiting. It is a raw system call, since it cannot block. For other system
// calls the runtime wakes its monitor thread (sysmon), which at low rates used as much CPU time as the
// visit.
func look(set uintptr, events []syscall.EpollEvent) (int, error) {
	n, _, errno := syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, set,
		uintptr(unsafe.Pointer(unsafe.SliceData(events))), uintptr(len(events)), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// conns returns the connections of the first n events. The slice is valid until the next call.
func (p *poll) conns(n int) []*Conn {
	conns := p.found[:0]
	for _, event := range p.events[:n] {
		if c := p.socks[event.Fd]; c != nil {
			conns = append(conns, c)
		}
	}
	return conns
}

func (p *poll) close() { _ = p.file.Close() }

// socketOf returns the descriptor of c, or nil if it has none.
func socketOf(c net.Conn) socket {
	switch c := c.(type) {
	case socket:
		return c
	case syscall.Conn:
		if raw, err := c.SyscallConn(); err == nil {
			return rawSocket{raw}
		}
	}
	return nil
}

// HasUnread reports whether the client has sent data that was not read yet. Then the client waits for the
// server, and not the server for the client. On systems other than Linux it reports false.
func HasUnread(c net.Conn) bool {
	s := socketOf(c)
	if s == nil {
		return false
	}
	var n int
	var one [1]byte
	_ = s.Control(func(fd int) { n, _, _ = syscall.Recvfrom(fd, one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT) })
	return n > 0
}

// A rawSocket is a socket of package net or os.
type rawSocket struct{ raw syscall.RawConn }

func (s rawSocket) Control(f func(fd int)) error {
	return s.raw.Control(func(fd uintptr) { f(int(fd)) })
}

func (s rawSocket) Discard(waste []byte) (n int, err error) {
	failed := s.raw.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), waste) })
	return max(n, 0), errors.Join(failed, err)
}
