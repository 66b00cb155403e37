package service

import "time"

// An Outcome is the one way in which a visit ended. The set is closed, so it can
// label a metric.
type Outcome string

const (
	Greeted  Outcome = "greeted"   // the whole greeting was handed to the kernel
	Refused  Outcome = "refused"   // Admit said no; nothing was sent
	HungUp   Outcome = "hung_up"   // the client left before the greeting was handed over
	TimedOut Outcome = "timed_out" // a deadline ended it
	Cut      Outcome = "cut"       // Shutdown or Close ended it
	Failed   Outcome = "failed"    // our own fault: the Greeter's error or panic
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
