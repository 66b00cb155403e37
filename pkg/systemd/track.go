package systemd

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// An http.Server cuts every connection whose request is read after Shutdown has begun,
// though the client was accepted before. So Run calls Shutdown when no connection waits
// for an answer any more, and none is so young that its request may still be on its way.
const (
	youngConnection = time.Second
	answersTick     = 10 * time.Millisecond
)

// connections are those that the service's listeners have accepted, for Run.
type connections struct {
	mu   sync.Mutex
	open map[*connection]struct{}
}

// A connection is what is known about one of them.
type connection struct {
	all      *connections
	accepted time.Time
	waiting  bool // something was read since the last write; guarded by all.mu
}

// track returns c, or what takes its place to keep count. Only TCP and unix connections
// can be replaced without a server's noticing.
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

// Read implements io.Reader.
func (c *tcpConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.state.moved(int64(n), true)
	return n, err
}

// Write implements io.Writer.
func (c *tcpConn) Write(b []byte) (int, error) {
	n, err := c.TCPConn.Write(b)
	c.state.moved(int64(n), false)
	return n, err
}

// ReadFrom implements io.ReaderFrom, by sendfile(2) where that can be.
func (c *tcpConn) ReadFrom(r io.Reader) (int64, error) {
	n, err := c.TCPConn.ReadFrom(r)
	c.state.moved(n, false)
	return n, err
}

// Close implements io.Closer.
func (c *tcpConn) Close() error {
	c.state.closed()
	return c.TCPConn.Close()
}

type unixConn struct {
	*net.UnixConn
	state *connection
}

// Read implements io.Reader.
func (c *unixConn) Read(b []byte) (int, error) {
	n, err := c.UnixConn.Read(b)
	c.state.moved(int64(n), true)
	return n, err
}

// Write implements io.Writer.
func (c *unixConn) Write(b []byte) (int, error) {
	n, err := c.UnixConn.Write(b)
	c.state.moved(int64(n), false)
	return n, err
}

// Close implements io.Closer.
func (c *unixConn) Close() error {
	c.state.closed()
	return c.UnixConn.Close()
}
