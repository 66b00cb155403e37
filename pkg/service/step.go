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

// The steps, in their order. A visit that ends early has the first ones and StepClosed.
const (
	StepAccepted     StepName = "accepted"      // the connection has its place and its goroutine
	StepProxyHeader  StepName = "proxy_header"  // Unwrap has read the PROXY header: Peer is the client that it announced
	StepAdmitted     StepName = "admitted"      // Admit did not refuse the client, or there is none
	StepTLSHandshake StepName = "tls_handshake" // the TLS handshake is done
	StepGreeting     StepName = "greeting"      // the whole greeting was handed to the kernel
	StepHalfClosed   StepName = "half_closed"   // the connection was closed for writing and lingers; missing if the client had gone
	StepClosed       StepName = "closed"        // the connection was closed, also where it did not linger
)

// A Step is one step of a visit; see [Server.Trace].
type Step struct {
	Peer
	Name    StepName
	Elapsed time.Duration // since Peer.Arrived

	Written int64                // of StepGreeting: its bytes
	TLS     *tls.ConnectionState // of StepTLSHandshake, else nil
	Visit   Visit                // of StepHalfClosed and StepClosed: how it ended
	Closed  CloseCause           // of StepClosed
}

// A CloseCause says why a connection was closed. The set is closed.
type CloseCause string

// The causes.
const (
	CloseVisitEnded CloseCause = "visit_ended"  // it did not linger: the outcome of the visit says why
	CloseByClient   CloseCause = "client"       // the client closed or reset it, as it should
	CloseTimeout    CloseCause = "timeout"      // the client did not close it within LingerTimeout
	CloseEvicted    CloseCause = "place_needed" // MaxConns was reached, or descriptors ran out, and another client came
	CloseShutdown   CloseCause = "shutdown"     // Shutdown or Close did
)

// closeCauses has the CloseCause of what the reaper says.
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
	flushed bool  // the visit has reported all of its own
	last    *Step // came from the reaper before that
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

// step reports a step, if somebody wants it.
func (v *visit) step(name StepName) {
	if v.trace != nil {
		v.trace.report(Step{Peer: v.peer, Name: name, Elapsed: time.Since(v.peer.Arrived), Written: v.written, Visit: v.trace.ended})
	}
}

// stepTLS reports the handshake of c, if somebody wants it.
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
func (v *visit) endTrace(ended Visit) {
	if v.trace != nil {
		v.trace.ended = ended
	}
}

// flushTrace reports the last step, if the connection is closed.
func (v *visit) flushTrace(lingers bool) {
	if v.trace == nil {
		return
	}
	if !lingers {
		v.trace.report(v.trace.lastStep(CloseVisitEnded))
		return
	}
	v.trace.flush()
}

// closed reports that the reaper has closed the connection. Where the visit has something to report
// itself, flush does it after that.
func (t *trace) closed(cause reaper.Cause) {
	step := t.lastStep(closeCauses[cause])
	t.mu.Lock()
	if !t.flushed {
		t.last = &step
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	t.report(step)
}

// flush lets closed report by itself, and reports what has come before.
func (t *trace) flush() {
	t.mu.Lock()
	t.flushed = true
	last := t.last
	t.mu.Unlock()
	if last != nil {
		t.report(*last)
	}
}

func (t *trace) lastStep(cause CloseCause) Step {
	return Step{
		Peer: t.ended.Peer, Name: StepClosed, Elapsed: time.Since(t.ended.Arrived),
		Visit: t.ended, Closed: cause,
	}
}
