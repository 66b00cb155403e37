package probe

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Defaults of a zero [Probe].
const (
	DefaultConnect  = 5 * time.Second
	DefaultRead     = 10 * time.Second
	DefaultTotal    = 15 * time.Second
	DefaultIdle     = 2 * time.Second
	DefaultMaxBytes = 4096
)

// A Probe says what to ask and how long to wait. The zero value works. It is not
// changed by its methods, which may be called by many goroutines at once, and it may
// be copied.
type Probe struct {
	Connect  time.Duration // for all addresses together; 0 means 5 s
	Read     time.Duration // from connected to greeting complete; 0 means 10 s
	Total    time.Duration // everything, resolving included; 0 means 15 s
	Idle     time.Duration // this much silence ends a greeting without newline; 0 means 2 s, less: never
	MaxBytes int           // of a greeting; 0 means 4096

	Family int        // 4 or 6: that family only; 0: both (RFC 8305)
	Source netip.Addr // local address; the zero value: the system's choice

	Protocol  Protocol  // what the server must speak; "": guessed from what it says, [Plain]: anything
	Expect    []Pattern // any of them must be in the greeting; none: anything will do
	ExpectAll bool      // all of Expect must be in it
	Reject    []Pattern // none of them may be in it

	Send      string // sent after the greeting, and no byte more; what the server answers counts to the greeting
	SendFirst bool   // send Send as soon as the connection is ready: to a server that greets, this is to speak before one's turn
	Quit      string // sent after a complete greeting, and no byte more; the server may take 1 s to hang up then

	TLS         *tls.Config // speak TLS, at once unless StartTLS or a TLSStep do later; nil: the zero Config for these, else none
	StartTLS    StartTLS    // ask for TLS after the greeting, which ends with its final line even if Expect is set
	EHLO        string      // the client's name in SMTP and LMTP; "": its address
	Steps       []Step      // a conversation after the greeting, and after StartTLS
	Proxy       int         // 1 or 2: begin with a PROXY header of that version; 0: don't
	ConnectOnly bool        // connected, and TLS done, is all that is asked for; no StartTLS
	HangUp      HangUp

	// Dial makes a connection in place of the kernel, if not nil. network is "tcp4",
	// "tcp6" or "unix", address an IP address and port, or a path. It must return
	// soon after ctx is done.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)

	// Resolve finds addresses in place of net.Resolver, if not nil. network is "ip4"
	// or "ip6". It must return soon after ctx is done.
	Resolve func(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// StartTLS is the protocol in which to ask for TLS. The empty one doesn't ask.
type StartTLS = Protocol

// HangUp is how the connection is closed.
type HangUp int

// The ways to hang up.
const (
	Politely HangUp = iota // FIN
	Abruptly               // RST, which leaves no socket in TIME_WAIT
)

// Do probes target, and returns when that has ended and the connection is closed. It
// ends within Total, or soon after ctx is done: a canceled context makes the status
// [Canceled], one whose deadline passes counts as Total does. A Probe that is not valid,
// and a nil ctx, end in [LocalError], a Target without host or port in [InvalidTarget].
func (p *Probe) Do(ctx context.Context, target Target) Result {
	return p.do(ctx, time.Now(), target, nil)
}

// do probes target since now. If known is not nil, it is what the lookups found.
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

// A run is one probe under way.
type run struct {
	p *Probe
	Result
	lines lines    // of the greeting
	rules Protocol // by which the greeting was read; "": none
	timed bool     // Timing.Total is set: what follows is leaving
	plain bool     // the server does not do STARTTLS: the connection is still good, in plain text
}

func (r *run) probe(ctx context.Context, known *resolved) {
	conn := r.connect(ctx, known)
	if conn == nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { interrupt(conn) })
	defer stop()
	w := newWire(ctx, conn, allowance{time: cmp.Or(r.p.Read, DefaultRead)})
	defer r.hangUp(conn, w)
	complete := r.converse(w) //nolint:contextcheck // w has it
	r.Timing.Total, r.timed = time.Since(r.Time), true
	if now := tcpInfo(conn); now != nil {
		r.TCP.RTT = now.RTT // of data too, now that some came
	}
	if complete {
		r.bye(w)
	}
}

// converse does all that is done on a connection, sets the status, and reports whether
// the connection is still good.
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
		var greeting []byte
		if r.Greeting != nil {
			greeting = r.Greeting.Bytes
		}
		if !r.upgrade(w, r.p.StartTLS, greeting, rest) {
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

// tlsFirst reports whether TLS comes before the greeting.
func (p *Probe) tlsFirst() bool {
	later := p.StartTLS != "" || slices.ContainsFunc(p.Steps, Step.StartsTLS)
	return p.TLS != nil && !later
}

// lastWord is how long a server may take to answer Quit by hanging up.
const lastWord = time.Second

// bye sends Quit, or what the protocol has for it, and lets the server hang up first.
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

// fail ends the probe.
func (r *run) fail(phase Phase, status Status, err error) {
	r.Phase, r.Status, r.Err = phase, status, err
}

// broken ends the probe because of err, or of an interrupt that made it.
func (r *run) broken(w *wire, phase Phase, status Status, err error) {
	if errors.Is(w.ctx.Err(), context.Canceled) {
		status, err = Canceled, context.Canceled
	}
	r.fail(phase, status, err)
}

// hangUp closes w, which is conn, or TLS over it.
func (r *run) hangUp(conn net.Conn, w *wire) {
	if tcp, ok := conn.(interface{ SetLinger(seconds int) error }); ok && r.p.HangUp == Abruptly {
		_ = tcp.SetLinger(0)
	}
	_ = w.Close()
}

// A wire is a connection that is used until ctx is done, or an allowance is spent.
type wire struct {
	net.Conn
	ctx   context.Context   //nolint:containedctx // the steps of one probe share it, as they share the connection
	own   allowance         // from the beginning; the zero value: ctx ends before
	until time.Time         // whichever is first
	early []byte            // that was read too early, and is to be read first
	late  func(error) error // what an error of Read means as a late refusal of TLS, nil if nothing; nil: no TLS
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(b, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	return w.Conn.Read(b)
}

// refusal returns what err means as a late refusal of TLS, nil if it is none.
func (w *wire) refusal(err error) error {
	if w.late == nil || err == nil {
		return nil
	}
	return w.late(err)
}

func newWire(ctx context.Context, conn net.Conn, own allowance) *wire {
	w := &wire{Conn: conn, ctx: ctx, own: own, until: time.Now().Add(own.time)}
	if deadline, ok := ctx.Deadline(); ok && deadline.Before(w.until) {
		w.own, w.until = allowance{}, deadline
	}
	w.wait(time.Until(w.until))
	return w
}

// spent says in words which deadline has passed, or is just passing.
func (w *wire) spent() string {
	if w.own != (allowance{}) {
		return w.own.Error()
	}
	return spent(w.ctx)
}

// wait lets the next reads and writes take d, and no longer than until.
func (w *wire) wait(d time.Duration) {
	deadline := time.Now().Add(d)
	if deadline.After(w.until) {
		deadline = w.until
	}
	_ = w.SetDeadline(deadline)
	if errors.Is(w.ctx.Err(), context.Canceled) {
		interrupt(w.Conn) // it came while the deadline was being set
	}
}

// renew gives the next step an allowance of d, as if it were the beginning.
func (w *wire) renew(d time.Duration) {
	*w = *newWire(w.ctx, w.Conn, allowance{time: d}).with(w)
}

// with keeps what w knew of the connection.
func (w *wire) with(before *wire) *wire {
	w.early, w.late = before.early, before.late
	return w
}

// interrupt wakes whatever blocks on conn.
func interrupt(conn net.Conn) { _ = conn.SetDeadline(time.Unix(1, 0)) }

// An allowance is why a context ended: its time is spent.
type allowance struct {
	time time.Duration
	of   string // what all of it was for
}

func (a allowance) Error() string { return "within " + a.time.String() + a.of }

// spent says in words which deadline of ctx has passed, or is just passing.
func spent(ctx context.Context) string {
	<-ctx.Done()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause.Error()
	}
	return "in the time that was given"
}

// since returns the time since t, for a Timing.
func since(t time.Time) *time.Duration {
	d := time.Since(t)
	return &d
}
