// Package memnet is a network in memory for tests: listeners and connections that
// behave as TCP's do, with buffers of a size, half-close, reset and deadlines, and
// that work under the fake time of testing/synctest.
package memnet

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// Window is how many bytes a connection holds in each direction before a write waits.
	Window = 64 << 10

	maxBacklog = 4096
)

// A monitor is the lock of a listener, or of both ends of a connection, and where calls
// wait for a change.
type monitor struct {
	sync.Mutex
	changed sync.Cond
}

func newMonitor() *monitor {
	m := &monitor{}
	m.changed.L = m
	return m
}

// await waits until ready. A closed listener or connection and a passed deadline come
// first. The lock is held.
func (m *monitor) await(closed *bool, d *deadline, ready func() bool) error {
	for {
		switch {
		case *closed:
			return net.ErrClosed
		case d.passed:
			return os.ErrDeadlineExceeded
		case ready():
			return nil
		}
		m.changed.Wait()
	}
}

// A deadline ends waiting when its time has come.
type deadline struct {
	timer  *time.Timer
	passed bool
}

// set changes the deadline, also for calls that wait. The lock is held.
func (m *monitor) set(d *deadline, t time.Time) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.passed = !t.IsZero() && !t.After(time.Now())
	if !t.IsZero() && !d.passed {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			m.Lock()
			defer m.Unlock()
			d.passed = d.passed || d.timer == timer // the deadline may have changed meanwhile
			m.changed.Broadcast()
		})
		d.timer = timer
	}
	m.changed.Broadcast()
}

// A Listener takes the connections that Dial makes.
type Listener struct {
	*monitor
	addr     net.Addr
	backlog  []*Conn
	closed   bool
	deadline deadline
	fail     []error
	port     uint16
}

// Listen makes a Listener that calls itself addr.
func Listen(addr string) *Listener {
	return &Listener{monitor: newMonitor(), addr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)), port: 40000}
}

// Fail makes the next calls of Accept return these errors, one each.
func (l *Listener) Fail(errs ...error) {
	l.Lock()
	defer l.Unlock()
	l.fail = append(l.fail, errs...)
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	l.Lock()
	defer l.Unlock()
	if len(l.fail) > 0 {
		err := l.fail[0]
		l.fail = l.fail[1:]
		return nil, l.wrap("accept", err)
	}
	if err := l.await(&l.closed, &l.deadline, func() bool { return len(l.backlog) > 0 }); err != nil {
		return nil, l.wrap("accept", err)
	}
	c := l.backlog[0]
	l.backlog = l.backlog[1:]
	return c, nil
}

func (l *Listener) wrap(op string, err error) error {
	return &net.OpError{Op: op, Net: "mem", Addr: l.addr, Err: err}
}

// SetDeadline bounds Accept.
func (l *Listener) SetDeadline(t time.Time) error {
	l.Lock()
	defer l.Unlock()
	l.set(&l.deadline, t)
	return nil
}

// Close implements [net.Listener]. As with TCP, connections in the backlog are reset.
func (l *Listener) Close() error {
	l.Lock()
	defer l.Unlock()
	if l.closed {
		return l.wrap("close", net.ErrClosed)
	}
	l.closed = true
	l.changed.Broadcast()
	for _, c := range l.backlog {
		c.Reset()
	}
	return nil
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects from a port of its own at 192.0.2.7.
func (l *Listener) Dial() (*Conn, error) {
	l.Lock()
	l.port++
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 7}), l.port)
	l.Unlock()
	return l.DialFrom(from)
}

// DialFrom connects from the address from.
func (l *Listener) DialFrom(from netip.AddrPort) (*Conn, error) {
	client, server := Pipe(net.TCPAddrFromAddrPort(from), l.addr)
	l.Lock()
	defer l.Unlock()
	switch {
	case l.closed:
		return nil, l.wrap("dial", syscall.ECONNREFUSED)
	case len(l.backlog) == maxBacklog:
		return nil, l.wrap("dial", syscall.ETIMEDOUT) // TCP would try again first
	}
	l.backlog = append(l.backlog, server)
	l.changed.Broadcast()
	return client, nil
}

// Conn is one end of a connection.
type Conn struct {
	*monitor      // that of peer, too
	peer          *Conn
	local, remote net.Addr
	input         []byte // what was not read yet
	end           error  // what a reader gets after input; nil if there can be more
	broken        error  // what a writer gets; nil if this end can write
	read, write   deadline
	closed        bool
	lingerZero    bool // Close resets
}

// Pipe makes both ends of a connection between two addresses.
func Pipe(a, b net.Addr) (atA, atB *Conn) {
	m := newMonitor()
	atA = &Conn{monitor: m, local: a, remote: b}
	atB = &Conn{monitor: m, local: b, remote: a, peer: atA}
	atA.peer = atB
	return atA, atB
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (n int, err error) {
	c.Lock()
	defer c.Unlock()
	something := func() bool { return len(c.input) > 0 || c.end != nil || len(p) == 0 }
	if err := c.await(&c.closed, &c.read, something); err != nil {
		return 0, c.wrap("read", err)
	}
	if n = copy(p, c.input); n == 0 {
		return 0, c.wrap("read", c.end)
	}
	c.input = c.input[n:]
	c.changed.Broadcast()
	return n, nil
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (written int, err error) {
	c.Lock()
	defer c.Unlock()
	room := func() bool { return c.broken != nil || len(c.peer.input) < Window || len(p) == 0 }
	for {
		if err := c.await(&c.closed, &c.write, room); err != nil {
			return written, c.wrap("write", err)
		}
		if c.broken != nil {
			return written, c.wrap("write", c.broken)
		}
		n := min(len(p)-written, Window-len(c.peer.input))
		c.peer.input = append(c.peer.input, p[written:written+n]...)
		c.changed.Broadcast()
		if written += n; written == len(p) {
			return written, nil
		}
	}
}

func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // as net does it
		return err
	}
	return &net.OpError{Op: op, Net: "mem", Source: c.local, Addr: c.remote, Err: err}
}

// CloseWrite half-closes: the other end reads end of file after what was written.
func (c *Conn) CloseWrite() error {
	c.Lock()
	defer c.Unlock()
	if err := c.open("close"); err != nil {
		return err
	}
	if c.broken == syscall.ECONNRESET { //nolint:errorlint // our own
		return c.wrap("close", syscall.ENOTCONN)
	}
	c.endOutput()
	return nil
}

func (c *Conn) endOutput() {
	if c.broken == nil {
		c.broken, c.peer.end = syscall.EPIPE, io.EOF
	}
	c.changed.Broadcast()
}

// Close closes this end. As with TCP, input that was not read makes it a reset. That
// destroys what the other end has not read, as it may (RFC 9293, section 3.10.7.4), though
// Linux lets it be read.
func (c *Conn) Close() error {
	c.Lock()
	defer c.Unlock()
	if err := c.open("close"); err != nil {
		return err
	}
	c.closed = true
	if c.lingerZero || len(c.input) > 0 {
		c.reset()
		return nil
	}
	c.peer.broken = syscall.ECONNRESET
	c.endOutput()
	return nil
}

// Reset resets the connection: the other end's reads and writes fail at once.
func (c *Conn) Reset() {
	c.Lock()
	defer c.Unlock()
	c.reset()
}

func (c *Conn) reset() {
	for _, end := range []*Conn{c, c.peer} {
		end.input, end.end, end.broken = nil, syscall.ECONNRESET, syscall.ECONNRESET
	}
	c.changed.Broadcast()
}

// SetLinger makes Close a reset for seconds = 0.
func (c *Conn) SetLinger(seconds int) error {
	c.Lock()
	defer c.Unlock()
	c.lingerZero = seconds == 0
	return c.open("set")
}

// open is an error if this end is closed.
func (c *Conn) open(op string) error {
	if c.closed {
		return c.wrap(op, net.ErrClosed)
	}
	return nil
}

// LocalAddr implements [net.Conn].
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error { return c.setDeadlines(t, &c.read, &c.write) }

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error { return c.setDeadlines(t, &c.read) }

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.setDeadlines(t, &c.write) }

func (c *Conn) setDeadlines(t time.Time, deadlines ...*deadline) error {
	c.Lock()
	defer c.Unlock()
	for _, d := range deadlines {
		c.set(d, t)
	}
	return c.open("set")
}
