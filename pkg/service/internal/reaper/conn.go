package reaper

import (
	"iter"
	"net"
	"sync/atomic"
	"time"
)

// A HalfCloser is a connection that can be closed for writing alone, such as a [net.TCPConn].
type HalfCloser interface {
	net.Conn
	CloseWrite() error
}

// A Conn is one connection of a Reaper. The caller sets the exported fields before Add, and must not
// change them after that. The zero value is ready to be filled in.
type Conn struct {
	Conn  HalfCloser
	Until time.Time // when it is closed at the latest
	Owner any       // for the hooks of the caller; the reaper does not use it
	Sniff bool      // whether OnFirstBytes gets the first bytes that the client sends

	Cause Cause // why it was closed; set before Closed is called

	socket     socket      // nil if Conn is not a socket of the kernel
	fd         int32       // the descriptor in the poll set; 0: not in the set
	unlinked   bool        // removed from the ring; the function that removed it closes it
	polled     bool        // the goroutine of the poll set handles it
	halfClosed atomic.Bool // before this, closing would reset a client that has sent data

	prev, next *Conn
}

// A Cause says why a reaper closed a connection.
type Cause uint8

// The causes.
const (
	ClientGone Cause = iota // the client closed or reset it
	Expired                 // its time was over
	Evicted                 // another connection needed its place
	Closing                 // the reaper was closed
)

// A ring has connections in the order of Until: root.next is the first to go. Its methods need the
// reaper's lock.
type ring struct{ root Conn }

func (r *ring) init() { r.root.prev, r.root.next = &r.root, &r.root }

func (r *ring) insert(c *Conn) {
	after := r.root.prev
	for after != &r.root && after.Until.After(c.Until) {
		after = after.prev // only if the linger timeout was changed
	}
	c.prev, c.next = after, after.next
	c.prev.next, c.next.prev = c, c
}

func (r *ring) remove(c *Conn) {
	c.unlinked = true
	c.prev.next, c.next.prev = c.next, c.prev
}

func (r *ring) first() *Conn {
	if r.root.next == &r.root {
		return nil
	}
	return r.root.next
}

// all yields the connections, the first to go first. The one that it yields may be removed.
func (r *ring) all() iter.Seq[*Conn] {
	return func(yield func(*Conn) bool) {
		for c := r.root.next; c != &r.root; {
			next := c.next
			if !yield(c) {
				return
			}
			c = next
		}
	}
}

// A socket is a connection with a descriptor. Connections of package direct are sockets. On Linux,
// connections with SyscallConn are wrapped to become sockets.
type socket interface {
	// Control calls f with the descriptor, which stays open until f returns. It returns an error if
	// the descriptor is closed.
	Control(f func(fd int)) error

	// Discard reads into waste once, without waiting. It returns EAGAIN if there is no input. 0
	// with another error, or without an error, means that no more input will arrive.
	Discard(waste []byte) (int, error)
}
