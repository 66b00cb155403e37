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

// A Conn is one connection of a Reaper. The exported fields are set before Add, and
// belong to the reaper from then on. The zero value is ready to be filled in.
type Conn struct {
	Conn  HalfCloser
	Until time.Time // when it is closed at the latest
	Owner any       // for the caller's functions: the reaper does not look at it
	Sniff bool      // whether onFirstBytes is to see what the client sends first

	Cause Cause // why it was closed; set before Closed is called

	socket     socket      // nil where Conn is no socket of the kernel
	fd         int32       // its number in the poll set; 0: it is not there, or not yet
	unlinked   bool        // it is out of the ring: the function that took it out closes it
	polled     bool        // Add has left it to the goroutine that all sockets share
	halfClosed atomic.Bool // closing it before would reset a client that has sent something

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
		after = after.prev // only when the linger timeout was changed on the way
	}
	c.prev, c.next = after, after.next
	c.prev.next, c.next.prev = c, c
}

func (r *ring) remove(c *Conn) {
	c.unlinked = true
	c.prev.next, c.next.prev = c.next, c.prev
}

// first returns the first to go, or nil.
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

// A socket is a connection with a descriptor. Those of package direct are sockets; on Linux others
// are made of what has SyscallConn.
type socket interface {
	// Control calls f with the number of the descriptor, which stays open until f returns. The
	// error says that it is closed.
	Control(f func(fd int)) error

	// Discard reads into waste once, without waiting, and returns EAGAIN where nothing
	// is there. 0 and another error, or none, say that nothing more will come.
	Discard(waste []byte) (int, error)
}
