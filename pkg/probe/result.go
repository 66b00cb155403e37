package probe

import (
	"net/netip"
	"time"
)

// A Status says how a probe ended. The set is closed, so a Status can be a label of a metric.
type Status string

// The statuses.
const (
	OK              Status = "ok"                // the greeting is complete, and as expected
	ResolveFailed   Status = "resolve_failed"    // the name has no address, or could not be resolved
	Refused         Status = "refused"           // the connection was refused
	Unreachable     Status = "unreachable"       // there is no route to the host
	ConnectTimeout  Status = "connect_timeout"   // no connection in time
	TLSFailed       Status = "tls_failed"        // the TLS handshake failed, or the certificate is not trusted
	NoGreeting      Status = "no_greeting"       // connected, but no byte was received in time
	Partial         Status = "partial"           // only part of the greeting was received in time
	Closed          Status = "closed"            // the server closed the connection before it sent anything
	Reset           Status = "reset"             // the server reset the connection before the greeting was complete
	Mismatch        Status = "mismatch"          // the greeting is complete, but not as expected
	Rejected        Status = "rejected"          // the greeting or an answer matches a rejected pattern
	LocalError      Status = "local_error"       // an error on this machine: descriptors, source address, ports
	Canceled        Status = "canceled"          // the context was canceled
	RefusedByServer Status = "refused_by_server" // the greeting, or an answer of the server, is a refusal
	WrongProtocol   Status = "wrong_protocol"    // the greeting does not belong to Probe.Protocol
	InvalidTarget   Status = "invalid_target"    // the target is not valid
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

// An End says what ended a greeting. The set is closed.
type End string

// The ends.
const (
	EndLine    End = "line"    // the final line or packet
	EndMatch   End = "match"   // an expected or rejected pattern was found
	EndEOF     End = "eof"     // the server closed the connection
	EndMax     End = "max"     // Probe.MaxBytes was reached
	EndIdle    End = "idle"    // the server was silent for Probe.Idle
	EndTimeout End = "timeout" // Probe.Read, Probe.Total or the context's deadline passed
	EndReset   End = "reset"   // the server reset the connection
)

// A Result has everything about one probe. Its JSON form is the schema greetprobe/1.
type Result struct {
	Time     time.Time // start of the probe, with a monotonic reading
	Target   Target
	Status   Status
	Phase    Phase // the phase in which the probe ended; PhaseDone if Status is OK
	Err      error // one sentence without the target; nil if Status is OK
	Local    string
	Remote   string // like Local, the text of the net.Addr; both are "" without a connection
	Family   int    // 4 or 6; 0 without a connection, or with a unix socket
	Attempts []Attempt
	Timing   Timing
	TCP      *TCP         // nil: not TCP, not reached, or not available on this system
	Greeting *Greeting    // nil: not reached, or not requested
	Protocol Protocol     // protocol of the greeting; "" if not reached, or if several are possible; [Plain]: unknown
	Software string       // software that the greeting names; "" if it names none
	Version  string       // version of Software; "" if the greeting has none
	Refusal  *Refusal     // nil unless the greeting is a refusal
	Expect   *Expect      // nil: not reached, or Expect and Reject of the Probe are empty
	TLS      *TLS         // nil: not reached, or not requested
	Steps    []StepResult // the results of those Probe.Steps that were reached
}

// An Attempt is an attempt to connect to one address. Start and End are counted from Time of the
// Result.
type Attempt struct {
	Addr       netip.AddrPort
	Start, End time.Duration
	Result     AttemptResult
	Err        error // nil if connected
}

// An AttemptResult says how an attempt to connect ended. The set is closed.
type AttemptResult string

// The results of an attempt.
const (
	AttemptConnected   AttemptResult = "connected"
	AttemptRefused     AttemptResult = "refused"
	AttemptUnreachable AttemptResult = "unreachable"
	AttemptTimeout     AttemptResult = "timeout"
	AttemptReset       AttemptResult = "reset"    // connected, and reset at once
	AttemptCanceled    AttemptResult = "canceled" // another address was faster, or the context was canceled
	AttemptLocalError  AttemptResult = "local_error"
)

// Timing has the duration of each step; nil means that the step was not reached, or not completed.
// Resolve, Connect, Proxy, TLS and Greeting follow each other without overlap. FirstByte and
// Greeting are both counted from the moment when the server could first send: after connecting, the
// PROXY header and TLS.
type Timing struct {
	Resolve   *time.Duration // 0 for an address and a unix socket
	Connect   *time.Duration // for all addresses together
	Proxy     *time.Duration // sending the PROXY header
	TLS       *time.Duration // the handshake, including STARTTLS before it
	FirstByte *time.Duration
	Greeting  *time.Duration
	Total     time.Duration // the whole probe
}

// TCP has data of the kernel about the connection (TCP_INFO, see tcp(7)).
type TCP struct {
	RTT        time.Duration // smoothed round-trip time, at the end; 0 if none was measured
	SynRetrans int           // number of SYNs that were sent again: the first after 1 s, the next after 3 s
}

// A Greeting is the greeting of the server.
type Greeting struct {
	Bytes     []byte // the exact bytes, up to the end of the greeting
	Truncated bool   // the greeting has more than Probe.MaxBytes
	End       End    // empty if the probe was canceled
}

// Expect says which pattern decided about the greeting.
type Expect struct {
	Matched bool   `json:"matched"` // the greeting is as expected
	Pattern string `json:"pattern"` // the pattern that was found or rejected; or the missing ones, joined by " | "
}

// TLS describes the TLS handshake.
type TLS struct {
	Version    string // such as "TLS 1.3"; "" if the handshake ended before
	Cipher     string
	ServerName string // the name that was sent, and compared with the certificate
	Verified   bool   // the certificate is trusted, and valid for ServerName
	Problem    string // why Verified is false
	Subject    string // Subject, Issuer, Names, NotBefore and NotAfter are those of the server's certificate
	Issuer     string
	Names      []string // DNS names and IP addresses
	NotBefore  time.Time
	NotAfter   time.Time

	// The certificate of the chain that expires first. The chain ends at the authority if it is
	// trusted, else with the last certificate that the server sent.
	ChainNotAfter time.Time
	ChainSubject  string

	Old []string // parameters that are too old to be safe: version, cipher suite, signature, key
}
