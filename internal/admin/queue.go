package admin

import (
	"context"
	"maps"
	"net"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

// A requestQueue orders the requests of one listener, of which only a limited number is answered each
// second. The next request is from the source that was answered longest ago, and there from the client
// that was answered longest ago. Among clients that were never answered, the request that has waited
// longest is the next. The mutex of the limiter guards the queue.
type requestQueue struct {
	limit      *rate.Limiter
	last       uint64               // the last number that next has returned
	waiting    map[*client]struct{} // clients with a request in the queue
	lastServed map[string]time.Time // by source: time of its last granted request; all of the last minute, perhaps older ones
	scheduled  bool                 // a timer runs that grants the next request
}

func newRequestQueue() requestQueue {
	return requestQueue{
		limit:      rate.NewLimiter(requestRate, requestBurst),
		waiting:    make(map[*client]struct{}),
		lastServed: make(map[string]time.Time),
	}
}

// wait waits until the request of c may be answered, or until ctx is done.
func (l *clientLimiter) wait(ctx context.Context, c *client) error {
	l.mu.Lock()
	ready := make(chan struct{})
	c.number, c.ready = l.queue.next(), ready
	l.queue.waiting[c] = struct{}{}
	if !l.queue.scheduled {
		l.schedule()
	}
	l.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		l.mu.Lock()
		defer l.mu.Unlock()
		l.queue.remove(c)
		return context.Cause(ctx)
	}
}

// schedule grants the requests that the rate allows now, and starts a timer for the next one. l.mu is held.
func (l *clientLimiter) schedule() {
	q := &l.queue
	for q.scheduled = false; len(q.waiting) > 0 && !q.scheduled; {
		if delay := q.limit.Reserve().Delay(); delay > 0 {
			q.scheduled = true
			time.AfterFunc(delay, func() {
				l.mu.Lock()
				defer l.mu.Unlock()
				q.grantNext()
				l.schedule()
			})
		} else {
			q.grantNext()
		}
	}
}

// grantNext grants the first request in the queue, if there is one.
func (q *requestQueue) grantNext() {
	var first *client
	for c := range q.waiting {
		if first == nil || q.before(c, first) {
			first = c
		}
	}
	if first == nil {
		return
	}
	first.lastServed = time.Now()
	q.lastServed[first.source] = first.lastServed
	q.grant(first)
	q.prune()
}

// grant ends the wait of c, so that its request is answered.
func (q *requestQueue) grant(c *client) {
	ready := c.ready
	q.remove(c)
	close(ready)
}

// remove removes c from the queue.
func (q *requestQueue) remove(c *client) {
	delete(q.waiting, c)
	c.ready = nil
}

// before reports whether a is answered before b.
func (q *requestQueue) before(a, b *client) bool {
	if a.source != b.source && !q.lastServed[a.source].Equal(q.lastServed[b.source]) {
		return q.lastServed[a.source].Before(q.lastServed[b.source])
	}
	if !a.lastServed.Equal(b.lastServed) {
		return a.lastServed.Before(b.lastServed)
	}
	return a.number < b.number
}

// next returns the next number.
func (q *requestQueue) next() uint64 {
	q.last++
	return q.last
}

// prune removes from lastServed, if it is large, the sources that were not answered in the last minute.
// They then count as new sources.
func (q *requestQueue) prune() {
	if len(q.lastServed) > 2*60*requestRate {
		before := time.Now().Add(-time.Minute)
		maps.DeleteFunc(q.lastServed, func(_ string, at time.Time) bool { return at.Before(before) })
	}
}

// sourceOf returns the source of a client: its IP address, or its process if it uses the unix socket.
func sourceOf(c net.Conn) string {
	switch remote := c.RemoteAddr().(type) {
	case *net.TCPAddr:
		return remote.IP.String()
	case *net.UnixAddr:
		return strconv.Itoa(peerProcess(c))
	}
	return ""
}

// peerProcess returns the process at the other end of a unix socket; 0 if it is unknown.
func peerProcess(c net.Conn) (pid int) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(peer.Pid)
		}
	})
	return pid
}
