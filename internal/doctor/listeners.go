package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	units "greetd.example/internal/unit"
	"greetd.example/internal/words"
	"greetd.example/pkg/systemd"
)

// wantedBacklog is the backlog of greetd.socket. In a test with 6,000 clients at once and a backlog of 128, most
// clients had to repeat their SYN, and waited a second for that; with 4,096 none had to.
const wantedBacklog = 4096

// expected returns the listeners of the daemon, or, if it does not answer, those of its active socket units.
func (f *Facts) expected() []admin.Listener {
	if f.Daemon != nil {
		return f.Daemon.Listeners
	}
	var all []admin.Listener
	for _, s := range f.activeSockets() {
		for _, address := range s.streams() {
			all = append(all, admin.Listener{Name: s.Name, Address: address, Origin: systemd.SocketUnit})
		}
	}
	return all
}

// tcpAddress returns the address of a TCP listener without its zone, as in [Facts.Listening]. It returns the zero
// AddrPort for a unix socket.
func tcpAddress(l admin.Listener) netip.AddrPort {
	address, _ := netip.ParseAddrPort(l.Address)
	return netip.AddrPortFrom(address.Addr().WithZone(""), address.Port())
}

// ports checks whether another process holds an address that greetd needs.
func ports(f *Facts, r *results) {
	needed := f.needed()
	switch {
	case f.Daemon != nil:
		r.ok("greetd has opened its %s", words.Count(len(f.Daemon.Listeners), "listener"))
	case f.Listening == nil:
		r.unknown("ss -ltnp", "could not read the sockets of this machine")
	case f.Unit.active():
		r.unknown("ss -ltnp", "greetd does not report where it listens")
	case !f.Config.valid() && !f.bySocket():
		r.unknown("greetd check", "without a valid configuration there are no addresses")
	}
	for _, l := range needed {
		for _, s := range f.Listening {
			mine := s.PID == 1 && s.Unit == f.Unit.Name // in the fd store, for the next start
			if overlap(l.Address, s.Address) && !mine {
				f.held(l, s, r)
			}
		}
	}
	for _, s := range f.Listening {
		if s.PID == 1 && s.Unit == f.Unit.Name && f.Unit.down() { // in the fd store
			r.problem(f.systemctl("start", f.Unit.Name)+"; or close the port: "+f.systemctl("clean", "--what=fdstore", f.Unit.Name),
				"systemd listens on %s for %s, which is %s: clients connect, but are not greeted", s.Address, f.Unit.Name, f.Unit.ActiveState)
		}
	}
	if len(needed) == 0 {
		r.ok("systemd listens for greetd")
	}
	r.ok("no other process has an address of greetd")
}

// held reports which process holds the address of a listener.
func (f *Facts) held(l config.Listener, s Socket, r *results) {
	by, remedy := fmt.Sprintf("%s, process %d", s.Program, s.PID), fmt.Sprintf("kill %d", s.PID)
	switch {
	case s.PID == 0:
		r.unknown(f.asRoot()+"; ss -ltnp", "listener %s needs %s, and %s is held by a process that this user can't see", l.Name, l.Address, s.Address)
		return
	case s.PID == 1 && s.Unit == "":
		by, remedy = "systemd, for another unit", "systemctl list-sockets; systemctl stop it"
	case s.PID == 1:
		by, remedy = "systemd, for "+s.Unit, f.systemctl("disable", "--now", s.Unit)
	case strings.HasSuffix(s.Unit, ".service"):
		by, remedy = by+" of "+s.Unit, f.systemctl("disable", "--now", s.Unit)
	}
	r.problem(fmt.Sprintf("%s; or another port for %s; then %s", remedy, l.Name, f.systemctl("restart", f.Unit.Name)),
		"listener %s needs %s, and %s is held by %s", l.Name, l.Address, s.Address, by)
}

// socketUnits checks the socket units, and whether the listeners come from them.
func socketUnits(f *Facts, r *results) {
	for _, s := range f.Sockets {
		if s.active() || s.UnitFileState == "enabled" {
			f.socketUnit(s, r)
		}
		if s.active() && f.bySocket() && !f.requires(s) {
			r.warning(f.setIn("Unit", "Requires="+s.Name, "After="+s.Name),
				"%s does not require %s: if greetd is started alone, it binds its own addresses, and the socket unit cannot start any more", f.Unit.Name, s.Name)
		}
	}
	switch {
	case !f.bySocket():
		r.ok("none: greetd binds its own addresses")
	case f.Daemon == nil:
		r.ok("the addresses come from %s", f.socketNames())
	default:
		r.ok("%d of %s come from %s", len(f.from(systemd.SocketUnit)), words.Count(len(f.Daemon.Listeners), "listener"), f.socketNames())
	}
}

func (f *Facts) socketNames() string {
	var names []string
	for _, s := range f.activeSockets() {
		names = append(names, s.Name)
	}
	return cmp.Or(strings.Join(names, ", "), "a socket unit")
}

// socketUnit checks the state and the settings of one socket unit.
func (f *Facts) socketUnit(s Unit, r *results) {
	if !s.active() && f.Unit.active() {
		r.problem(f.systemctl("stop", f.Unit.Name)+"; "+f.systemctl("start", s.Name),
			"%s is enabled, but %s: it can't start while %s runs", s.Name, s.ActiveState, f.Unit.Name)
	}
	if s.active() && f.Daemon != nil && len(f.Daemon.Listeners) > 0 && !f.bySocket() {
		r.problem(f.systemctl("restart", f.Unit.Name),
			"%s listens, but %s was started without its sockets", s.Name, f.Unit.Name)
	}
	edit := func(setting string) string {
		return fmt.Sprintf("%s: [Socket] %s; then %s", f.systemctl("edit", s.Name), setting, f.openAgain(s))
	}
	if s.Accept {
		r.problem(edit("Accept=no"), "%s has Accept=yes: greetd accepts only listening sockets", s.Name)
	}
	if s.DeferAcceptUSec > 0 {
		r.problem(edit("DeferAcceptSec=0"), "%s has DeferAcceptSec=: clients that wait for the greeting are kept out", s.Name)
	}
	if s.TriggerLimitIntervalUSec > 0 && s.TriggerLimitIntervalUSec != unset {
		r.warning(edit("TriggerLimitIntervalSec=0"), "%s has a TriggerLimitIntervalSec=: if greetd cannot start, systemd closes its socket too", s.Name)
	}
}

// openAgain returns the commands that open the sockets of u again, which is a socket unit or the service. A
// restart of the service does not, since systemd keeps its sockets in the fd store.
func (f *Facts) openAgain(u Unit) string {
	if u.Name != f.Unit.Name {
		return f.systemctl("stop", f.Unit.Name, u.Name) + "; " + f.systemctl("start", u.Name)
	}
	steps := []string{f.systemctl("stop", f.Unit.Name), f.systemctl("start", f.Unit.Name)}
	if f.Unit.FileDescriptorStorePreserve == "yes" {
		steps = slices.Insert(steps, 1, f.systemctl("clean", "--what=fdstore", f.Unit.Name))
	}
	return strings.Join(steps, "; ")
}

// fdStore checks whether systemd keeps the listeners that greetd binds itself across a restart.
func fdStore(f *Facts, r *results) {
	own := len(f.from(systemd.OwnBind, systemd.FDStore))
	if own == 0 && f.bySocket() {
		r.notApplicable("socket units keep the listeners")
		return
	}
	most, kept, need := f.Unit.FileDescriptorStoreMax, f.Unit.NFileDescriptorStore, own
	if f.Daemon == nil {
		need = len(f.Config.Listeners)
	}
	switch {
	case most < need || most == 0:
		r.problem(f.set(fmt.Sprintf("FileDescriptorStoreMax=%d", max(2*need, units.DefaultStoreMax))),
			"FileDescriptorStoreMax=%d: at a restart, clients of %s are refused", most, words.Count(need-most, "listener"))
	case f.Process != nil && !f.Process.Self && kept < own:
		r.problem(f.systemctl("restart", f.Unit.Name),
			"systemd keeps %d of greetd's %s: clients of the others are refused at a restart", kept, words.Count(own, "listener"))
	case own == 0:
		r.ok("FileDescriptorStoreMax=%d", most)
	}
	r.ok("%s kept across a restart, of %d at most", words.Count(own, "listener"), most)
}

// backlog checks whether enough clients can wait if many come at once, or during a restart.
func backlog(f *Facts, r *results) {
	if f.Listening == nil {
		r.unknown("ss -ltn, column Send-Q", "could not read the sockets of this machine")
		return
	}
	least, tcp := 0, false
	for _, l := range f.expected() {
		address := tcpAddress(l)
		tcp = tcp || address.IsValid()
		for _, s := range f.Listening {
			if s.Address != address {
				continue
			}
			if least == 0 || s.Backlog < least {
				least = s.Backlog
			}
			if s.Backlog < wantedBacklog {
				r.problem(f.longerQueue(l), "only %d clients may wait at %s (net.core.somaxconn is %d)", s.Backlog, l.Address, f.Somaxconn)
			}
		}
	}
	switch {
	case least > 0:
		r.ok("%d clients may wait at each address", least)
	case f.Somaxconn > 0 && f.Somaxconn < wantedBacklog:
		r.problem(f.longerQueue(admin.Listener{}), "net.core.somaxconn is %d: no more clients than that can wait at an address", f.Somaxconn)
	case f.Daemon == nil && errors.Is(f.Silence, admin.ErrNoDaemon) && !f.Unit.active() && (f.Unit.LoadState != "" || !f.Systemd.Booted):
		r.notApplicable("nothing listens yet")
	case !tcp && f.Daemon != nil:
		r.notApplicable("there is no TCP listener")
	default:
		r.unknown("ss -ltn in the network namespace of greetd", "no TCP socket of greetd was found in this network namespace")
	}
}

// longerQueue returns the remedy for a longer backlog of l: raise the limit of the kernel and that of its socket
// unit where needed, and open the socket again, since a restart keeps it open.
func (f *Facts) longerQueue(l admin.Listener) string {
	remedy := f.openAgain(f.Unit)
	if !f.byUnit() {
		remedy = "start greetd again"
	}
	for _, s := range f.activeSockets() {
		if l.Origin == systemd.SocketUnit {
			remedy = f.openAgain(s)
		}
		if l.Origin == systemd.SocketUnit && s.Backlog < wantedBacklog {
			remedy = fmt.Sprintf("%s: [Socket] Backlog=%d; then %s", f.systemctl("edit", s.Name), wantedBacklog, remedy)
		}
	}
	if f.Somaxconn >= wantedBacklog {
		return remedy
	}
	if !f.Systemd.Booted {
		return fmt.Sprintf("echo %d >/proc/sys/net/core/somaxconn; %s", wantedBacklog, remedy)
	}
	return fmt.Sprintf("mkdir -p /etc/sysctl.d; echo net.core.somaxconn=%d >/etc/sysctl.d/60-greetd-tcp.conf; systemctl restart systemd-sysctl; %s", wantedBacklog, remedy)
}

// renewal is the remaining lifetime before which a certificate should be renewed.
const renewal = 21 * 24 * time.Hour

// certificates checks the certificates in the files of the configuration, and whether the daemon serves them.
func certificates(f *Facts, r *results) {
	f.staleCredentials(r)
	for _, c := range f.Config.Certificates {
		renew := "renew " + c.Path + ", which greetd serves by itself"
		if c.Credential {
			renew = "renew the file that LoadCredential= names; then " + f.renewCredentials()
		}
		another := func(l admin.Listener) bool {
			return l.Name == c.Listener && l.Certificate != nil && l.Certificate.SHA256 != c.SHA256
		}
		if f.Daemon != nil && slices.ContainsFunc(f.Daemon.Listeners, another) {
			r.problem(f.apply()+"; or find the reason: "+f.journal(), "listener %s serves another certificate than %s has", c.Listener, c.Path)
		}
		switch left := c.NotAfter.Sub(f.Now); {
		case left <= 0:
			r.problem(renew, "the certificate of listener %s expired at %s, and clients don't trust it", c.Listener, c.NotAfter.UTC().Format(time.RFC3339))
		case f.Now.Before(c.NotBefore):
			r.problem("set the clock, or wait", "the certificate of listener %s is not valid before %s", c.Listener, c.NotBefore.UTC().Format(time.RFC3339))
		case left < renewal:
			r.warning(renew, "the certificate of listener %s expires in %s", c.Listener, words.Left(left))
		}
	}
	switch {
	case f.Config.Hidden:
		r.unknown("openssl s_client -connect HOST:PORT </dev/null | openssl x509 -noout -enddate", "the certificates are credentials, which only the unit's own processes can read")
	case !f.Config.valid():
		r.unknown("greetd check", "without a valid configuration there are no certificates")
	case len(f.Config.Certificates) == 0:
		r.notApplicable("no listener has TLS")
	}
	r.ok("%s valid for more than 21 days", words.Count(len(f.Config.Certificates), "certificate"))
}
