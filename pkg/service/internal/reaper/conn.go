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

// A Ring is a list of connections: adding and removing one is cheap, and needs no memory. Use Init first. A
// Conn is in at most one Ring. The methods must not be called at once.
type Ring struct{ root Conn }

// Init makes r an empty Ring.
func (r *Ring) Init() { r.root.prev, r.root.next = &r.root, &r.root }

// Append adds c at the end.
func (r *Ring) Append(c *Conn) { c.insertAfter(r.root.prev) }

// insert adds c to a ring in the order of Until, the first to go first.
func (r *Ring) insert(c *Conn) {
	after := r.root.prev
	for after != &r.root && after.Until.After(c.Until) {
		after = after.prev // only if the linger timeout was changed
	}
	c.insertAfter(after)
}

func (c *Conn) insertAfter(other *Conn) {
	c.prev, c.next = other, other.next
	c.prev.next, c.next.prev = c, c
}

// Remove removes c, which must be in r.
func (r *Ring) Remove(c *Conn) { c.prev.next, c.next.prev = c.next, c.prev }

// All yields the connections in their order. The one that it yields may be removed.
func (r *Ring) All() iter.Seq[*Conn] {
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

func (r *Ring) first() *Conn {
	if r.root.next == &r.root {
		return nil
	}
	return r.root.next
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
