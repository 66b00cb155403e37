package service

import (
	"fmt"
	"time"
)

// An Outcome is the one way in which a visit ended. The set is closed, so it can
// label a metric.
type Outcome string

// The outcomes.
const (
	Greeted  Outcome = "greeted"   // the whole greeting was handed to the kernel
	Refused  Outcome = "refused"   // Admit, Unwrap or TLS refused the client; nothing was sent
	HungUp   Outcome = "hung_up"   // the client left before the greeting was handed over
	TimedOut Outcome = "timed_out" // a deadline ended it
	Cut      Outcome = "cut"       // Shutdown or Close ended it
	Failed   Outcome = "failed"    // our own fault: the Greeter's error or panic, or a write that the system refused
)

// Outcomes lists every Outcome, in the order of the constants.
func Outcomes() []Outcome {
	return []Outcome{Greeted, Refused, HungUp, TimedOut, Cut, Failed}
}

// index is the place of o in Outcomes.
func (o Outcome) index() int {
	switch o {
	case Greeted:
		return 0
	case Refused:
		return 1
	case HungUp:
		return 2
	case TimedOut:
		return 3
	case Cut:
		return 4
	default:
		return 5
	}
}

// A Visit is how one connection was served. It ends when its greeting is handed
// over and the connection half-closed, or when it is clear that this will not be.
type Visit struct {
	Peer
	Outcome Outcome
	Reason  Reason        // why the Outcome is not Greeted, one of Outcome.Reasons; "" if it is
	Written int64         // bytes of the greeting that the kernel took
	Took    time.Duration // from Peer.Arrived to the end of the visit
	Err     error         // the same in words; nil if it is Greeted
}

// A PanicError is the Err of a visit whose Greeter, Admit, Unwrap or Opened panicked.
type PanicError struct {
	Value any    // what panic was called with
	Stack []byte // the goroutine's stack, as [runtime/debug.Stack] formats it
}

// Error implements error. It does not contain the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }
