package service

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"greetd.example/pkg/service/internal/reaper"
)

// A StepName names a step of a visit. The set is closed.
type StepName string

// The steps, in their order. A visit that ends early has only the first steps, and StepClosed.
const (
	StepAccepted     StepName = "accepted"      // the connection was accepted and has a goroutine
	StepProxyHeader  StepName = "proxy_header"  // Unwrap has read the PROXY header; Peer now has the client's address from it
	StepAdmitted     StepName = "admitted"      // Admit did not refuse the client, or is nil
	StepTLSHandshake StepName = "tls_handshake" // the TLS handshake is done
	StepGreeting     StepName = "greeting"      // the whole greeting was handed to the kernel
	StepHalfClosed   StepName = "half_closed"   // the connection was half-closed and lingers; missing if the client had already left
	StepClosed       StepName = "closed"        // the connection was closed, with or without lingering
)

// A Step is one step of a visit; see [Server.Trace].
type Step struct {
	Peer
	Name    StepName
	Elapsed time.Duration // since Peer.Arrived

	Written int64                // of StepGreeting: the number of bytes that were sent
	TLS     *tls.ConnectionState // of StepTLSHandshake: the result; else nil
	Visit   Visit                // of StepHalfClosed and StepClosed: the visit, which has ended
	Closed  CloseCause           // of StepClosed: why the connection was closed
}

// A CloseCause says why a connection was closed. The set is closed.
type CloseCause string

// The causes.
const (
	CloseVisitEnded CloseCause = "visit_ended"  // the visit ended without lingering; its outcome has the reason
	CloseByClient   CloseCause = "client"       // the client closed or reset it, as expected
	CloseTimeout    CloseCause = "timeout"      // the client did not close it within LingerTimeout
	CloseEvicted    CloseCause = "place_needed" // MaxConns was reached, or descriptors ran out, and a new client needed its place
	CloseShutdown   CloseCause = "shutdown"     // the server was shut down
)

// closeCauses has the CloseCause for each cause of the reaper.
var closeCauses = [...]CloseCause{
	reaper.ClientGone: CloseByClient,
	reaper.Expired:    CloseTimeout,
	reaper.Evicted:    CloseEvicted,
	reaper.Closing:    CloseShutdown,
}

// A trace reports the steps of one visit.
type trace struct {
	report func(Step)

	mu      sync.Mutex
	ended   Visit // the zero value until the visit has ended
	flushed bool  // the visit has reported all of its own steps
	last    *Step // the last step, when the connection was closed
}

// beginTrace asks whether the steps of v are to be reported, and reports the first.
func (v *visit) beginTrace() {
	if v.host.trace == nil {
		return
	}
	if report := v.host.trace(v.peer); report != nil {
		v.trace = &trace{report: report}
		v.step(StepAccepted)
	}
}

// step reports a step, if the visit is traced.
func (v *visit) step(name StepName) {
	if v.trace != nil {
		v.trace.report(Step{Peer: v.peer, Name: name, Elapsed: time.Since(v.peer.Arrived), Written: v.written, Visit: v.trace.ended})
	}
}

func (v *visit) stepTLS(c net.Conn) {
	if v.trace == nil {
		return
	}
	if c, ok := c.(*tls.Conn); ok {
		state := c.ConnectionState()
		v.trace.report(Step{Peer: v.peer, Name: StepTLSHandshake, Elapsed: time.Since(v.peer.Arrived), TLS: &state})
	}
}

// endTrace prepares for the steps that follow the end of the visit, before the reaper has the connection.
func (v *visit) endTrace(ended Visit, lingers bool) {
	if v.trace == nil {
		return
	}
	v.trace.ended = ended
	if !lingers {
		v.trace.closed(CloseVisitEnded)
	}
}

// closed reports that the connection was closed, or lets flush do this, after the visit's own steps.
func (t *trace) closed(cause CloseCause) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = &Step{
		Peer: t.ended.Peer, Name: StepClosed, Elapsed: time.Since(t.ended.Arrived),
		Visit: t.ended, Closed: cause,
	}
	if t.flushed {
		t.report(*t.last)
	}
}

// flushTrace makes closed report at once. If it was called before, flushTrace reports its step.
func (v *visit) flushTrace() {
	if v.trace == nil {
		return
	}
	v.trace.mu.Lock()
	defer v.trace.mu.Unlock()
	v.trace.flushed = true
	if v.trace.last != nil {
		v.trace.report(*v.trace.last)
	}
}
