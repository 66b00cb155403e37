package systemd

import (
	"context"
	"io"
	"net"
	"sync"
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
	waiting  bool // data was read since the last write; guarded by all.mu
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
		if c.waiting || time.Since(c.accepted) < youngConnection {
			return true
		}
	}
	return false
}

func (c *connection) moved(n int64, waiting bool) {
	if n <= 0 {
		return
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	c.waiting = waiting
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

func (c *tcpConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.state.moved(int64(n), true)
	return n, err
}

func (c *tcpConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.state.moved(int64(n), false)
	return n, err
}

// ReadFrom works with sendfile(2) if possible.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.state.moved(n, false)
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

func (c *unixConn) Read(b []byte) (int, error) {
	n, err := c.UnixConn.Read(b)
	c.state.moved(int64(n), true)
	return n, err
}

func (c *unixConn) Write(b []byte) (int, error) {
	n, err := c.UnixConn.Write(b)
	c.state.moved(int64(n), false)
	return n, err
}

func (c *unixConn) Close() error {
	c.state.closed()
	return c.UnixConn.Close()
}
