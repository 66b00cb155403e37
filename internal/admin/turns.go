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

// turns is the order in which the requests of one listener are answered, so many a second. Who asks
// seldom comes first: the source that was answered longest ago, of its clients the one that was, and of
// those that never were, the one that has waited longest. What guards it is the gate's mutex.
type turns struct {
	limit   *rate.Limiter
	last    uint64               // number that was given
	waiting map[*client]struct{} // those that have asked
	served  map[string]time.Time // when each source was answered last; those of the last minute, at least
	armed   bool                 // the next turn has its time
}

func newTurns() turns {
	return turns{
		limit:   rate.NewLimiter(requestRate, requestBurst),
		waiting: make(map[*client]struct{}),
		served:  make(map[string]time.Time),
	}
}

// await waits until it is c's turn, or ctx ends.
func (g *gate) await(ctx context.Context, c *client) error {
	g.mu.Lock()
	ready := make(chan struct{})
	c.number, c.ready = g.turns.number(), ready
	g.turns.waiting[c] = struct{}{}
	if !g.turns.armed {
		g.next()
	}
	g.mu.Unlock()
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		g.mu.Lock()
		defer g.mu.Unlock()
		g.turns.leave(c)
		return context.Cause(ctx)
	}
}

// next gives turns as fast as the limit allows, and sees to those that come later. g.mu is held.
func (g *gate) next() {
	t := &g.turns
	for t.armed = false; len(t.waiting) > 0 && !t.armed; {
		if delay := t.limit.Reserve().Delay(); delay > 0 {
			t.armed = true
			time.AfterFunc(delay, func() {
				g.mu.Lock()
				defer g.mu.Unlock()
				t.serve()
				g.next()
			})
		} else {
			t.serve()
		}
	}
}

// serve gives the turn to whose it is, if anybody waits.
func (t *turns) serve() {
	var first *client
	for c := range t.waiting {
		if first == nil || t.before(c, first) {
			first = c
		}
	}
	if first == nil {
		return
	}
	first.served = time.Now()
	t.served[first.source] = first.served
	t.call(first)
	t.forget()
}

// call ends the wait of c.
func (t *turns) call(c *client) {
	ready := c.ready
	t.leave(c)
	close(ready)
}

// leave says that c does not wait any more.
func (t *turns) leave(c *client) {
	delete(t.waiting, c)
	c.ready = nil
}

// before reports whether it is a's turn before b's.
func (t *turns) before(a, b *client) bool {
	if a.source != b.source && !t.served[a.source].Equal(t.served[b.source]) {
		return t.served[a.source].Before(t.served[b.source])
	}
	if !a.served.Equal(b.served) {
		return a.served.Before(b.served)
	}
	return a.number < b.number
}

// number returns the next number.
func (t *turns) number() uint64 {
	t.last++
	return t.last
}

// forget keeps served small: sources of more than a minute ago are as good as new ones.
func (t *turns) forget() {
	if len(t.served) > 2*60*requestRate {
		before := time.Now().Add(-time.Minute)
		maps.DeleteFunc(t.served, func(_ string, at time.Time) bool { return at.Before(before) })
	}
}

// sourceOf is where a client comes from: its address, or its process on this machine.
func sourceOf(c net.Conn) string {
	switch remote := c.RemoteAddr().(type) {
	case *net.TCPAddr:
		return remote.IP.String()
	case *net.UnixAddr:
		return strconv.Itoa(peerProcess(c))
	}
	return ""
}

// peerProcess is the process at the other end of a unix socket; 0 if it is unknown.
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
