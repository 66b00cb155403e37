package service

import (
	"fmt"
	"slices"
	"time"
)

// An Outcome says how a visit ended. Each visit has exactly one Outcome. The set is closed, so an
// Outcome can be a label of a metric.
type Outcome string

// The outcomes.
const (
	Greeted  Outcome = "greeted"   // the whole greeting was handed to the kernel
	Refused  Outcome = "refused"   // Admit, Unwrap or TLS refused the client; nothing was sent
	HungUp   Outcome = "hung_up"   // the client left before the greeting was handed over
	TimedOut Outcome = "timed_out" // a deadline ended it
	Cut      Outcome = "cut"       // Shutdown or Close ended it
	Failed   Outcome = "failed"    // an error of the server: the Greeter returned an error or panicked, or the system refused a write
)

var outcomes = [...]Outcome{Greeted, Refused, HungUp, TimedOut, Cut, Failed}

// Outcomes lists every Outcome, in the order of the constants.
func Outcomes() []Outcome { return slices.Clone(outcomes[:]) }

// index is the place of o in Outcomes. An unknown Outcome counts as Failed.
func (o Outcome) index() int {
	if i := slices.Index(outcomes[:], o); i >= 0 {
		return i
	}
	return len(outcomes) - 1
}

// A Visit describes how one connection was served. A visit ends when the greeting was handed to the
// kernel and the connection was half-closed, or when this is no longer possible.
type Visit struct {
	Peer
	Outcome Outcome
	Reason  Reason        // why the client was not greeted, one of Outcome.Reasons; "" if it was greeted
	Written int64         // bytes of the greeting that were handed to the kernel
	Took    time.Duration // from Peer.Arrived to the end of the visit
	Err     error         // details of the Reason; nil if the client was greeted
}

// A PanicError is the Err of a visit whose Greeter, Admit, Unwrap or Opened panicked.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // the goroutine's stack, as [runtime/debug.Stack] formats it
}

// Error implements error. It does not contain the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
