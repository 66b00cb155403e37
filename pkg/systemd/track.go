package systemd

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// An http.Server closes every connection whose request it reads after Shutdown has begun, even if it
// accepted the client before. So Run calls Shutdown only when no connection waits for an answer, and
// when every connection is so old that its request must have arrived.
const (
	youngConnection = time.Second
	answersTick     = 10 * time.Millisecond
)

// connections has the connections that the listeners of the service have accepted, for Run.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
}

// A connection has the state of one of them.
type connection struct {
	all      *connections
	accepted time.Time
	waiting  atomic.Bool // data was read since the last write
}

// track returns a connection that replaces c and tracks its reads and writes. For a connection that is
// neither TCP nor unix it returns c: a server might notice the replacement.
func (cs *connections) track(c net.Conn) net.Conn {
	if cs == nil {
		return c
	}
	state := &connection{all: cs, accepted: time.Now()}
	var tracked net.Conn
	switch c := c.(type) {
	case *net.TCPConn:
		tracked = &tcpConn{c, state}
	case *net.UnixConn:
		tracked = &unixConn{c, state}
	default:
		return c
	}
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.open[state] = struct{}{}
	return tracked
}

// awaitAnswers waits until every client that was accepted has its answer, or until ctx is done.
func (cs *connections) awaitAnswers(ctx context.Context) {
	tick := time.NewTicker(answersTick)
	defer tick.Stop()
	for cs.unanswered() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (cs *connections) unanswered() bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.open {
		if c.waiting.Load() || time.Since(c.accepted) < youngConnection {
			return true
		}
	}
	return false
}

// read gets what a Read of the connection has returned, and returns the same.
func (c *connection) read(n int, err error) (int, error) {
	if n > 0 {
		c.waiting.Store(true)
	}
	return n, err
}

// wrote is like read, for a Write.
func (c *connection) wrote(n int, err error) (int, error) {
	if n > 0 {
		c.waiting.Store(false)
	}
	return n, err
}

func (c *connection) closed() {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	delete(c.all.open, c)
}

type tcpConn struct {
	*net.TCPConn
	state *connection
}

func (c *tcpConn) Read(b []byte) (int, error)  { return c.state.read(c.TCPConn.Read(b)) }
func (c *tcpConn) Write(b []byte) (int, error) { return c.state.wrote(c.TCPConn.Write(b)) }

// ReadFrom works with sendfile(2) if possible.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	_, _ = c.state.wrote(int(n), err)
	return n, err
}

func (c *tcpConn) Close() error {
	c.state.closed()
	return c.TCPConn.Close()
}

type unixConn struct {
	*net.UnixConn
	state *connection
}

func (c *unixConn) Read(b []byte) (int, error)  { return c.state.read(c.UnixConn.Read(b)) }
func (c *unixConn) Write(b []byte) (int, error) { return c.state.wrote(c.UnixConn.Write(b)) }

func (c *unixConn) Close() error {
	c.state.closed()
	return c.UnixConn.Close()
}
