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

// Window is how many bytes a connection holds in each direction before a write waits.
const Window = 64 << 10

// A Listener takes the connections that Dial makes.
type Listener struct {
	addr     net.Addr
	backlog  chan *Conn
	closed   chan struct{}
	deadline deadline

	mu   sync.Mutex // also of sending to backlog and closing closed
	fail []error
	port uint16
}

// Listen makes a Listener that calls itself addr.
func Listen(addr string) *Listener {
	return &Listener{
		addr:     net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr)),
		backlog:  make(chan *Conn, 4096),
		closed:   make(chan struct{}),
		deadline: makeDeadline(),
		port:     40000,
	}
}

// Fail makes the next calls of Accept return these errors, one each.
func (l *Listener) Fail(errs ...error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = append(l.fail, errs...)
}

func (l *Listener) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fail) == 0 {
		return nil
	}
	err := l.fail[0]
	l.fail = l.fail[1:]
	return &net.OpError{Op: "accept", Net: "mem", Addr: l.addr, Err: err}
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	if err := l.failure(); err != nil {
		return nil, err
	}
	select {
	case <-l.closed:
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: l.addr, Err: net.ErrClosed}
	case <-l.deadline.wait():
		return nil, &net.OpError{Op: "accept", Net: "mem", Addr: l.addr, Err: os.ErrDeadlineExceeded}
	case c := <-l.backlog:
		return c, nil
	}
}

// SetDeadline bounds Accept.
func (l *Listener) SetDeadline(t time.Time) error {
	l.deadline.set(t)
	return nil
}

// Close implements [net.Listener]. As with TCP, connections in the backlog are reset.
func (l *Listener) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case <-l.closed:
		return &net.OpError{Op: "close", Net: "mem", Addr: l.addr, Err: net.ErrClosed}
	default:
	}
	close(l.closed)
	for {
		select {
		case c := <-l.backlog:
			c.Reset()
		default:
			return nil
		}
	}
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return l.addr }

// Dial connects from a port of its own at 192.0.2.7.
func (l *Listener) Dial() (*Conn, error) {
	l.mu.Lock()
	l.port++
	from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, 7}), l.port)
	l.mu.Unlock()
	return l.DialFrom(from)
}

// DialFrom connects from the address from.
func (l *Listener) DialFrom(from netip.AddrPort) (*Conn, error) {
	client, server := Pipe(net.TCPAddrFromAddrPort(from), l.addr)
	l.mu.Lock()
	defer l.mu.Unlock()
	failed := syscall.ECONNREFUSED
	select {
	case <-l.closed:
	default:
		select {
		case l.backlog <- server:
			return client, nil
		default:
			failed = syscall.ETIMEDOUT // TCP would try again first
		}
	}
	return nil, &net.OpError{Op: "dial", Net: "mem", Addr: l.addr, Err: failed}
}

// Conn is one end of a connection.
type Conn struct {
	in, out       *stream
	local, remote net.Addr
	read, write   deadline
	closed        chan struct{}

	mu         sync.Mutex
	lingerZero bool // Close resets
}

// Pipe makes both ends of a connection between two addresses.
func Pipe(a, b net.Addr) (atA, atB *Conn) {
	ab, ba := newStream(), newStream()
	return newConn(ba, ab, a, b), newConn(ab, ba, b, a)
}

func newConn(in, out *stream, local, remote net.Addr) *Conn {
	return &Conn{
		in: in, out: out, local: local, remote: remote,
		read: makeDeadline(), write: makeDeadline(), closed: make(chan struct{}),
	}
}

// Read implements [net.Conn].
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.await(&c.read, ready); err != nil { // even if there is something to read
		return 0, c.wrap("read", err)
	}
	for {
		n, err, changed := c.in.read(p)
		if n > 0 || err != nil || len(p) == 0 {
			return n, c.wrap("read", err)
		}
		if err := c.await(&c.read, changed); err != nil {
			return 0, c.wrap("read", err)
		}
	}
}

// Write implements [net.Conn].
func (c *Conn) Write(p []byte) (written int, err error) {
	if err := c.await(&c.write, ready); err != nil { // even if there is room
		return 0, c.wrap("write", err)
	}
	for {
		n, err, changed := c.out.write(p[written:])
		written += n
		if err != nil || written == len(p) {
			return written, c.wrap("write", err)
		}
		if err := c.await(&c.write, changed); err != nil {
			return written, c.wrap("write", err)
		}
	}
}

// ready is a change that has happened.
var ready = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// await waits for a change. A closed connection and a passed deadline come first.
func (c *Conn) await(d *deadline, changed <-chan struct{}) error {
	select {
	case <-c.closed:
		return net.ErrClosed
	case <-d.wait():
		return os.ErrDeadlineExceeded
	default:
	}
	select {
	case <-changed:
		return nil
	case <-c.closed:
		return net.ErrClosed
	case <-d.wait():
		return os.ErrDeadlineExceeded
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
	if err := c.open("close"); err != nil {
		return err
	}
	if !c.out.close() {
		return c.wrap("close", syscall.ENOTCONN)
	}
	return nil
}

// Close closes this end. As with TCP, input that was not read makes it a reset. That
// destroys what the other end has not read, as it may (RFC 9293, section 3.10.7.4), though
// Linux lets it be read.
func (c *Conn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.open("close"); err != nil {
		return err
	}
	close(c.closed)
	if c.lingerZero || c.in.unread() {
		c.Reset()
		return nil
	}
	c.out.close()
	c.in.abandon()
	return nil
}

// Reset resets the connection: the other end's reads and writes fail at once.
func (c *Conn) Reset() {
	c.out.reset()
	c.in.reset()
}

// SetLinger makes Close a reset for seconds = 0.
func (c *Conn) SetLinger(seconds int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lingerZero = seconds == 0
	return c.open("set")
}

// open is an error if this end is closed.
func (c *Conn) open(op string) error {
	select {
	case <-c.closed:
		return c.wrap(op, net.ErrClosed)
	default:
		return nil
	}
}

// LocalAddr implements [net.Conn].
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline implements [net.Conn].
func (c *Conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return c.open("set")
}

// SetReadDeadline implements [net.Conn].
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return c.open("set")
}

// SetWriteDeadline implements [net.Conn].
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	return c.open("set")
}

// A stream is one direction.
type stream struct {
	mu      sync.Mutex
	bytes   []byte
	end     error // what a reader gets after bytes
	broken  error // what a writer gets
	changed chan struct{}
}

func newStream() *stream { return &stream{changed: make(chan struct{})} }

func (s *stream) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *stream) read(p []byte) (n int, err error, changed <-chan struct{}) { //nolint:staticcheck // the channel belongs to "nothing yet"
	s.mu.Lock()
	defer s.mu.Unlock()
	if n = copy(p, s.bytes); n > 0 {
		s.bytes = s.bytes[n:]
		s.wake()
		return n, nil, nil
	}
	return 0, s.end, s.changed
}

func (s *stream) write(p []byte) (n int, err error, changed <-chan struct{}) { //nolint:staticcheck // as in read
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return 0, s.broken, nil
	}
	if n = min(len(p), Window-len(s.bytes)); n > 0 {
		s.bytes = append(s.bytes, p[:n]...)
		s.wake()
	}
	return n, nil, s.changed
}

// close ends the stream at the writer's side, and reports whether it was whole until then.
func (s *stream) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return s.broken == syscall.EPIPE //nolint:errorlint // our own
	}
	s.end, s.broken = io.EOF, syscall.EPIPE
	s.wake()
	return true
}

// abandon ends the stream at the reader's side.
func (s *stream) abandon() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = syscall.ECONNRESET
	s.wake()
}

func (s *stream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.end, s.broken = nil, syscall.ECONNRESET, syscall.ECONNRESET
	s.wake()
}

func (s *stream) unread() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.bytes) > 0
}

// A deadline is a channel that is closed when the time has come.
type deadline struct {
	mu    *sync.Mutex
	state *deadlineState
}

type deadlineState struct {
	timer  *time.Timer
	passed chan struct{}
}

func makeDeadline() deadline {
	return deadline{&sync.Mutex{}, &deadlineState{passed: make(chan struct{})}}
}

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state.passed
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.timer != nil {
		d.state.timer.Stop()
	}
	// Waiting calls use the old channel, so a past deadline must be signalled there.
	if !t.IsZero() && !t.After(time.Now()) {
		d.state.pass()
		d.state.timer = nil
		return
	}
	next := &deadlineState{passed: d.state.passed}
	select {
	case <-next.passed:
		next.passed = make(chan struct{})
	default:
	}
	d.state = next
	if t.IsZero() {
		return
	}
	next.timer = time.AfterFunc(time.Until(t), func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.state == next {
			next.pass()
		}
	})
}

func (s *deadlineState) pass() {
	select {
	case <-s.passed:
	default:
		close(s.passed)
	}
}
