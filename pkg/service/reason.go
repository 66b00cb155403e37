package service

import (
	"errors"
	"slices"
)

// A Reason says why a visit was not greeted, more closely than its Outcome. The set is closed, so
// it can label a metric. [Outcome.Reasons] says which reasons an outcome can have.
type Reason string

// The reasons. A visit that was greeted has none: "".
const (
	ReasonDenied         Reason = "denied"           // Admit refused the client
	ReasonOverLimit      Reason = "over_limit"       // Admit refused the client because its source is over a limit
	ReasonNoProxyHeader  Reason = "no_proxy_header"  // Unwrap got no PROXY header, or not all of it
	ReasonBadProxyHeader Reason = "bad_proxy_header" // Unwrap can't read the PROXY header
	ReasonTLSClient      Reason = "tls_client"       // the client did not do its part of the TLS handshake
	ReasonTLSOurs        Reason = "tls_ours"         // the client said that it does not accept our certificate
	ReasonClientLeft     Reason = "client_left"      // the client closed or reset the connection while it was sent its greeting
	ReasonSlowClient     Reason = "slow_client"      // the client did not read its greeting within WriteTimeout
	ReasonServerFull     Reason = "server_full"      // another client needed the place before the client had done its handshake
	ReasonShutdown       Reason = "shutdown"         // Shutdown or Close ended the visit
	ReasonGreeting       Reason = "greeting"         // the Greeter returned an error
	ReasonPanic          Reason = "panic"            // Greeter, Admit, Unwrap or Opened panicked
	ReasonSystem         Reason = "system"           // the system refused to send the greeting
)

// reasons has what each Outcome can have, in the order of Outcomes.
var reasons = [...][]Reason{
	{}, // greeted
	{ReasonDenied, ReasonOverLimit, ReasonNoProxyHeader, ReasonBadProxyHeader, ReasonTLSClient, ReasonTLSOurs},
	{ReasonClientLeft, ReasonNoProxyHeader, ReasonTLSClient},
	{ReasonSlowClient, ReasonNoProxyHeader, ReasonTLSClient, ReasonServerFull},
	{ReasonShutdown},
	{ReasonSystem, ReasonGreeting, ReasonPanic},
}

// Reasons lists the reasons that o can have; none for [Greeted].
func (o Outcome) Reasons() []Reason { return slices.Clone(reasons[o.index()]) }

// mostReasons is how many reasons one Outcome has at most.
const mostReasons = 6

// reasonOf returns the Reason of a visit that err ended with outcome in a stage whose failures
// usually mean usual. An error of Unwrap or Admit may say another one by a method Reason.
func reasonOf(outcome Outcome, err error, usual Reason) Reason {
	possible := reasons[outcome.index()]
	if reasoned, ok := errors.AsType[interface {
		error
		Reason() Reason
	}](err); ok && slices.Contains(possible, reasoned.Reason()) {
		return reasoned.Reason()
	}
	if slices.Contains(possible, usual) || len(possible) == 0 {
		return usual
	}
	return possible[0]
}
