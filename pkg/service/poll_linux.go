package service

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"
)

// A poll is a set of lingering sockets: an epoll(7) set that waits inside the
// runtime's own poller, so that neither a goroutine for each of them nor a thread is
// spent. Its methods, except wait, need the reaper's lock.
type poll struct {
	file  *os.File
	raw   syscall.RawConn
	socks map[int32]*lingerer // by descriptor
	wake  time.Time           // when wait ends at the latest; zero: it does not
}

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
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &poll{file: file, raw: raw, socks: make(map[int32]*lingerer)}, nil
}

// add puts l into the set, and reports whether it could.
func (p *poll) add(l *lingerer) bool {
	var failed error
	err := l.socket.control(func(fd int) {
		l.fd = int32(fd)
		event := syscall.EpollEvent{Events: syscall.EPOLLIN | syscall.EPOLLRDHUP, Fd: l.fd}
		p.socks[l.fd] = l
		failed = p.control(syscall.EPOLL_CTL_ADD, fd, &event)
	})
	if err == nil && failed == nil {
		return true
	}
	p.forget(l)
	return false
}

func (p *poll) control(op, fd int, event *syscall.EpollEvent) (err error) {
	failed := p.raw.Control(func(set uintptr) { err = syscall.EpollCtl(int(set), op, fd, event) })
	return errors.Join(failed, err)
}

// forget takes l out. The kernel does its part when l is closed.
func (p *poll) forget(l *lingerer) {
	if p.socks[l.fd] == l {
		delete(p.socks, l.fd)
	}
	l.fd = 0
}

// wakeBy makes wait end at t, if it would not end before.
func (p *poll) wakeBy(t time.Time) {
	if p.wake.IsZero() || t.Before(p.wake) {
		p.setWake(t)
	}
}

func (p *poll) setWake(t time.Time) {
	p.wake = t
	_ = p.file.SetReadDeadline(t)
}

// wait waits for events, and returns how many there are: 0 when it is time to wake.
// An error says that the set is closed.
func (p *poll) wait(events []syscall.EpollEvent) (n int, err error) {
	var failed error
	err = p.raw.Read(func(set uintptr) bool {
		n, failed = syscall.EpollWait(int(set), events, 0)
		if failed == syscall.EINTR {
			n, failed = 0, nil
		}
		return n != 0 || failed != nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 0, nil
	}
	return max(n, 0), errors.Join(err, failed)
}

func (p *poll) close() { _ = p.file.Close() }

// reap is the goroutine of the poll set.
func (r *reaper) reap(p *poll) {
	events := make([]syscall.EpollEvent, 128)
	waste := make([]byte, 64<<10)
	ready := make([]*lingerer, 0, len(events))
	for {
		n, err := p.wait(events)
		if err != nil {
			return
		}
		if n == 0 {
			r.sweep(waste)
			r.expire()
			r.rearm(p)
			continue
		}
		ready = ready[:0]
		r.mu.Lock()
		for _, event := range events[:n] {
			if l := p.socks[event.Fd]; l != nil {
				ready = append(ready, l)
			}
		}
		r.mu.Unlock()
		r.attend(ready, waste)
		clear(ready)
		if n < len(events) {
			r.rest()
		}
	}
}

// rest lets events gather for a while, so that a crowd that hangs up one by one does not
// wake the reaper for each. Nobody waits for what it does, unless somebody is hurried.
func (r *reaper) rest() {
	r.mu.Lock()
	hurried := r.hurried > 0
	r.mu.Unlock()
	if hurried {
		return
	}
	pause := time.NewTimer(sweepAfter)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.hurry:
	}
}

// attend reads once from each of these, so that a client which talks without end does not
// hold up the others, and removes those from whom nothing more will come. It returns the
// others, in the same memory.
func (r *reaper) attend(these []*lingerer, waste []byte) []*lingerer {
	staying, leaving := these[:0], r.leaving[:0]
	for _, l := range these {
		n, err := l.socket.discard(waste)
		if l.curious && n > 0 {
			l.curious = false
			r.heard(l, waste[:n])
		}
		if n == 0 && !errors.Is(err, syscall.EAGAIN) { // closed by somebody else, if not by the client
			leaving = append(leaving, l)
		} else {
			staying = append(staying, l)
		}
	}
	r.remove(leaving)
	clear(leaving)
	r.leaving = leaving
	return staying
}

// sweep takes its first look at those who came since the last sweep. Most clients hang up
// as soon as they are greeted, and have done so by now: it costs less to read from them
// once, in one go, than to put each into the poll set and be told.
func (r *reaper) sweep(waste []byte) {
	r.mu.Lock()
	fresh := r.fresh
	r.fresh, r.swept = r.swept[:0], nil
	r.mu.Unlock()

	staying := r.attend(fresh, waste)
	r.mu.Lock()
	for _, l := range staying {
		if !l.gone && !r.poll.add(l) {
			r.drainApart(l)
		}
	}
	r.mu.Unlock()
	clear(fresh)
	r.swept = fresh
}

// rearm sets the time to wake for those who linger now.
func (r *reaper) rearm(p *poll) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.setWake(time.Time{})
	if r.root.next != &r.root {
		p.wakeBy(r.root.next.until)
	}
	if len(r.fresh) > 0 {
		p.wakeBy(time.Now().Add(sweepAfter))
	}
}

// socketOf returns the descriptor of c, or nil if it has none.
func socketOf(c net.Conn) descriptor {
	switch c := c.(type) {
	case descriptor:
		return c
	case syscall.Conn:
		if raw, err := c.SyscallConn(); err == nil {
			return rawDescriptor{raw}
		}
	}
	return nil
}

// A rawDescriptor is what net and os have.
type rawDescriptor struct{ raw syscall.RawConn }

func (d rawDescriptor) control(f func(fd int)) error {
	return d.raw.Control(func(fd uintptr) { f(int(fd)) })
}

func (d rawDescriptor) discard(waste []byte) (n int, err error) {
	failed := d.raw.Control(func(fd uintptr) { n, err = syscall.Read(int(fd), waste) })
	return max(n, 0), errors.Join(failed, err)
}
