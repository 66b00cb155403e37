package service

import (
	"errors"
	"net"
	"os"
	"runtime"
	"slices"
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
	most  int                 // that socks has had since it was made
	wake  time.Time           // when wait ends at the latest; zero: it does not

	// Memory for who sweeps.
	events   [128]syscall.EpollEvent
	attended [128]*lingerer
	waste    [64 << 10]byte
}

// crowd is how many lingerers take memory that is given back when they have gone.
const crowd = 1024

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
		p.most = max(p.most, len(p.socks))
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
	if len(p.socks) == 0 && p.most > crowd { // a map keeps the room that it had
		p.socks, p.most = make(map[int32]*lingerer), 0
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

// wait waits for an event or until it is time to wake, and reports which. An error says that
// the set is closed.
func (p *poll) wait() (event bool, err error) {
	var one [1]syscall.EpollEvent
	var failed error
	err = p.raw.Read(func(set uintptr) bool {
		var n int
		n, failed = syscall.EpollWait(int(set), one[:], 0)
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

// ready fills events, without waiting, and returns how many there are.
func (p *poll) ready(events []syscall.EpollEvent) (n int) {
	_ = p.raw.Control(func(set uintptr) { n, _ = syscall.EpollWait(int(set), events, 0) })
	return max(n, 0)
}

func (p *poll) close() { _ = p.file.Close() }

// reap is the goroutine of the poll set.
func (r *reaper) reap(p *poll) {
	for {
		event, err := p.wait()
		switch {
		case err != nil:
			return
		case event:
			r.sweeping.Lock()
			r.attendEvents()
			r.sweeping.Unlock()
			r.rest()
		default:
			r.sweep()
			r.expire()
			r.rearm(p)
		}
	}
}

// rest lets events gather for a while, so that a crowd that hangs up one by one does not
// wake the reaper for each. Who needs a place that they free calls sweep.
func (r *reaper) rest() {
	pause := time.NewTimer(leastPatience)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.closing:
	}
}

// sweep takes its first look at those who came since the last sweep. Most clients hang up
// as soon as they are greeted, and have done so by now: it costs less to read from them
// once, in one go, than to put each into the poll set and be told. When it returns, whoever had
// hung up before it was called has left; it reports whether anybody has.
func (r *reaper) sweep() bool {
	r.sweeping.Lock()
	defer r.sweeping.Unlock()
	r.mu.Lock()
	fresh := r.fresh
	r.fresh, r.swept = r.swept[:0], nil
	r.sweptAt = time.Now()
	joined := r.poll != nil && len(r.poll.socks) > 0
	r.mu.Unlock()

	gone := r.attend(fresh)
	r.mu.Lock()
	if len(fresh) > 0 && !r.hurried {
		r.patience = follow(r.patience, len(fresh), gone)
	}
	r.mu.Unlock()
	clear(fresh)
	if cap(fresh) <= crowd {
		r.swept = fresh
	}
	if joined {
		gone += r.attendEvents()
	}
	return gone > 0
}

// follow is how long to wait for the next to hang up, when of the last so many had.
func follow(patience time.Duration, all, gone int) time.Duration {
	if 2*gone < all {
		return min(2*patience, mostPatience)
	}
	return max(patience/2, leastPatience)
}

// attendEvents sees once to those of the poll set with whom something has happened: some of
// them always have something to say, and the others wait for their time to end. It returns how
// many have left. r.sweeping is held.
func (r *reaper) attendEvents() (gone int) {
	p := r.poll
	r.mu.Lock()
	portions := len(p.socks)/len(p.events) + 1 // the kernel takes turns between them
	r.mu.Unlock()
	for range portions {
		n := p.ready(p.events[:])
		these := p.attended[:0]
		r.mu.Lock()
		for _, event := range p.events[:n] {
			if l := p.socks[event.Fd]; l != nil {
				these = append(these, l)
			}
		}
		r.mu.Unlock()
		gone += r.attend(these)
		clear(these)
		if n < len(p.events) {
			break
		}
	}
	return gone
}

// attend reads once from each of these, so that a client which talks without end does not
// hold up the others. It removes those from whom nothing more will come, sees that the others
// are in the poll set, and returns how many it has removed. After each portion visits go on.
// The slice is overwritten. r.sweeping is held.
func (r *reaper) attend(these []*lingerer) (removed int) {
	for some := range slices.Chunk(these, portion) {
		gone := r.split(some)
		r.remove(some[:gone])
		removed += gone
		if staying := some[gone:]; len(staying) > 0 {
			r.mu.Lock()
			for _, l := range staying {
				r.join(l)
			}
			r.mu.Unlock()
		}
		runtime.Gosched()
	}
	return removed
}

// portion takes as long as some visits do. They wait for it where Go has one CPU.
const portion = 16

// split reads from each of these, and puts those first from whom nothing more will come.
func (r *reaper) split(these []*lingerer) (gone int) {
	for i, l := range these {
		n, err := l.socket.discard(r.poll.waste[:])
		if l.curious && n > 0 {
			l.curious = false
			r.heard(l, r.poll.waste[:n])
		}
		if n == 0 && !errors.Is(err, syscall.EAGAIN) { // closed by somebody else, if not by the client
			these[i], these[gone] = these[gone], l
			gone++
		}
	}
	return gone
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
		p.wakeBy(time.Now().Add(r.patience))
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
