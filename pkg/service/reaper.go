package service

import (
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A lingerer is a connection whose greeting is handed over and which is half-closed.
// It waits for the client to hang up: a socket closed with unread input sends RST,
// and that can destroy a greeting which is still on its way.
type lingerer struct {
	conn     net.Conn
	socket   descriptor // conn, if it is a socket of the kernel
	counters *counters
	leave    func()
	until    time.Time
	peer     *Peer
	fd       int32 // in the poll set; 0: not there, or not yet
	curious  bool  // what the client says first is worth a look
	gone     bool
	halved   atomic.Bool // it is half-closed; to close it before would reset a client that talked

	prev, next *lingerer
}

// A reaper throws away what lingering clients send, closes when they hang up, and
// closes them itself when their time has come or somebody else needs the place.
// Sockets of the kernel share one poll set and one goroutine; other connections have
// a goroutine each.
type reaper struct {
	left    func([]*lingerer)       // called with those that are closed, once with each, without locks held
	heard   func(*lingerer, []byte) // called with what a curious one says first, without locks held
	running sync.WaitGroup

	mu       sync.Mutex
	root     lingerer    // a ring in the order of until: root.next gives way first
	poll     *poll       // nil until a kernel socket comes, and where there is none
	fresh    []*lingerer // not in the poll set yet, see sweep
	closed   bool
	patience time.Duration // from a greeting to the first look
	hurried  bool          // patience stays as it is
	sweptAt  time.Time     // when sweep was called last

	sweeping sync.Mutex  // by one at a time
	swept    []*lingerer // the memory of the last sweep, for the next

	closing chan struct{} // closed with closed
}

// So long after their greeting clients are looked at for the first time. It follows them, who
// may be near or far, so that most have hung up by then.
const (
	leastPatience = 2 * time.Millisecond
	mostPatience  = 512 * time.Millisecond
)

func newReaper(left func([]*lingerer), heard func(*lingerer, []byte)) *reaper {
	r := &reaper{left: left, heard: heard, patience: leastPatience, closing: make(chan struct{})}
	r.root.prev, r.root.next = &r.root, &r.root
	return r
}

// push takes l into the ring, and reports whether that is all. If not, watch must follow.
func (r *reaper) push(l *lingerer) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	after := r.root.prev
	for after != &r.root && after.until.After(l.until) {
		after = after.prev // only when the linger timeout was changed on the way
	}
	l.prev, l.next = after, after.next
	l.prev.next, l.next.prev = l, l
	return !r.closed && r.watchSocket(l)
}

// watchSocket leaves l to the next sweep, if it is a socket of the kernel. r.mu is held.
func (r *reaper) watchSocket(l *lingerer) bool {
	if l.socket == nil {
		return false
	}
	if r.poll == nil {
		p, err := newPoll()
		if err != nil {
			return false
		}
		r.poll = p
		r.running.Go(func() { r.reap(p) }) // close waits
	}
	r.poll.wakeBy(r.root.next.until)
	r.fresh = append(r.fresh, l)
	if len(r.fresh) == 1 {
		r.poll.wakeBy(time.Now().Add(r.patience))
	}
	return true
}

// watch begins to drain l, which was pushed. It may have been evicted since.
func (r *reaper) watch(l *lingerer) {
	r.mu.Lock()
	switch {
	case l.gone:
		r.mu.Unlock()
	case r.closed:
		r.unlink(l)
		r.mu.Unlock()
		r.bury([]*lingerer{l})
	default:
		r.drainApart(l)
		r.mu.Unlock()
	}
}

// join puts l into the poll set, unless it is there. r.mu is held.
func (r *reaper) join(l *lingerer) {
	if !l.gone && l.fd == 0 && !r.poll.add(l) {
		r.drainApart(l)
	}
}

// drainApart drains l in a goroutine of its own. r.mu is held.
func (r *reaper) drainApart(l *lingerer) {
	_ = l.conn.SetReadDeadline(l.until)
	r.running.Go(func() { r.drain(l) }) // close waits
}

// drain is for what can't be polled.
func (r *reaper) drain(l *lingerer) {
	if l.curious {
		first := make([]byte, 512)
		n, _ := l.conn.Read(first)
		r.heard(l, first[:n])
	}
	_, _ = io.Copy(io.Discard, l.conn)
	r.remove([]*lingerer{l})
}

// unlink takes l out of the ring and the poll set. r.mu is held; bury must follow.
func (r *reaper) unlink(l *lingerer) {
	l.gone = true
	l.prev.next, l.next.prev = l.next, l.prev
	if l.fd != 0 {
		r.poll.forget(l)
	}
}

// remove closes these, but for those that somebody else has closed. It takes each lock once,
// since visits wait for them. The slice is overwritten.
func (r *reaper) remove(these []*lingerer) {
	gone := these[:0]
	r.mu.Lock()
	for _, l := range these {
		if !l.gone {
			r.unlink(l)
			gone = append(gone, l)
		}
	}
	r.mu.Unlock()
	r.bury(gone)
}

// bury closes those who are unlinked, and reports whether there was anybody.
func (r *reaper) bury(gone []*lingerer) bool {
	for _, l := range gone {
		_ = l.conn.Close()
	}
	if len(gone) > 0 {
		r.left(gone)
	}
	return len(gone) > 0
}

// evict makes room, and reports whether it could. Unless it was done lately, it looks for those
// who have left; if there is nobody, it closes up to n of the oldest. It waits for one that is
// just being half-closed, which takes a system call.
func (r *reaper) evict(n int) bool {
	r.mu.Lock()
	lately := time.Since(r.sweptAt) < r.patience
	r.mu.Unlock()
	if !lately && r.sweep() {
		return true
	}
	for {
		pending := false
		gone := r.unlinkWhile(func(l *lingerer) bool {
			n--
			pending = n >= 0 && !l.halved.Load()
			return n >= 0 && !pending
		})
		if len(gone) > 0 || !pending {
			return r.bury(gone)
		}
		n++
		runtime.Gosched()
	}
}

// expire closes those whose time has come.
func (r *reaper) expire() {
	now := time.Now()
	r.bury(r.unlinkWhile(func(l *lingerer) bool { return l.halved.Load() && !l.until.After(now) }))
}

func (r *reaper) unlinkWhile(these func(*lingerer) bool) []*lingerer {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []*lingerer
	for l := r.root.next; l != &r.root && these(l); l = l.next {
		r.unlink(l)
		gone = append(gone, l)
	}
	return gone
}

// shorten makes nobody linger for more than d from now.
func (r *reaper) shorten(d time.Duration) {
	until := time.Now().Add(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	for l := r.root.prev; l != &r.root && l.until.After(until); l = l.prev {
		l.until = until
		if l.fd == 0 {
			_ = l.conn.SetReadDeadline(until)
		}
	}
	if r.poll != nil && r.root.next != &r.root {
		r.poll.wakeBy(r.root.next.until)
	}
}

// hurry looks at those who linger now, and from now on as soon as it ever does.
func (r *reaper) hurry() {
	r.mu.Lock()
	r.patience, r.hurried = leastPatience, true
	r.mu.Unlock()
	r.sweep()
}

// close closes all that linger and waits until nothing of the reaper runs.
func (r *reaper) close() {
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.closing)
	}
	r.mu.Unlock()
	r.bury(r.unlinkWhile(func(*lingerer) bool { return true }))
	if r.poll != nil {
		r.poll.close()
	}
	r.running.Wait()
}
