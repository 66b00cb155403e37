package service

import (
	"errors"
	"slices"
)

// A Reason says why a visit was not greeted, in more detail than its Outcome. The set is closed, so a
// Reason can be a label of a metric. [Outcome.Reasons] lists the reasons that an Outcome can have.
type Reason string

// The reasons. A visit that was greeted has none: "".
const (
	ReasonDenied         Reason = "denied"           // Admit refused the client
	ReasonOverLimit      Reason = "over_limit"       // Admit refused the client because its source is over a limit
	ReasonNoProxyHeader  Reason = "no_proxy_header"  // Unwrap received no PROXY header, or only a part of it
	ReasonBadProxyHeader Reason = "bad_proxy_header" // Unwrap can't read the PROXY header
	ReasonTLSClient      Reason = "tls_client"       // the client did not complete the TLS handshake
	ReasonTLSOurs        Reason = "tls_ours"         // the client sent a TLS alert that it does not accept the server's certificate
	ReasonClientLeft     Reason = "client_left"      // the client closed or reset the connection before it received the whole greeting
	ReasonSlowClient     Reason = "slow_client"      // the client did not read its greeting within WriteTimeout
	ReasonServerFull     Reason = "server_full"      // MaxConns was reached, and the client had not completed its PROXY header or TLS handshake in time
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

// mostReasons is the largest number of reasons that an Outcome has.
const mostReasons = 6

// reasonOf returns the Reason of a visit that ended with outcome because of err. usual is the usual
// reason in that stage of the visit. An error of Unwrap or Admit can have another reason, which its
// method Reason returns.
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
