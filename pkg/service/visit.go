package service

import (
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"greetd.example/pkg/service/internal/reaper"
)

// largestKept is the largest capacity of a greeting's buffer that is kept for reuse.
const largestKept = 64 << 10

var greetings = sync.Pool{New: func() any { return new([]byte) }}

// A host has what the visits of one listener share.
type host struct {
	name        string
	connections *connections
	counters    *counters
	observer    Observer
	trace       func(Peer) func(Step) // nil: no steps are reported
	sniffTLS    bool                  // whether plain-text clients are checked for TLS
	rules       atomic.Pointer[rules]
}

// visit is one connection from its registration to its outcome.
type visit struct {
	connection

	host    *host
	rules   *rules
	written int64
	reason  Reason // the reason of the visit if the present stage fails
}

func newVisit(h *host, c net.Conn, id uint64) *visit {
	v := &visit{host: h, reason: ReasonPanic}
	v.conn, v.counters = c, h.counters
	v.peer = Peer{ID: id, Listener: h.name, Arrived: time.Now()}
	v.peer.Remote, v.peer.Local = endsOf(c, false)
	return v
}

// endsOf returns the addresses of both ends. Direct connections return them without allocating. Unless
// ask is true they do not ask the kernel; then local may be the zero value.
func endsOf(c net.Conn, ask bool) (remote, local netip.AddrPort) {
	if c, ok := c.(interface {
		Ends(ask bool) (remote, local netip.AddrPort)
	}); ok {
		return c.Ends(ask)
	}
	return addrPort(c.RemoteAddr()), addrPort(c.LocalAddr())
}

// addrPort returns the zero value for an address that is not TCP, such as a unix socket.
func addrPort(addr net.Addr) netip.AddrPort {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// register registers v. resting is true while it waits for room. run must follow.
func (v *visit) register(resting *atomic.Bool) {
	shakes := v.host.rules.Load().handshakes()
	v.host.connections.begin(&v.connection, shakes, resting)
	v.rules = v.host.rules.Load() // one version from start to end
}

// run serves v, and finishes it in any case.
func (v *visit) run() {
	defer v.host.connections.running.Done()
	outcome, err := Failed, errExit
	defer func() { v.finish(outcome, err) }()
	outcome, err = v.serve()
}

// serve takes v through the stages: PROXY header, admission, TLS, greeting.
func (v *visit) serve() (outcome Outcome, err error) {
	defer func() {
		if value := recover(); value != nil {
			outcome, err, v.reason = Failed, &PanicError{value, debug.Stack()}, ReasonPanic
		}
	}()
	if !v.rules.OmitLocal && !v.peer.Local.IsValid() {
		_, v.peer.Local = endsOf(v.conn, true)
	}
	v.host.observer.Opened(v.peer)
	v.beginTrace()

	stream := v.conn
	handshakes := v.rules.handshakes()
	if handshakes {
		v.boundHandshake()
	}
	if v.rules.listener.Unwrap != nil {
		if stream, err = v.unwrap(); err != nil {
			return v.classify(err, Refused, ReasonNoProxyHeader), err
		}
		v.step(StepProxyHeader)
	}
	if err := v.admit(); err != nil {
		v.reason = reasonOf(Refused, err, ReasonDenied)
		return Refused, err
	}
	v.step(StepAdmitted)
	if v.rules.listener.TLS != nil {
		if stream, err = shakeHands(stream, v.rules.listener.TLS); err != nil {
			outcome = v.classify(err, Refused, blame(err))
			v.alertMayCome = outcome == Refused
			return outcome, err
		}
		v.stepTLS(stream)
	}
	if handshakes {
		if !v.host.connections.endHandshake(&v.connection) {
			return TimedOut, errGaveWay
		}
		v.setDeadline(v.conn.SetReadDeadline, time.Time{}) // from here on, the reaper reads
	}
	return v.greet(stream)
}

// heldBack is for how long the kernel keeps back a client that sends nothing, see Deferred of [Listener].
const heldBack = time.Second

// boundHandshake sets the deadline of the PROXY header and the TLS handshake. If the listener is
// deferred and the first read has to wait, then the client has been silent for a second already.
func (v *visit) boundHandshake() {
	end := v.peer.Arrived.Add(v.rules.HandshakeTimeout)
	v.setDeadline(v.conn.SetDeadline, end)
	if c, ok := v.conn.(interface{ BeforeWait(f func()) }); ok && v.rules.listener.Deferred {
		c.BeforeWait(func() { v.setDeadline(v.conn.SetDeadline, end.Add(-heldBack)) })
	}
}

// unwrap reads the PROXY header, which has the address of the client.
func (v *visit) unwrap() (net.Conn, error) {
	c, err := v.rules.listener.Unwrap(v.conn)
	if err != nil {
		return nil, err
	}
	if c != v.conn {
		if remote := addrPort(c.RemoteAddr()); remote != v.peer.Remote {
			v.peer.Proxy, v.peer.Remote, v.peer.Local = v.peer.Remote, remote, addrPort(c.LocalAddr())
			v.host.connections.announce(&v.connection)
		}
		if c, ok := c.(interface{ ProxyInfo() *ProxyInfo }); ok {
			v.peer.ProxyInfo = c.ProxyInfo()
		}
	}
	return c, nil
}

// admit calls Admit. If Admit refuses, admit makes the reaper close the connections whose clients have
// hung up unnoticed, and calls Admit again: the client may now be within its limit.
func (v *visit) admit() (err error) {
	if v.rules.Admit == nil {
		return nil
	}
	if v.leave, err = v.rules.Admit(v.peer); err != nil {
		v.host.connections.reaper.Sweep()
		v.leave, err = v.rules.Admit(v.peer)
	}
	return err
}

// greet writes the greeting to c; over TLS a close_notify follows.
func (v *visit) greet(c net.Conn) (Outcome, error) {
	if static, ok := v.rules.Greeter.(Static); ok { // all visits share its memory
		return v.send(c, unsafe.Slice(unsafe.StringData(string(static)), len(static)))
	}
	buffer := greetings.Get().(*[]byte)
	defer func() {
		if cap(*buffer) <= largestKept {
			greetings.Put(buffer)
		}
	}()
	text, err := v.rules.Greeter.AppendGreeting((*buffer)[:0], v.peer)
	if err != nil {
		v.reason = ReasonGreeting
		return Failed, fmt.Errorf("greeting: %w", err)
	}
	*buffer = text
	return v.send(c, text)
}

func (v *visit) send(c net.Conn, text []byte) (Outcome, error) {
	if err := v.write(c, text); err != nil {
		return v.classify(err, Failed, ""), err
	}
	v.step(StepGreeting)
	sendCloseNotify(c) // an error does not matter: the greeting was sent
	return Greeted, nil
}

// write writes text to c. It sets the deadline only if it has to wait.
func (v *visit) write(c net.Conn, text []byte) error {
	if c, ok := c.(interface{ WriteNow(b []byte) (int, error) }); ok && !v.isCut.Load() {
		n, err := c.WriteNow(text)
		v.written, text = int64(n), text[n:]
		if err != nil {
			return err
		}
	}
	if len(text) == 0 {
		return nil
	}
	v.setDeadline(v.conn.SetWriteDeadline, time.Now().Add(v.rules.WriteTimeout))
	n, err := c.Write(text) // Write continues after partial writes
	v.written += int64(n)
	return err
}

// setDeadline sets a deadline, unless v is cut or gives way.
func (v *visit) setDeadline(set func(time.Time) error, t time.Time) {
	_ = set(t)
	if v.isCut.Load() || v.shake.gaveWay.Load() {
		_ = v.conn.SetDeadline(past) // set may have overwritten this deadline
	}
}

// classify returns the outcome of a visit that ended because of err, or other if err is unknown. It
// also sets the reason; usual is the usual reason in this stage.
func (v *visit) classify(err error, other Outcome, usual Reason) Outcome {
	if v.isCut.Load() {
		return Cut
	}
	outcome := classify(err, other)
	v.reason = reasonOf(outcome, err, usual)
	return outcome
}

// finish ends the visit: it closes the connection or hands it to the reaper, counts the outcome,
// and reports it.
func (v *visit) finish(outcome Outcome, err error) {
	switch {
	case outcome == Cut:
		err, v.reason = errCut, ReasonShutdown
	case outcome == Greeted:
		v.reason = ""
	case outcome == TimedOut && v.shake.gaveWay.Load(): // set before the deadline that ended the handshake
		err, v.reason = errGaveWay, ReasonServerFull
	}
	ended := Visit{Peer: v.peer, Outcome: outcome, Reason: v.reason, Written: v.written, Took: time.Since(v.peer.Arrived), Err: err}
	lingers := v.prepareLinger(ended)
	if !lingers {
		v.hangUp(outcome)
	}
	v.endTrace(ended, lingers)
	v.host.connections.finish(&v.connection, ended, lingers)
	if lingers {
		if v.host.connections.reaper.HalfClose(&v.lingerer) {
			v.step(StepHalfClosed)
		}
	} else if v.leave != nil {
		v.leave()
	}
	v.host.observer.Closed(ended)
	v.flushTrace()
}

// prepareLinger fills in the Conn for the reaper, and reports whether the connection lingers.
func (v *visit) prepareLinger(ended Visit) bool {
	conn, ok := v.conn.(reaper.HalfCloser)
	if !ok || v.rules.LingerTimeout <= 0 || ended.Outcome != Greeted && !v.alertMayCome {
		return false
	}
	v.lingerer.Conn = conn
	v.lingerer.Until = ended.Arrived.Add(ended.Took + v.rules.LingerTimeout)
	v.lingerer.Sniff = v.host.sniffTLS && ended.Outcome == Greeted && v.rules.listener.TLS == nil
	return true
}

// hangUp closes the connection. If only a part of the greeting was handed to the kernel, it closes with
// a reset: after a clean end of file the client would think that the greeting is complete, and the
// kernel would keep the unsent part.
func (v *visit) hangUp(outcome Outcome) {
	if c, ok := v.conn.(interface{ SetLinger(seconds int) error }); ok && outcome != Greeted && v.written > 0 {
		_ = c.SetLinger(0)
	}
	_ = v.conn.Close()
}
