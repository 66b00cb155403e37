package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// The delays of RFC 8305, sections 3 and 5.
const (
	resolutionDelay = 50 * time.Millisecond  // time that IPv4 addresses wait for IPv6 addresses
	attemptDelay    = 250 * time.Millisecond // time between two attempts, if the first one has not ended
)

// errFaster is the reason for canceling an attempt when another one has won.
var errFaster = errors.New("another address was faster")

// connect resolves the target, unless known has the addresses, and connects. If it can't connect, it sets the
// status and returns nil.
func (r *run) connect(ctx context.Context, known *resolved) net.Conn {
	if r.Target.Path != "" {
		return r.connectUnix(ctx)
	}
	if known != nil {
		r.Timing.Resolve = &known.took
	}
	if r.Target.Addr.IsValid() {
		return r.alone(ctx, r.Target.Addr.Unmap())
	}
	if known != nil {
		return r.race(ctx, filled(known.answers), len(known.answers))
	}
	name, err := r.Target.name()
	if err != nil {
		r.fail(PhaseResolve, ResolveFailed, err)
		return nil
	}
	ctx, cancel := context.WithCancelCause(ctx)
	families := r.p.families()
	answers := make(chan answer, len(families))
	var lookups sync.WaitGroup
	for _, family := range families {
		lookups.Go(func() { answers <- r.p.lookup(ctx, networks[family], name) })
	}
	conn := r.race(ctx, answers, len(families))
	cancel(errFaster)
	lookups.Wait()
	return conn
}

func filled(answers []answer) <-chan answer {
	c := make(chan answer, len(answers))
	for _, a := range answers {
		c <- a
	}
	return c
}

// families returns IPv6 and IPv4, or only the family of Family or of the source address, if one is set.
func (p *Probe) families() []string {
	switch p.family() {
	case 4:
		return []string{"IPv4"}
	case 6:
		return []string{"IPv6"}
	default:
		return []string{"IPv6", "IPv4"}
	}
}

// family returns the only family to try, 4 or 6. It returns 0 for both.
func (p *Probe) family() int {
	if p.Family == 0 && p.Source.IsValid() {
		return familyOf(p.Source)
	}
	return p.Family
}

// suits reports whether the family of addr may be tried.
func (p *Probe) suits(addr netip.Addr) bool {
	return p.family() == 0 || p.family() == familyOf(addr)
}

// networks has the names of the families for net.Resolver.
var networks = map[string]string{"IPv6": "ip6", "IPv4": "ip4"}

func familyOf(addr netip.Addr) int {
	if addr.Unmap().Is4() {
		return 4
	}
	return 6
}

// An answer is the result of a lookup for one family.
type answer struct {
	addrs []netip.Addr
	err   error
}

func (p *Probe) lookup(ctx context.Context, network, name string) answer {
	resolve := p.Resolve
	if resolve == nil {
		resolve = systemResolver.lookup
	}
	addrs, err := resolve(ctx, network, name)
	if err != nil && isLocalhost(name) {
		return answer{addrs: []netip.Addr{loopback[network]}}
	}
	if slices.ContainsFunc(addrs, func(addr netip.Addr) bool { return !addr.IsValid() }) {
		return answer{err: errors.New("Probe.Resolve returned the zero netip.Addr; return valid addresses")}
	}
	return answer{addrs, err}
}

// A race has the attempts to connect to one target, by RFC 8305 (Happy Eyeballs). Each attempt starts
// attemptDelay after the one before, or when the one before has failed. The families alternate. The first attempt
// that connects wins, and cancels the others.
//
// One goroutine runs the race, and only this goroutine uses the fields. Lookups and attempts run in their own
// goroutines, and send their results.
type race struct {
	*run
	ctx      context.Context //nolint:containedctx // the attempts of one race share it
	cancel   context.CancelCauseFunc
	queues   [2][]netip.Addr // IPv6 and IPv4 addresses that were not tried yet
	turn     int             // the queue that the next attempt takes from
	finished chan finished
	running  int
	lookups  int              // number of lookups without an answer yet
	failures []error          // of lookups
	pace     <-chan time.Time // when the next attempt may start; nil: not set
	hold     bool             // wait for pace before the next attempt
	tooLate  <-chan time.Time // the end of Probe.Connect, set with the first attempt
}

type finished struct {
	index int // in Result.Attempts
	end   time.Duration
	conn  net.Conn // nil if there is an error
	tcp   *TCP
	err   error
}

// race tries the addresses from answers. lookups is the number of answers that will arrive.
func (r *run) race(ctx context.Context, answers <-chan answer, lookups int) net.Conn {
	a := race{run: r, finished: make(chan finished), lookups: lookups}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	defer a.cancel(nil)
	done := a.ctx.Done()
	for a.running > 0 || a.lookups > 0 || a.queued() > 0 { // it can still be won
		if !a.hold && a.queued() > 0 && a.ctx.Err() == nil {
			a.start()
			continue
		}
		select {
		case answer := <-answers:
			a.enqueue(answer)
		case <-a.pace:
			a.hold = false
		case <-a.tooLate:
			a.cancel(allowance{time: a.limit()})
		case <-done:
			// No further attempt starts. If a running attempt still connects, it wins.
			a.queues, a.lookups, answers, done = [2][]netip.Addr{}, 0, nil, nil
		case f := <-a.finished:
			if a.record(f) {
				return a.won(f)
			}
			a.hold = false
		}
	}
	return a.lost()
}

// queued returns the number of addresses that were not tried yet.
func (a *race) queued() int { return len(a.queues[0]) + len(a.queues[1]) }

func (a *race) limit() time.Duration { return cmp.Or(a.p.Connect, DefaultConnect) }

// enqueue adds the addresses that a lookup found to the queues.
func (a *race) enqueue(found answer) {
	a.lookups--
	if found.err != nil {
		a.failures = append(a.failures, found.err)
	}
	for _, addr := range found.addrs {
		switch addr = addr.Unmap(); {
		case !a.p.suits(addr):
		case addr.Is4():
			a.queues[1] = append(a.queues[1], addr)
		default:
			a.queues[0] = append(a.queues[0], addr)
		}
	}
	if len(a.Attempts) > 0 {
		return
	}
	if a.hold = len(a.queues[0]) == 0 && len(a.queues[1]) > 0 && a.lookups > 0; a.hold {
		a.pace = time.After(resolutionDelay)
	}
}

func (a *race) start() {
	if len(a.Attempts) == 0 {
		a.tooLate = time.After(a.limit())
	}
	if len(a.queues[a.turn]) == 0 {
		a.turn = 1 - a.turn
	}
	addr := a.queues[a.turn][0]
	a.queues[a.turn] = a.queues[a.turn][1:]
	a.turn = 1 - a.turn
	a.hold = true
	a.pace = time.After(attemptDelay)
	f, to := a.enter(addr)
	go func() { a.finished <- a.attempt(f, to) }() // race, stop or won receives it
}

// enter adds an entry to Attempts for an attempt that begins now.
func (a *race) enter(addr netip.Addr) (finished, netip.AddrPort) {
	now := time.Since(a.Time)
	if a.Timing.Resolve == nil {
		a.Timing.Resolve = &now
	}
	to := netip.AddrPortFrom(addr, a.Target.Port)
	a.Attempts = append(a.Attempts, Attempt{Addr: to, Start: now})
	a.running++
	return finished{index: len(a.Attempts) - 1}, to
}

func (r *run) alone(ctx context.Context, addr netip.Addr) net.Conn {
	a := race{run: r}
	var cancel context.CancelFunc
	a.ctx, cancel = context.WithTimeoutCause(ctx, a.limit(), allowance{time: a.limit()})
	defer cancel()
	if r.Timing.Resolve == nil {
		r.Timing.Resolve = new(time.Duration)
	}
	if !r.p.suits(addr) {
		r.unsuited(addr)
		return nil
	}
	if f := a.attempt(a.enter(addr)); a.record(f) {
		return a.won(f)
	}
	return a.lost()
}

// unsuited sets the status of an address of the wrong family.
func (r *run) unsuited(addr netip.Addr) {
	wants, has := r.p.families()[0], fmt.Sprintf("IPv%d", familyOf(addr))
	if r.p.Family == 0 {
		r.fail(PhaseConnect, LocalError, fmt.Errorf("from %s no %s address can be reached", r.p.Source, has))
		return
	}
	r.fail(PhaseResolve, ResolveFailed, fmt.Errorf("it is an %s address, and only %s may be used", has, wants))
}

func (a *race) attempt(f finished, addr netip.AddrPort) finished {
	network := "tcp6"
	if addr.Addr().Is4() {
		network = "tcp4"
	}
	if a.p.Dial != nil {
		f.conn, f.err = a.p.dial(a.ctx, network, addr.String())
	} else {
		f.conn, f.tcp, f.err = dialTCP(a.ctx, network, addr, a.p.Source)
	}
	f.end = time.Since(a.Time)
	return f
}

// record completes the entry of an attempt, and reports whether the attempt ends the race: it has connected, or the
// server has accepted and reset the connection.
func (a *race) record(f finished) bool {
	a.running--
	attempt := &a.Attempts[f.index]
	attempt.End, attempt.Err = f.end, f.err
	attempt.Result = attemptResult(f.err, context.Cause(a.ctx))
	if errors.Is(f.err, syscall.EADDRNOTAVAIL) && attempt.Addr.Addr().Is6() && !a.p.Source.IsValid() {
		attempt.Result = AttemptUnreachable // IPv6 is disabled; for IPv4, this error means that no port is left
	}
	if f.tcp != nil {
		a.TCP = f.tcp
	}
	return attempt.Result == AttemptConnected || attempt.Result == AttemptReset
}

// won ends the race with f, the attempt that has won, and returns its connection.
func (a *race) won(f finished) net.Conn {
	if a.running > 0 {
		a.cancel(errFaster)
	}
	for a.running > 0 {
		late := <-a.finished
		late.tcp = nil
		if late.conn != nil {
			_ = late.conn.Close()
			late.conn, late.err = nil, errFaster
		}
		a.record(late)
	}
	attempt := a.Attempts[f.index]
	took := attempt.End - a.Attempts[0].Start
	a.Timing.Connect = &took
	a.Family = familyOf(attempt.Addr.Addr())
	a.Remote = attempt.Addr.String()
	if f.conn == nil {
		a.Greeting = &Greeting{End: EndReset}
		a.fail(PhaseGreeting, Reset, brokenOff(0, f.err))
		return nil
	}
	a.Local = addrString(f.conn.LocalAddr())
	return f.conn
}

// lost ends the race without a connection, and sets the status.
func (a *race) lost() net.Conn {
	cause := context.Cause(a.ctx)
	phase := PhaseConnect
	if len(a.Attempts) == 0 {
		phase = PhaseResolve
	}
	switch {
	case cause == context.Canceled: //nolint:errorlint // a cause that wraps it is a deadline of ours
		a.fail(phase, Canceled, context.Canceled)
	case len(a.Attempts) == 0:
		a.unresolved()
	default:
		a.unconnected()
	}
	return nil
}

func (a *race) unresolved() {
	name := a.Target.Host
	if ascii, err := a.Target.name(); err == nil && ascii != name {
		name += " (" + ascii + ")"
	}
	if a.ctx.Err() != nil {
		a.fail(PhaseResolve, ResolveFailed, fmt.Errorf("resolve %s: no answer %s", name, spent(a.ctx)))
		return
	}
	if err := noDescriptor(); err != nil {
		a.fail(PhaseResolve, LocalError, fmt.Errorf("resolve %s: %w", name, err))
		return
	}
	why := error(nil)
	for _, err := range a.failures {
		if dns, ok := errors.AsType[*net.DNSError](err); !ok || !dns.IsNotFound || why == nil {
			why = err // prefer an error that says more than "not found"
		}
	}
	why = cmp.Or(why, fmt.Errorf("it has no %s address", strings.Join(a.p.families(), " or ")))
	a.fail(PhaseResolve, ResolveFailed, fmt.Errorf("resolve %s: %w", name, reason(why)))
}

// noDescriptor returns an error if no file can be opened. It is needed since a resolver that can't open a file or a
// socket reports a name as unknown.
func noDescriptor() error {
	f, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	return f.Close()
}

func (a *race) unconnected() {
	status := LocalError
	var words []string
	for i, attempt := range a.Attempts {
		status = worse(status, attempt)
		why := reason(attempt.Err).Error()
		switch addr := attempt.Addr.Addr(); {
		case attempt.Result == AttemptTimeout:
			why = "no answer " + spent(a.ctx)
		case errors.Is(attempt.Err, syscall.EINVAL) && addr.IsLinkLocalUnicast() && addr.Zone() == "":
			why = "a link-local address needs its interface, as in fe80::1%eth0"
		case errors.Is(attempt.Err, syscall.EADDRNOTAVAIL) && isBind(attempt.Err):
			why = fmt.Sprintf("the source address %s is not an address of this machine", a.p.Source)
		}
		if len(a.Attempts) > 1 {
			why = attempt.Addr.String() + ": " + why
		}
		if i < maxListed {
			words = append(words, why)
		}
	}
	if more := len(a.Attempts) - maxListed; more > 0 {
		words = append(words, fmt.Sprintf("and %d more addresses", more))
	}
	err := &connectError{strings.Join(words, "; "), a.Attempts}
	if shortOfDescriptors(err) {
		status = LocalError // not all addresses could be tried, so the status can't be that of the others
	}
	a.fail(PhaseConnect, status, err)
}

// isBind reports whether err is of bind(2), and not of connect(2), where the same code means that no port is free.
func isBind(err error) bool {
	call, ok := errors.AsType[*os.SyscallError](err)
	return ok && call.Syscall == "bind"
}

// maxListed is the maximum number of addresses or names in an error.
const maxListed = 8

// listed joins words for an error. If there are more than maxListed, it joins only the first ones.
func listed(words []string, separator string) string {
	if more := len(words) - maxListed; more > 0 {
		return strings.Join(words[:maxListed], separator) + fmt.Sprintf("%sand %d more", separator, more)
	}
	return strings.Join(words, separator)
}

// connectError is the error if no address answered. It wraps the errors of the attempts.
type connectError struct {
	text     string
	attempts []Attempt
}

func (e *connectError) Error() string { return e.text }

func (e *connectError) Unwrap() []error {
	var all []error
	for _, attempt := range e.attempts {
		all = append(all, attempt.Err)
	}
	return all
}

// worse returns the status of several attempts: status is that of the attempts before, and attempt is one more. The
// one with the higher rank counts.
func worse(status Status, attempt Attempt) Status {
	ranks := []Status{LocalError, Unreachable, Refused, ConnectTimeout}
	statuses := map[AttemptResult]Status{
		AttemptTimeout:     ConnectTimeout,
		AttemptRefused:     Refused,
		AttemptUnreachable: Unreachable,
	}
	now := cmp.Or(statuses[attempt.Result], LocalError)
	return ranks[max(slices.Index(ranks, status), slices.Index(ranks, now))]
}

// attemptResult returns the result of an attempt that ended with err. cause is the cause of its context.
func attemptResult(err, cause error) AttemptResult {
	errno, _ := errors.AsType[syscall.Errno](err)
	errno = portable(errno)
	switch {
	case err == nil:
		return AttemptConnected
	case errors.Is(cause, errFaster), errors.Is(err, errFaster):
		return AttemptCanceled
	case errno == 0 && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		if cause == context.Canceled { //nolint:errorlint // a cause that wraps it is a deadline of ours
			return AttemptCanceled
		}
		return AttemptTimeout
	}
	if result, ok := attemptErrnos[errno]; ok {
		return result
	}
	return AttemptLocalError
}

// attemptErrnos has the result for each error of connect(2) that says something about the server or the network.
// Other errors are local errors.
var attemptErrnos = map[syscall.Errno]AttemptResult{
	syscall.ECONNREFUSED: AttemptRefused,
	syscall.ECONNRESET:   AttemptReset,
	syscall.EPIPE:        AttemptReset,
	syscall.ETIMEDOUT:    AttemptTimeout,
	syscall.ENETUNREACH:  AttemptUnreachable,
	syscall.EHOSTUNREACH: AttemptUnreachable,
	syscall.ENETDOWN:     AttemptUnreachable,
	syscall.EHOSTDOWN:    AttemptUnreachable,
	syscall.EAFNOSUPPORT: AttemptUnreachable, // this machine has no IPv6
	syscall.EACCES:       AttemptUnreachable, // a prohibit route, or no permission for the path of a socket
	syscall.EPERM:        AttemptUnreachable, // a firewall on this machine
	syscall.EINVAL:       AttemptUnreachable, // a blackhole route, or a link-local address without a zone
	syscall.ENOENT:       AttemptUnreachable, // no such path
	syscall.ENOTDIR:      AttemptUnreachable,
}

// addrString returns addr as text. It returns "" for nil, which the net.Conn of a caller can have.
func addrString(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	return addr.String()
}

// connectUnix connects to a unix socket. It tries again after EAGAIN, which connect(2) returns while the backlog is
// full, instead of waiting.
func (r *run) connectUnix(ctx context.Context) net.Conn {
	r.Timing.Resolve = new(time.Duration)
	limit := cmp.Or(r.p.Connect, DefaultConnect)
	began := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, allowance{time: limit})
	defer cancel()
	conn, err := r.p.dial(ctx, "unix", r.Target.Path)
	for errors.Is(err, syscall.EAGAIN) {
		pause(ctx, 10*time.Millisecond)
		if err = ctx.Err(); err == nil {
			conn, err = r.p.dial(ctx, "unix", r.Target.Path)
		}
	}
	switch result := attemptResult(err, context.Cause(ctx)); result {
	case AttemptConnected:
		r.Timing.Connect = since(began)
		r.Local, r.Remote = addrString(conn.LocalAddr()), addrString(conn.RemoteAddr())
		return conn
	case AttemptCanceled:
		r.fail(PhaseConnect, Canceled, context.Canceled)
	case AttemptTimeout:
		r.fail(PhaseConnect, ConnectTimeout, fmt.Errorf("no answer %s", spent(ctx)))
	default:
		r.fail(PhaseConnect, worse(LocalError, Attempt{Result: result}), reason(err))
	}
	return nil
}

// dial connects with Dial, or with net.Dialer if that is nil. It returns an error in place of a connection that isn't one.
func (p *Probe) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dial := p.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := dial(ctx, network, address)
	switch {
	case conn == nil && err == nil:
		return nil, errors.New("Probe.Dial returned neither a connection nor an error; return one of them")
	case err != nil && conn != nil:
		_ = conn.Close()
		return nil, err
	}
	return conn, err
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	<-ctx.Done()
}
