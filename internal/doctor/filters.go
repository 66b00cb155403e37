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

	"greetd.example/pkg/systemd"
)

// ours names the filters of greetd itself.
const ours = "access.allow and access.deny in greetd.yaml"

// addressFilters checks IPAddressDeny= and IPAddressAllow=, which need BPF.
func addressFilters(f *Facts, r *results) {
	var words []string
	for _, u := range append([]Unit{f.Unit}, f.activeSockets()...) {
		if u.Name != f.Unit.Name && !f.bySocket() {
			continue // no client is served through this socket unit
		}
		letsIn, narrow := u.clients()
		service := u.Name == f.Unit.Name
		switch {
		case !narrow:
			continue
		case service && letsIn == nobody && len(f.activeSockets()) > 0: // how a service says that it needs no network
		case service && f.bySocket():
			r.problem("put IPAddressAllow= and IPAddressDeny= into "+f.socketNames()+", or "+ours,
				"the filters of %s do not apply to clients that come through %s", u.Name, f.socketNames())
		case letsIn == nobody:
			r.problem(f.letIn(u), "IPAddressDeny= and IPAddressAllow= of %s let in nobody", u.Name)
		case f.shutOff(u) != "":
			r.problem(f.letIn(u), "IPAddressDeny= and IPAddressAllow= of %s let in nobody at listener %s", u.Name, f.shutOff(u))
		case !u.active():
			r.unknown("run doctor again when it is running", "whether the filters of %s are active can be checked only while it runs", u.Name)
		case u.IPIngressBytes == unset && !f.filtered(u): // systemd counts where it filters, and forgets the counts at a daemon-reload
			r.warning(f.systemctl("restart", u.Name)+"; if this does not help, BPF is not available: "+ours+", or nftables",
				"could not find out whether the filters of %s are active: systemd counts nothing for them", u.Name)
		}
		words = append(words, u.Name+" "+letsIn)
	}
	if len(words) == 0 {
		words = []string{"they keep nobody out"}
	}
	for _, t := range f.Trials {
		t.report(f, r)
		if t.Earlier {
			words = append(words, "listener "+t.Listener+" still has the filters of an earlier start")
		}
	}
	r.ok("%s", strings.Join(slices.Compact(words), "; ")) // a listener may have several addresses
}

const nobody = "lets in nobody"

// letIn returns the remedy that makes the filters of u let in all clients.
func (f *Facts) letIn(u Unit) string {
	const everybody = "IPAddressAllow=0.0.0.0/0 ::/0"
	remedy := fmt.Sprintf("%s: [Service] %s; then %s", f.systemctl("edit", u.Name), everybody, f.bindAgain())
	if u.Name != f.Unit.Name {
		remedy = f.systemctl("edit", u.Name) + ": [Socket] " + everybody + "; then " + f.reopen(u)
	}
	return remedy + "; or only the networks of the clients"
}

// clients returns in words which clients the filters of u admit, and whether they keep out any.
func (u *Unit) clients() (words string, narrow bool) {
	allowed, denied := prefixes(u.IPAddressAllow), prefixes(u.IPAddressDeny)
	everybody := func(all []string) bool { return slices.Contains(all, "0.0.0.0/0") && slices.Contains(all, "::/0") }
	switch {
	case len(denied) == 0 || everybody(allowed): // allowed addresses are never denied
		return "lets in everybody", false
	case !everybody(denied):
		return "keeps out " + strings.Join(denied, " "), true
	case len(allowed) == 0:
		return nobody, true
	}
	return "lets in " + strings.Join(allowed, " "), true
}

// admits reports whether the filters of u let in a client from ip. Allowed addresses are never denied.
func (u *Unit) admits(ip netip.Addr) bool {
	contain := func(all []string) bool {
		return slices.ContainsFunc(all, func(text string) bool {
			prefix, err := netip.ParsePrefix(text)
			return err == nil && prefix.Contains(ip)
		})
	}
	return contain(prefixes(u.IPAddressAllow)) || !contain(prefixes(u.IPAddressDeny))
}

// shutOff returns the name of a listener at which the filters of u let in no client, although they let in
// clients elsewhere; "" if there is none. Clients of a loopback address have a loopback address themselves,
// and clients of an IPv4 address have IPv4 addresses.
func (f *Facts) shutOff(u Unit) string {
	allowed, denied := prefixes(u.IPAddressAllow), prefixes(u.IPAddressDeny)
	for _, l := range f.listenersOf(u) {
		all, ip := "0.0.0.0/0", l.address.Addr()
		if ip.Is6() {
			all = "::/0"
		}
		ofFamily := func(text string) bool {
			prefix, err := netip.ParsePrefix(text)
			return err == nil && prefix.Addr().Is4() == ip.Is4()
		}
		switch {
		case ip.IsLoopback() && !u.admits(ip),
			ip != netip.IPv6Unspecified() && slices.Contains(denied, all) && !slices.ContainsFunc(allowed, ofFamily):
			return l.Name
		}
	}
	return ""
}

type tcpListener struct {
	Listener
	address netip.AddrPort
}

// listenersOf returns the TCP listeners of the daemon whose sockets u has created. u is the service or a socket
// unit.
func (f *Facts) listenersOf(u Unit) (all []tcpListener) {
	origins := []systemd.Origin{systemd.OwnBind, systemd.FDStore}
	if u.Name != f.Unit.Name {
		origins = []systemd.Origin{systemd.SocketUnit}
	}
	for _, l := range f.from(origins...) {
		address, err := netip.ParseAddrPort(l.Address)
		bySocket := func(stream string) bool { return overlap(strings.TrimPrefix(stream, "[::]"), address) }
		if err == nil && (u.Name == f.Unit.Name || slices.ContainsFunc(u.streams(), bySocket)) {
			all = append(all, tcpListener{l, netip.AddrPortFrom(address.Addr().WithZone(""), address.Port())})
		}
	}
	return all
}

// A Trial has the results of connections from this machine to a TCP listener. They are needed since systemd can
// report filters that it has not applied: systemd 257 applies a change of a running unit late, and BPF can be
// unavailable.
type Trial struct {
	Listener string
	Unit     Unit // the unit whose filters should apply

	// Earlier means that the socket is in the control group of an earlier start. A socket stays in the control
	// group in which it was created, with the last filters of this group.
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
	if !f.byUnit() {
		return
	}
	for _, u := range append([]Unit{f.Unit}, f.activeSockets()...) {
		for _, l := range f.listenersOf(u) {
			here := func(s Socket) bool { return s.Address == l.address }
			same := func(s Socket) bool { return here(s) && (s.Group == u.group || s.Group == 0) }
			if !slices.ContainsFunc(f.Listening, here) {
				continue // the listener is in another network namespace
			}
			t := Trial{Listener: l.Name, Unit: u, Earlier: u.group != 0 && !slices.ContainsFunc(f.Listening, same)}
			if _, narrow := u.clients(); narrow || t.Earlier {
				t.connect(ctx, l.address)
			}
			f.Trials = append(f.Trials, t)
		}
	}
}

// connect connects once from each address of this machine, from at most maxTrials.
func (t *Trial) connect(ctx context.Context, listener netip.AddrPort) {
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return
	}
	var clients sync.WaitGroup
	var mu sync.Mutex
	for _, i := range interfaces[:min(len(interfaces), maxTrials)] {
		prefix, err := netip.ParsePrefix(i.String())
		from := prefix.Addr()
		if err != nil || from.IsLinkLocalUnicast() {
			continue
		}
		clients.Go(func() {
			err := connectFrom(ctx, from, listener)
			mu.Lock()
			defer mu.Unlock()
			if timeout := net.Error(nil); err == nil {
				t.Reached = append(t.Reached, from)
			} else if errors.As(err, &timeout) && timeout.Timeout() && ctx.Err() == nil {
				t.Unanswered = append(t.Unanswered, from)
			}
		})
	}
	clients.Wait()
	slices.SortFunc(t.Reached, netip.Addr.Compare)
	slices.SortFunc(t.Unanswered, netip.Addr.Compare)
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
	remedy, why := f.bindAgain(), "systemd has not applied them, or BPF is not available"
	if t.Unit.Name != f.Unit.Name {
		remedy = f.reopen(t.Unit)
	}
	unlike := func(admitted bool) func(netip.Addr) bool {
		return func(ip netip.Addr) bool { return t.Unit.admits(ip) == admitted }
	}
	if t.Earlier {
		why = "it is in the control group of an earlier start, with the filters of that start"
	}
	if i := slices.IndexFunc(t.Reached, unlike(false)); i >= 0 {
		r.problem(remedy+"; or "+ours+", if BPF is not available", "%s reaches listener %s, which the filters of %s forbid: %s", t.Reached[i], t.Listener, t.Unit.Name, why)
		return
	}
	if !t.Earlier {
		why = "systemd has not applied them, a firewall is in the way, or too many clients wait there"
	}
	_, narrow := t.Unit.clients()
	if i := slices.IndexFunc(t.Unanswered, unlike(true)); i >= 0 {
		r.problem(remedy+"; or nft list ruleset", "%s does not reach listener %s, which the filters of %s allow: %s", t.Unanswered[i], t.Listener, t.Unit.Name, why)
	} else if t.Earlier && narrow {
		r.warning(remedy, "a later change of the filters of %s does not reach listener %s: %s", t.Unit.Name, t.Listener, why)
	}
}
