package service

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// An Outcome is the one way in which a visit ended. The set is closed, so it can
// label a metric.
type Outcome string

// The outcomes.
const (
	Greeted  Outcome = "greeted"   // the whole greeting was handed to the kernel
	Refused  Outcome = "refused"   // Admit, Unwrap or TLS would not have the client; nothing was said
	HungUp   Outcome = "hung_up"   // the client left before the greeting was handed over
	TimedOut Outcome = "timed_out" // a deadline ended it
	Cut      Outcome = "cut"       // Shutdown or Close ended it
	Failed   Outcome = "failed"    // our own fault: the Greeter's error or panic, or a write that the system refused
)

// Outcomes lists every Outcome, in the order of the constants.
func Outcomes() []Outcome {
	return []Outcome{Greeted, Refused, HungUp, TimedOut, Cut, Failed}
}

// A Visit tells how one connection was served. It ends when its greeting is handed
// over and the connection half-closed, or when it is clear that this will not be.
type Visit struct {
	Peer
	Outcome Outcome
	Written int64         // bytes of the greeting that the kernel took
	Took    time.Duration // from Peer.Arrived to the end of the visit
	Err     error         // why the Outcome is not Greeted; nil if it is
}

// A PanicError is the Err of a visit whose Greeter, Admit, Unwrap or Opened panicked.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // the goroutine's stack, as [runtime/debug.Stack] formats it
}

// Error implements error. It does not contain the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

var (
	errCut  = errors.New("server shuts down")
	errExit = errors.New("greeter ended its goroutine")

	past = time.Unix(1, 0) // a deadline that interrupts

	greetings = sync.Pool{New: func() any { return new([]byte) }}
)

// largestKept is the capacity up to which a greeting's buffer is used again.
const largestKept = 64 << 10

// visit is one connection from its registration until it is settled.
type visit struct {
	acceptor *acceptor
	rules    *rules
	conn     net.Conn // as it was accepted
	peer     Peer
	written  int64
	leave    func()
	polite   bool // lingers though it was refused
	isCut    atomic.Bool
	lingerer lingerer // what becomes of it when it is settled

	prev, next *visit
}

func newVisit(a *acceptor, c net.Conn) *visit {
	remote, local := endsOf(c)
	return &visit{
		acceptor: a,
		conn:     c,
		peer: Peer{
			ID:       a.server.lastID.Add(1),
			Listener: a.Name,
			Remote:   remote,
			Local:    local,
			Arrived:  time.Now(),
		},
	}
}

func endsOf(c net.Conn) (remote, local netip.AddrPort) {
	if c, ok := c.(ender); ok {
		return c.ends()
	}
	return addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
}

// addrPort is the zero value for what is no IP address, such as a unix socket.
func addrPort(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// cut makes all I/O of v fail from now on.
func (v *visit) cut() {
	v.isCut.Store(true)
	_ = v.conn.SetDeadline(past)
}

// run serves v and settles it, whatever happens on the way.
func (v *visit) run() {
	defer v.acceptor.server.running.Done()
	outcome, err := Failed, errExit
	defer func() { v.settle(outcome, err) }()
	outcome, err = v.serve()
}

// serve takes v through the stages: PROXY header, admission, TLS, greeting.
func (v *visit) serve() (outcome Outcome, err error) {
	defer func() {
		if value := recover(); value != nil {
			outcome, err = Failed, &PanicError{value, debug.Stack()}
		}
	}()
	if o := v.acceptor.server.Observer; o != nil {
		o.Opened(v.peer)
	}

	manners := v.rules.manners[v.peer.Listener]
	stream := v.conn
	shakes := manners.unwrap != nil || manners.tls != nil
	if shakes {
		v.bound(v.conn.SetDeadline, v.peer.Arrived.Add(v.rules.shake))
	}
	if manners.unwrap != nil {
		if stream, err = v.unwrap(manners.unwrap); err != nil {
			return v.judge(err, Refused), err
		}
	}
	if v.rules.admit != nil {
		if v.leave, err = v.rules.admit(v.peer); err != nil {
			v.acceptor.server.reaper.sweep() // somebody may have left, and nobody has noticed
			v.leave, err = v.rules.admit(v.peer)
		}
		if err != nil {
			return Refused, err
		}
	}
	if manners.tls != nil {
		if stream, err = shakeHands(stream, manners.tls); err != nil {
			outcome = v.judge(err, Refused)
			v.polite = outcome == Refused // an alert may be on its way, or more of what was no TLS
			return outcome, err
		}
	}
	if shakes {
		v.bound(v.conn.SetReadDeadline, time.Time{}) // reading on is the reaper's
	}
	return v.greet(stream)
}

// unwrap takes off what a proxy put ahead, and learns who the client really is.
func (v *visit) unwrap(unwrap func(net.Conn) (net.Conn, error)) (net.Conn, error) {
	c, err := unwrap(v.conn)
	if err != nil {
		return nil, err
	}
	if c != v.conn {
		if remote := addrPort(c.RemoteAddr()); remote != v.peer.Remote {
			v.peer.Proxy, v.peer.Remote, v.peer.Local = v.peer.Remote, remote, addrPort(c.LocalAddr())
		}
	}
	return c, nil
}

// greet writes the greeting and half-closes.
func (v *visit) greet(c net.Conn) (Outcome, error) {
	if static, ok := v.rules.greeter.(Static); ok { // the same memory for all, however slowly they read
		return v.deliver(c, unsafe.Slice(unsafe.StringData(string(static)), len(static)))
	}
	buffer := greetings.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= largestKept {
			greetings.Put(buffer)
		}
	}()
	text, err := v.rules.greeter.AppendGreeting((*buffer)[:0], v.peer)
	if err != nil {
		return Failed, fmt.Errorf("greeting: %w", err)
	}
	*buffer = text
	return v.deliver(c, text)
}

func (v *visit) deliver(c net.Conn, text []byte) (Outcome, error) {
	var err error
	if v.written, err = v.say(c, text); err != nil {
		return v.judge(err, Failed), err
	}
	sayGoodbye(c) // a client that has gone got its greeting all the same
	return Greeted, nil
}

// say writes text to c. It sets the deadline only if it has to wait.
func (v *visit) say(c net.Conn, text []byte) (written int64, err error) {
	if c, ok := c.(quickWriter); ok && !v.isCut.Load() {
		n, err := c.writeQuick(text)
		written, text = int64(n), text[n:]
		if err != nil {
			return written, err
		}
	}
	if len(text) == 0 {
		return written, nil
	}
	v.bound(v.conn.SetWriteDeadline, time.Now().Add(v.rules.write))
	n, err := c.Write(text) // goes on after partial writes by itself
	return written + int64(n), err
}

// bound sets a deadline, unless v is cut.
func (v *visit) bound(set func(time.Time) error, t time.Time) {
	_ = set(t)
	if v.isCut.Load() {
		_ = v.conn.SetDeadline(past) // cut may have come between
	}
}

// judge says what an I/O error means; it is other where it means nothing known.
func (v *visit) judge(err error, other Outcome) Outcome {
	if v.isCut.Load() {
		return Cut
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return TimedOut
	}
	for _, gone := range []error{
		io.EOF, io.ErrUnexpectedEOF, io.ErrClosedPipe, net.ErrClosed,
		syscall.ECONNRESET, syscall.EPIPE, syscall.ENOTCONN, syscall.ECONNABORTED,
		syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ENETUNREACH,
	} {
		if errors.Is(err, gone) {
			return HungUp
		}
	}
	return other
}

// settle ends the visit: it closes the connection or hands it to the reaper, counts
// the outcome, and tells the observer. The reaper has it before the client sees the end, so
// that a client that comes again at once finds its place free.
func (v *visit) settle(outcome Outcome, err error) {
	if outcome == Cut {
		err = errCut
	}
	s := v.acceptor.server
	took := time.Since(v.peer.Arrived)
	var l *lingerer
	half, canHalf := v.conn.(halfCloser)
	if (outcome == Greeted || v.polite) && v.rules.linger > 0 && canHalf {
		l = &v.lingerer
		l.conn, l.socket, l.counters, l.leave = v.conn, socketOf(v.conn), v.acceptor.counters, v.leave
		l.until = v.peer.Arrived.Add(took + v.rules.linger)
		if outcome == Greeted && s.SpokeTLS != nil && v.rules.manners[v.peer.Listener].tls == nil {
			l.curious, l.peer = true, &v.peer
		}
	} else {
		v.hangUp(outcome)
	}
	told := Visit{Peer: v.peer, Outcome: outcome, Written: v.written, Took: took, Err: err}

	watched := false
	s.mu.Lock()
	s.visits.remove(v)
	c := v.acceptor.counters
	c.active--
	c.visits[outcome.index()]++
	c.bytes += uint64(v.written)
	if l != nil {
		s.lingering++
		c.lingering++
		watched = s.reaper.push(l)
	}
	s.wake()
	s.mu.Unlock()

	switch {
	case l != nil:
		err := half.CloseWrite()
		l.halved.Store(true)
		if err != nil { // the client has gone
			s.reaper.remove([]*lingerer{l})
		} else if !watched {
			s.reaper.watch(l)
		}
	case v.leave != nil:
		v.leave()
	}
	if s.Observer != nil {
		s.Observer.Closed(told)
	}
}

// hangUp closes the connection. A greeting that was not handed over whole ends with
// a reset: a clean end of file would make it look whole, and what the kernel still
// holds of it would stay there.
func (v *visit) hangUp(outcome Outcome) {
	if c, ok := v.conn.(interface{ SetLinger(seconds int) error }); ok && outcome != Greeted && v.written > 0 {
		_ = c.SetLinger(0)
	}
	_ = v.conn.Close()
}

// A halfCloser can say that it has said everything.
type halfCloser interface{ CloseWrite() error }

// left is called with lingering connections that are closed.
func (s *Server) left(gone []*lingerer) {
	s.mu.Lock()
	s.lingering -= len(gone)
	for _, l := range gone {
		l.counters.lingering--
	}
	s.wake()
	s.mu.Unlock()
	for _, l := range gone {
		if l.leave != nil {
			l.leave()
		}
	}
}

// heard is called with the first words of a client that was greeted in plain text.
func (s *Server) heard(l *lingerer, first []byte) {
	if beginsTLS(first) {
		s.SpokeTLS(*l.peer)
	}
}

// visitList is a ring of visits, so that one leaves it at no cost.
type visitList struct {
	root visit
	len  int
}

func (l *visitList) init() { l.root.prev, l.root.next = &l.root, &l.root }

func (l *visitList) push(v *visit) {
	v.prev, v.next = l.root.prev, &l.root
	v.prev.next, v.next.prev = v, v
	l.len++
}

func (l *visitList) remove(v *visit) {
	v.prev.next, v.next.prev = v.next, v.prev
	v.prev, v.next = nil, nil
	l.len--
}

func (l *visitList) all() iter.Seq[*visit] {
	return func(yield func(*visit) bool) {
		for v := l.root.next; v != &l.root; v = v.next {
			if !yield(v) {
				return
			}
		}
	}
}
