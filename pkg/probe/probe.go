package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	proxyproto "github.com/pires/go-proxyproto"
)

// Defaults of a zero [Probe].
const (
	DefaultConnect  = 5 * time.Second
	DefaultRead     = 10 * time.Second
	DefaultTotal    = 15 * time.Second
	DefaultIdle     = 2 * time.Second
	DefaultMaxBytes = 4096
)

// A Probe has the settings of a probe. The zero value works. The methods do not change it, and may
// be called by many goroutines at once. It may be copied.
type Probe struct {
	Connect  time.Duration // time for connecting, for all addresses together; 0 means 5 s
	Read     time.Duration // time from the connection to the complete greeting; 0 means 10 s
	Total    time.Duration // time for the whole probe, including name resolution; 0 means 15 s
	Idle     time.Duration // silence after which a greeting without newline is complete; 0 means 2 s, negative: never
	MaxBytes int           // maximum size of a greeting; 0 means 4096

	Family int        // 4 or 6: use only IPv4 or IPv6; 0: both (RFC 8305)
	Source netip.Addr // local address; the zero value: chosen by the system

	Protocol  Protocol  // protocol of the server; "": guessed from the greeting, [Plain]: any text
	Expect    []Pattern // one of these must be in the greeting; empty: any greeting is expected
	ExpectAll bool      // all of Expect must be in the greeting
	Reject    []Pattern // none of these may be in the greeting

	Send      string // text to send after the greeting; the answer of the server is part of the greeting
	SendFirst bool   // send Send right after connecting, without waiting for a greeting
	Quit      string // text to send after a complete greeting; the server then has 1 s to hang up

	TLS         *tls.Config // use TLS: from the start, or later with StartTLS or a TLSStep; nil: the zero Config for these two, else no TLS
	StartTLS    StartTLS    // start TLS after the greeting, which then ends with its final line even if Expect is set
	EHLO        string      // name of the client in SMTP and LMTP; "": its address
	Steps       []Step      // a conversation after the greeting, and after StartTLS
	Proxy       int         // 1 or 2: begin with a PROXY header of this version; 0: no header
	ConnectOnly bool        // the probe ends after connecting and TLS; not with StartTLS
	HangUp      HangUp

	// Dial, if not nil, makes connections in place of the kernel. network is "tcp4", "tcp6" or
	// "unix", and address is an IP address and port, or a path. Dial must return soon after ctx is
	// done.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Resolve, if not nil, finds addresses in place of net.Resolver. network is "ip4" or "ip6".
	// Resolve must return soon after ctx is done.
	Resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// StartTLS is the protocol whose command starts TLS; "" is none.
type StartTLS = Protocol

// HangUp says how a probe closes its connection.
type HangUp int

// The ways to hang up.
const (
	Politely HangUp = iota // FIN
	Abruptly               // RST, which leaves no socket in TIME_WAIT
)

// Do probes target. It returns when the probe has ended and the connection is closed: within Total,
// or soon after ctx is done. If ctx is canceled, the status is [Canceled]; if its deadline passes,
// the effect is that of Total. If p is not valid or ctx is nil, the status is [LocalError]; for a
// target without host or port it is [InvalidTarget].
func (p *Probe) Do(ctx context.Context, target Target) Result {
	return p.do(ctx, time.Now(), target, nil)
}

// do probes target; the probe began at now. known, if not nil, has the results of the lookups.
func (p *Probe) do(ctx context.Context, now time.Time, target Target, known *resolved) Result {
	whole, err := p.valid(ctx, target)
	if err != nil {
		return invalid(target, err)
	}
	ctx, cancel := p.within(ctx, now)
	defer cancel()
	r := run{p: p, Result: Result{Time: now, Target: whole}}
	r.probe(ctx, known)
	if !r.timed {
		r.Timing.Total = time.Since(now)
	}
	r.Target = target // as the caller knows it
	return r.Result
}

// within returns ctx with the deadline for all of a probe that began at now.
func (p *Probe) within(ctx context.Context, now time.Time) (context.Context, context.CancelFunc) {
	total := cmp.Or(p.Total, DefaultTotal)
	return context.WithDeadlineCause(ctx, now.Add(total), allowance{total, " in all"})
}

func (r *run) probe(ctx context.Context, known *resolved) {
	conn := r.connect(ctx, known)
	if conn == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { interrupt(conn) })
	defer stop()
	w := newWire(ctx, conn, cmp.Or(r.p.Read, DefaultRead))
	defer r.hangUp(conn, w)
	complete := r.converse(w) //nolint:contextcheck // w has it
	r.Timing.Total, r.timed = time.Since(r.Time), true
	if now := tcpInfo(conn); now != nil {
		r.TCP.RTT = now.RTT // also measured with data, which has arrived by now
	}
	if complete {
		r.bye(w)
	}
}

// converse makes all phases after connecting, sets the status, and reports whether the connection still
// works.
func (r *run) converse(w *wire) bool {
	if !r.announce(w) || r.p.tlsFirst() && !r.handshake(w, time.Now()) {
		return false
	}
	if r.p.ConnectOnly {
		r.Phase, r.Status = PhaseDone, OK
		return true
	}
	var rest []byte
	if r.p.StartTLS == "" || r.p.StartTLS.Greets() {
		var complete bool
		if rest, complete = r.greet(w); !complete || r.Status != "" || !r.checkPatterns() {
			return complete
		}
	}
	if r.p.StartTLS != "" {
		if !r.upgrade(w, r.p.StartTLS, rest) {
			return r.plain
		}
		rest = nil
	}
	if !r.conversation(w, rest) {
		return false
	}
	r.Phase, r.Status = PhaseDone, OK
	return true
}

// announce sends a PROXY header with the connection's own addresses, and reports
// whether it could. On a unix socket it says that they are unknown.
func (r *run) announce(w *wire) bool {
	if r.p.Proxy == 0 {
		return true
	}
	began := time.Now()
	header := proxyproto.HeaderProxyFromAddrs(byte(r.p.Proxy), w.LocalAddr(), w.RemoteAddr())
	if _, err := header.WriteTo(w); err != nil {
		r.broken(w, PhaseProxy, Reset, fmt.Errorf("send the PROXY header: %w", reason(err)))
		return false
	}
	r.Timing.Proxy = since(began)
	return true
}

func (p *Probe) tlsFirst() bool {
	later := p.StartTLS != "" || slices.ContainsFunc(p.Steps, Step.StartsTLS)
	return p.TLS != nil && !later
}

// lastWord is the time that a server has to hang up after Quit.
const lastWord = time.Second

// bye sends Quit, or the command of the protocol that ends the session, and then waits for the server to hang up.
func (r *run) bye(w *wire) {
	if r.p.Quit == "" {
		r.leave(w)
		return
	}
	w.wait(lastWord)
	if _, err := io.WriteString(w, r.p.Quit); err == nil {
		_, _ = io.CopyN(io.Discard, w, 64<<10)
	}
}

// hangUp closes w, which is conn, or TLS over it.
func (r *run) hangUp(conn net.Conn, w *wire) {
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok && r.p.HangUp == Abruptly {
		_ = tcp.SetLinger(0)
	}
	_ = w.Close()
}
