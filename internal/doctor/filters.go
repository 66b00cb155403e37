package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/pkg/systemd"
)

// ours names the filters of greetd itself.
const ours = "access.allow and access.deny in greetd.yaml"

// addressFilters checks IPAddressDeny= and IPAddressAllow=, which need BPF.
func addressFilters(f *Facts, r *results) {
	var words []string
	for _, u := range append([]Unit{f.Unit}, f.activeSockets()...) {
		service := u.Name == f.Unit.Name
		if !service && !f.bySocket() {
			continue // no client is served through this socket unit
		}
		letsIn, narrow := u.clients()
		switch {
		case !narrow:
			continue
		case service && letsIn == nobody && len(f.activeSockets()) > 0: // how a service says that it needs no network
		case service && f.bySocket():
			r.problem("put IPAddressAllow= and IPAddressDeny= into "+f.socketNames()+", or "+ours,
				"the filters of %s do not apply to clients that come through %s", u.Name, f.socketNames())
		case letsIn == nobody:
			r.problem(f.letIn(u), "IPAddressDeny= and IPAddressAllow= of %s let in nobody", u.Name)
		case u.active() && u.IPIngressBytes == unset && !f.filtered(u): // systemd counts where it filters, and forgets the counts at a daemon-reload
			r.warning(f.systemctl("restart", u.Name)+"; if this does not help, BPF is not available: "+ours+", or nftables",
				"could not find out whether the filters of %s are active: systemd counts nothing for them", u.Name)
		}
		words = append(words, u.Name+" "+letsIn)
	}
	for _, t := range f.Trials {
		t.report(f, r)
	}
	if len(words) == 0 {
		r.ok("they keep nobody out")
	}
	r.ok("%s", strings.Join(words, "; "))
}

const nobody = "lets in nobody"

// letIn returns the remedy that makes the filters of u let in all clients.
func (f *Facts) letIn(u Unit) string {
	section := "[Service]"
	if u.Name != f.Unit.Name {
		section = "[Socket]"
	}
	return fmt.Sprintf("%s: %s IPAddressAllow=0.0.0.0/0 ::/0; then %s; or only the networks of the clients", f.systemctl("edit", u.Name), section, f.openAgain(u))
}

// clients returns in words which clients the filters of u admit, and whether they keep out any.
func (u *Unit) clients() (words string, narrow bool) {
	allowed, denied := prefixes(u.IPAddressAllow), prefixes(u.IPAddressDeny)
	everybody := func(all []netip.Prefix) bool {
		return slices.Contains(all, netip.PrefixFrom(netip.IPv4Unspecified(), 0)) && slices.Contains(all, netip.PrefixFrom(netip.IPv6Unspecified(), 0))
	}
	list := func(all []netip.Prefix) string { return strings.Trim(fmt.Sprint(all), "[]") }
	switch {
	case len(denied) == 0 || everybody(allowed): // allowed addresses are never denied
		return "lets in everybody", false
	case !everybody(denied):
		return "keeps out " + list(denied), true
	case len(allowed) == 0:
		return nobody, true
	}
	return "lets in " + list(allowed), true
}

// admits reports whether the filters of u let in a client from ip. Allowed addresses are never denied.
func (u *Unit) admits(ip netip.Addr) bool {
	contains := func(p netip.Prefix) bool { return p.Contains(ip) }
	return slices.ContainsFunc(prefixes(u.IPAddressAllow), contains) || !slices.ContainsFunc(prefixes(u.IPAddressDeny), contains)
}

// A Trial has the results of connections from this machine to a TCP listener. They are needed since systemd can
// report filters that it has not applied: systemd 257 applies a change of a running unit late, and BPF can be
// unavailable.
type Trial struct {
	Listener string
	Unit     Unit // the unit whose filters should apply

	// Earlier means that an earlier start bound the socket. It stays in the control group in which it was
	// bound, with the last filters of this group.
	Earlier bool

	// Reached has the addresses of this machine from which a client could connect. Unanswered has those from
	// which it got no answer.
	Reached, Unanswered []netip.Addr
}

const (
	trialTimeout = 2 * time.Second // time for a connection; the kernel repeats a lost SYN once in this time
	maxTrials    = 16              // maximum number of addresses to connect from
)

// tryListeners connects to the TCP listeners that have address filters, or can have the filters of an earlier
// start. Each connection is a visit in the log of greetd.
func (f *Facts) tryListeners(ctx context.Context) {
	if f.Daemon == nil || !f.byUnit() {
		return
	}
	for _, l := range f.Daemon.Listeners {
		address := tcpAddress(l)
		if !slices.ContainsFunc(f.Listening, func(s Socket) bool { return s.Address == address }) {
			continue // a unix socket, or in another network namespace
		}
		t := Trial{Listener: l.Name, Unit: f.boundBy(l), Earlier: l.Origin == systemd.FDStore}
		if _, narrow := t.Unit.clients(); narrow || t.Earlier {
			t.connect(ctx, address)
			f.Trials = append(f.Trials, t)
		}
	}
}

// boundBy returns the unit that has bound the socket of a TCP listener: the service or a socket unit.
func (f *Facts) boundBy(l admin.Listener) Unit {
	for _, s := range f.activeSockets() {
		bound := func(stream string) bool { return overlap(strings.TrimPrefix(stream, "[::]"), tcpAddress(l)) }
		if l.Origin == systemd.SocketUnit && slices.ContainsFunc(s.streams(), bound) {
			return s
		}
	}
	return f.Unit
}

// connect connects once from each address of this machine, from at most maxTrials.
func (t *Trial) connect(ctx context.Context, listener netip.AddrPort) {
	interfaces, _ := net.InterfaceAddrs()
	var addresses []netip.Addr
	for _, i := range interfaces[:min(len(interfaces), maxTrials)] {
		if prefix, err := netip.ParsePrefix(i.String()); err == nil && !prefix.Addr().IsLinkLocalUnicast() {
			addresses = append(addresses, prefix.Addr())
		}
	}
	errs := make([]error, len(addresses))
	var clients sync.WaitGroup
	for i, from := range addresses {
		clients.Go(func() { errs[i] = connectFrom(ctx, from, listener) })
	}
	clients.Wait()
	for i, err := range errs {
		if timeout := net.Error(nil); err == nil {
			t.Reached = append(t.Reached, addresses[i])
		} else if errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil {
			t.Unanswered = append(t.Unanswered, addresses[i])
		}
	}
}

func connectFrom(ctx context.Context, from netip.Addr, to netip.AddrPort) error {
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(from, to.Port())
	}
	dialer := net.Dialer{Timeout: trialTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := dialer.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	return c.Close()
}

// filtered reports whether a client that the filters of u keep out has got no answer, which shows that the
// filters are active.
func (f *Facts) filtered(u Unit) bool {
	return slices.ContainsFunc(f.Trials, func(t Trial) bool {
		return t.Unit.Name == u.Name && slices.ContainsFunc(t.Unanswered, func(ip netip.Addr) bool { return !u.admits(ip) })
	})
}

// report compares the results of t with the filters of the unit.
func (t *Trial) report(f *Facts, r *results) {
	reached := "systemd has not applied them, or BPF is not available"
	unanswered := "systemd has not applied them, a firewall is in the way, or too many clients wait there"
	if t.Earlier {
		reached = "it is in the control group of an earlier start, with the filters of that start"
		unanswered = reached
	}
	remedy := f.openAgain(t.Unit)
	forbidden := func(ip netip.Addr) bool { return !t.Unit.admits(ip) }
	if i := slices.IndexFunc(t.Reached, forbidden); i >= 0 {
		r.problem(remedy+"; or "+ours+", if BPF is not available", "%s reaches listener %s, which the filters of %s forbid: %s", t.Reached[i], t.Listener, t.Unit.Name, reached)
	} else if i := slices.IndexFunc(t.Unanswered, t.Unit.admits); i >= 0 {
		r.problem(remedy+"; or nft list ruleset", "%s does not reach listener %s, which the filters of %s allow: %s", t.Unanswered[i], t.Listener, t.Unit.Name, unanswered)
	}
}
