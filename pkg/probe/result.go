package probe

import (
	"net/netip"
	"time"
)

// A Status is the one way in which a probe ended. The set is closed, so it can label
// a metric.
type Status string

// The statuses.
const (
	OK              Status = "ok"                // the greeting is complete, and as expected
	ResolveFailed   Status = "resolve_failed"    // no address for the name
	Refused         Status = "refused"           // nobody listens there
	Unreachable     Status = "unreachable"       // no way to the host
	ConnectTimeout  Status = "connect_timeout"   // nobody answered in time
	TLSFailed       Status = "tls_failed"        // no TLS, or a certificate that can't be trusted
	NoGreeting      Status = "no_greeting"       // connected, and not one byte in time
	Partial         Status = "partial"           // something was said, and not completed in time
	Closed          Status = "closed"            // hung up before it said anything
	Reset           Status = "reset"             // reset before the greeting was complete
	Mismatch        Status = "mismatch"          // complete, and not what was expected
	Rejected        Status = "rejected"          // contains what it must not
	LocalError      Status = "local_error"       // our own trouble: descriptors, source address, ports
	Canceled        Status = "canceled"          // the context was canceled
	RefusedByServer Status = "refused_by_server" // the greeting says that there is no service
	WrongProtocol   Status = "wrong_protocol"    // the greeting is not of Probe.Protocol
	InvalidTarget   Status = "invalid_target"    // what was given as the target can't be read as one
)

// Statuses lists every Status, in the order of the constants.
func Statuses() []Status {
	return []Status{
		OK, ResolveFailed, Refused, Unreachable, ConnectTimeout, TLSFailed, NoGreeting,
		Partial, Closed, Reset, Mismatch, Rejected, LocalError, Canceled, RefusedByServer, WrongProtocol, InvalidTarget,
	}
}

// A Phase is a step of a probe. The set is closed.
type Phase string

// The phases, in their order.
const (
	PhaseResolve  Phase = "resolve"
	PhaseConnect  Phase = "connect"
	PhaseProxy    Phase = "proxy"
	PhaseTLS      Phase = "tls"
	PhaseGreeting Phase = "greeting"
	PhaseMatch    Phase = "match"
	PhaseStep     Phase = "step"
	PhaseDone     Phase = "done"
)

// An End is what completed a greeting, or broke it off. The set is closed.
type End string

// The ends.
const (
	EndLine    End = "line"    // its final line or packet
	EndMatch   End = "match"   // an expected or rejected pattern was found
	EndEOF     End = "eof"     // the server closed
	EndMax     End = "max"     // Probe.MaxBytes
	EndIdle    End = "idle"    // quiet for Probe.Idle
	EndTimeout End = "timeout" // Probe.Read, Probe.Total or the context's deadline
	EndReset   End = "reset"   // the server reset the connection
)

// A Result is everything about one probe. Its JSON form is the schema greetprobe/1.
type Result struct {
	Time     time.Time // when it began, with a monotonic reading
	Target   Target
	Status   Status
	Phase    Phase // the step that ended it; PhaseDone if all is well
	Err      error // one sentence without the target; nil if Status is OK
	Local    string
	Remote   string // as net.Addr has it; "" if no connection was made, as Local
	Family   int    // 4 or 6; 0 if no connection was made, or to a unix socket
	Attempts []Attempt
	Timing   Timing
	TCP      *TCP         // nil: no TCP, not reached, or the system doesn't tell
	Greeting *Greeting    // nil: not reached, or not asked for
	Protocol Protocol     // whose greeting it is; "" if not reached, or if it may be several; [Plain]: none that is known
	Software string       // that the greeting names; "" if none
	Version  string       // of Software; "" if not named
	Refusal  *Refusal     // nil unless the greeting is a refusal
	Expect   *Expect      // nil: not reached, or nothing was expected or rejected
	TLS      *TLS         // nil: not reached, or not asked for
	Steps    []StepResult // those of Probe.Steps that were reached
}

// An Attempt is one address that was tried. Start and End count from Result.Time.
type Attempt struct {
	Addr       netip.AddrPort
	Start, End time.Duration
	Result     AttemptResult
	Err        error // nil if connected
}

// An AttemptResult is how an attempt to connect ended. The set is closed.
type AttemptResult string

// The results of an attempt.
const (
	AttemptConnected   AttemptResult = "connected"
	AttemptRefused     AttemptResult = "refused"
	AttemptUnreachable AttemptResult = "unreachable"
	AttemptTimeout     AttemptResult = "timeout"
	AttemptReset       AttemptResult = "reset"    // accepted, and reset at once
	AttemptCanceled    AttemptResult = "canceled" // another address was faster, or the context was canceled
	AttemptLocalError  AttemptResult = "local_error"
)

// Timing is how long each step took; nil means that it was not reached, or not
// completed. Resolve, Connect, Proxy, TLS and Greeting follow each other and don't
// overlap. FirstByte and Greeting both count from the moment when the server could
// speak: connected, and the PROXY header and TLS done.
type Timing struct {
	Resolve   *time.Duration // 0 for an address and a unix socket
	Connect   *time.Duration // all addresses together
	Proxy     *time.Duration // sending the PROXY header
	TLS       *time.Duration // the handshake, with the STARTTLS dialogue before it
	FirstByte *time.Duration
	Greeting  *time.Duration
	Total     time.Duration // all of the probe
}

// TCP is what the kernel knows of the connection (TCP_INFO, tcp(7)).
type TCP struct {
	RTT        time.Duration // smoothed round-trip time, at the end; 0 if none was measured
	SynRetrans int           // SYNs that had to be sent again, the first at 1 s, the next at 3 s
}

// A Greeting is what the server said.
type Greeting struct {
	Bytes     []byte // exactly as they came, and not one after the end
	Truncated bool   // there was more than Probe.MaxBytes
	End       End    // empty if the probe was canceled
}

// Expect says which pattern decided.
type Expect struct {
	Matched bool   // the greeting is as expected
	Pattern string // that was found, or rejected, or the missing ones, joined by " | "
}

// TLS describes the handshake.
type TLS struct {
	Version    string // as "TLS 1.3"; "" if the handshake didn't get so far
	Cipher     string
	ServerName string    // that was asked for and held against the certificate
	Verified   bool      // the certificate is good for ServerName
	Problem    string    // why Verified is false
	Subject    string    // of the server's certificate, as the rest
	Issuer     string    //
	Names      []string  // DNS names and addresses
	NotBefore  time.Time //
	NotAfter   time.Time //

	// The first certificate of the chain to expire, up to the authority if it is
	// trusted, else as far as the server sent it.
	ChainNotAfter time.Time
	ChainSubject  string

	Old []string // what is too old to be safe: version, cipher suite, signature, key; none: nothing
}
