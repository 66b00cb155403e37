package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// fairBacklog is what greetd.socket asks for: with 128, of 6,000 clients at once most
// had to knock again, and waited a second for that; with 4,096 none.
const fairBacklog = 4096

// listenersFrom returns the daemon's listeners of these origins.
func (f *Facts) listenersFrom(origins ...string) []Listener {
	if f.Daemon == nil {
		return nil
	}
	var those []Listener
	for _, l := range f.Daemon.Listeners {
		if slices.Contains(origins, l.Origin) {
			those = append(those, l)
		}
	}
	return those
}

// bySocket reports whether the listeners are a socket unit's: those that there are, or
// else those that there would be.
func (f *Facts) bySocket() bool {
	if f.Daemon != nil && len(f.Daemon.Listeners) > 0 {
		return len(f.listenersFrom(SocketUnit)) > 0
	}
	return f.listensForIt() || len(f.required()) > 0
}

// required are the socket units that the service can't run without.
func (f *Facts) required() []string {
	var names []string
	for _, name := range f.Unit.words("Requires") {
		if strings.HasSuffix(name, ".socket") {
			names = append(names, name)
		}
	}
	return names
}

// socketUnits is about where the listeners come from.
func socketUnits(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	var found []Finding
	for _, s := range f.Sockets {
		if s.loaded() && (s.active() || s.Properties["UnitFileState"] == "enabled") {
			found = append(found, f.socketUnit(s)...)
		}
	}
	if !f.bySocket() {
		return orOK(found, "none: greetd binds its own addresses")
	}
	for _, s := range f.Sockets {
		if s.active() && !slices.Contains(f.required(), s.Name) {
			found = append(found, warning(f.setIn("Unit", "Requires="+s.Name, "After="+s.Name),
				"%s does not require %s: started alone, greetd binds its own addresses, and the socket unit can't start any more", f.Unit.Name, s.Name))
		}
	}
	if f.Daemon == nil {
		return orOK(found, "the addresses come from %s", f.socketNames())
	}
	return orOK(found, "%d of %d listeners come from %s", len(f.listenersFrom(SocketUnit)), len(f.Daemon.Listeners), f.socketNames())
}

func (f *Facts) socketNames() string {
	var names []string
	for _, s := range f.Sockets {
		if s.active() {
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		return "a socket unit"
	}
	return strings.Join(names, ", ")
}

// socketUnit is about the settings of one of them.
func (f *Facts) socketUnit(s Unit) []Finding {
	var found []Finding
	set := func(setting string) string {
		return fmt.Sprintf("%s: [Socket] %s; then %s", f.systemctl("edit", s.Name), setting, f.renew(s))
	}
	if !s.active() && f.Unit.active() {
		found = append(found, problem(f.systemctl("stop", f.Unit.Name)+"; "+f.systemctl("start", s.Name),
			"%s is enabled, but %s: it can't start while %s runs", s.Name, s.Properties["ActiveState"], f.Unit.Name))
	}
	if s.active() && f.Daemon != nil && len(f.Daemon.Listeners) > 0 && !f.bySocket() {
		found = append(found, problem(f.systemctl("restart", f.Unit.Name),
			"%s listens, but %s was started without its sockets", s.Name, f.Unit.Name))
	}
	if s.is("Accept") {
		found = append(found, problem(set("Accept=no"), "%s has Accept=yes: greetd takes listening sockets only", s.Name))
	}
	if wait, _ := parseSpan(s.Properties["DeferAcceptUSec"]); wait > 0 {
		found = append(found, problem(set("DeferAcceptSec=0"),
			"%s has DeferAcceptSec=: clients that wait for the greeting are kept out for %v", s.Name, wait))
	}
	if interval, _ := parseSpan(s.Properties["TriggerLimitIntervalUSec"]); interval > 0 {
		found = append(found, warning(set("TriggerLimitIntervalSec=0"),
			"%s gives up after %s starts in %v: a greetd that can't start takes its socket with it", s.Name, s.Properties["TriggerLimitBurst"], interval))
	}
	return found
}

// renew is how to open the sockets of s again.
func (f *Facts) renew(s Unit) string {
	return f.systemctl("stop", f.Unit.Name, s.Name) + "; " + f.systemctl("start", s.Name)
}

// fdStore is about own listeners across a restart.
func fdStore(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	own := len(f.listenersFrom(OwnBind, FDStore))
	if own == 0 && f.bySocket() {
		return notApplicable("socket units keep the listeners")
	}
	most := f.Unit.number("FileDescriptorStoreMax")
	kept := f.Unit.number("NFileDescriptorStore")
	need := own
	if f.Daemon == nil {
		need = f.Config.Listeners
	}
	switch {
	case most < need || most == 0:
		return []Finding{problem(f.set(fmt.Sprintf("FileDescriptorStoreMax=%d", max(2*need, 32))),
			"FileDescriptorStoreMax=%d: at a restart, clients of %s are refused", most, listenersWord(need-most))}
	case f.Process != nil && !f.Process.Self && kept < own:
		return []Finding{problem(f.systemctl("restart", f.Unit.Name),
			"systemd keeps %d of greetd's %s: clients of the others are refused at a restart", kept, listenersWord(own))}
	case own == 0:
		return ok("FileDescriptorStoreMax=%d", most)
	}
	return ok("%s kept across a restart, of %d at most", listenersWord(own), most)
}

func listenersWord(n int) string {
	if n == 1 {
		return "1 listener"
	}
	return fmt.Sprintf("%d listeners", n)
}

// number is that of a property; 0 if it has none.
func (u *Unit) number(property string) int {
	n, err := strconv.Atoi(u.Properties[property])
	if err != nil {
		return 0
	}
	return n
}

// descriptors is about limits.connections: does each client get a descriptor?
func descriptors(f *Facts) []Finding {
	wanted, have := f.Config.MaxConns, uint64(max(f.Unit.number("LimitNOFILE"), 0))
	if !f.Config.Valid {
		wanted = -1
	}
	if f.Process != nil {
		have = f.Process.MaxFiles
	}
	if f.Daemon != nil {
		wanted, have = f.Daemon.MaxConnections, f.Daemon.Descriptors
	}
	need := uint64(max(wanted, 0) + f.DescriptorsBeside)
	asked, _ := strconv.ParseUint(f.Unit.Properties["LimitNOFILE"], 10, 64)
	switch {
	case wanted < 0 || have == 0:
		return []Finding{unknown("greetd check", "there is neither a process nor a unit and a good configuration to compare")}
	case wanted == 0:
		return ok("%d open files; limits.connections is 0, no limit", have)
	case need <= have:
		return ok("%d open files for %d connections", have, wanted)
	}
	return []Finding{problem(f.moreDescriptors(need, have, asked),
		"limits.connections is %d, and needs %d open files, but the process may have %d", wanted, need, have)}
}

// moreDescriptors is how to have as many as are needed. systemd gives as much of what
// the unit asks as it can, without a word.
func (f *Facts) moreDescriptors(need, have, asked uint64) string {
	set := f.set(fmt.Sprintf("LimitNOFILE=%d", need))
	fewer := fmt.Sprintf("limits.connections: %d in greetd.yaml", max(int(have)-f.DescriptorsBeside, 1))
	switch {
	case f.withoutUnit() != nil:
		return fmt.Sprintf("ulimit -n %d before greetd is started; or %s", need, fewer)
	case asked > have && f.Container != "":
		more := fmt.Sprintf("%s; or more for the container, which limits LimitNOFILE= (systemd-nspawn --rlimit=NOFILE=%d, docker --ulimit nofile=%[2]d)", fewer, need)
		if asked < need {
			more += ", and " + set
		}
		return more
	case asked >= need:
		return f.systemctl("restart", f.Unit.Name) + ", since the unit allows more by now; or " + fewer
	}
	return set + "; or " + fewer
}

// backlog is about clients that come all at once, or during a restart.
func backlog(f *Facts) []Finding {
	if f.Backlogs == nil {
		return []Finding{unknown("ss -ltn, column Send-Q", "the sockets of this machine can't be seen")}
	}
	var found []Finding
	tcp, seen, least := 0, 0, 0
	for _, l := range f.expected() {
		address, err := netip.ParseAddrPort(l.Address)
		if err != nil {
			continue // a unix socket
		}
		tcp++
		for _, b := range f.Backlogs {
			if b.Address != netip.AddrPortFrom(address.Addr().WithZone(""), address.Port()) {
				continue
			}
			if seen++; seen == 1 || b.Max < least {
				least = b.Max
			}
			if b.Max < fairBacklog {
				found = append(found, f.shortBacklog(l, b.Max))
			}
		}
	}
	switch {
	case len(found) > 0:
		return found
	case seen > 0:
		return ok("%d clients may wait at each address", least)
	case f.Somaxconn > 0 && f.Somaxconn < fairBacklog:
		return []Finding{problem(f.raiseSomaxconn(), "net.core.somaxconn is %d: no more clients than that can wait at an address", f.Somaxconn)}
	case f.Daemon == nil && f.Process != nil && !f.Process.Self:
		return []Finding{unknown("ss -ltn, column Send-Q", "greetd does not tell where it listens")}
	case f.Daemon == nil:
		return notApplicable("nothing listens yet")
	case tcp == 0:
		return notApplicable("there is no TCP listener")
	}
	return []Finding{unknown("ss -ltn in the network namespace of greetd", "no TCP socket of greetd's is in this network namespace")}
}

// expected are the listeners of the daemon, or those that a socket unit has for it.
func (f *Facts) expected() []Listener {
	if f.Daemon != nil {
		return f.Daemon.Listeners
	}
	var all []Listener
	for _, s := range f.Sockets {
		for line := range strings.Lines(s.Properties["Listen"]) {
			address, kind, _ := strings.Cut(strings.TrimSpace(line), " ")
			if s.active() && kind == "(Stream)" {
				all = append(all, Listener{Name: s.Name, Address: address, Origin: SocketUnit})
			}
		}
	}
	return all
}

// raiseSomaxconn works without the sysctl command, which a small Debian has not.
func (f *Facts) raiseSomaxconn() string {
	if !f.Systemd.Booted {
		return fmt.Sprintf("echo %d >/proc/sys/net/core/somaxconn", fairBacklog)
	}
	return fmt.Sprintf("echo net.core.somaxconn=%d >/etc/sysctl.d/60-greetd-tcp.conf; systemctl restart systemd-sysctl", fairBacklog)
}

// shortBacklog finds out who made it short.
func (f *Facts) shortBacklog(l Listener, length int) Finding {
	again := f.systemctl("stop", f.Unit.Name) + "; " + f.systemctl("start", f.Unit.Name) // a restart keeps the socket
	if f.withoutUnit() != nil {
		again = "start greetd again"
	}
	for _, s := range f.Sockets {
		if l.Origin != SocketUnit || !s.active() {
			continue
		}
		again = f.renew(s)
		if s.number("Backlog") == length {
			return warning(fmt.Sprintf("%s: [Socket] Backlog=%d; then %s", f.systemctl("edit", s.Name), fairBacklog, again),
				"%d clients may wait at %s: %s has Backlog=%[1]d", length, l.Address, s.Name)
		}
	}
	if f.Somaxconn >= fairBacklog {
		return problem(again, "only %d clients may wait at %s, since it was opened when net.core.somaxconn was lower", length, l.Address)
	}
	return problem(f.raiseSomaxconn()+"; "+again, "only %d clients may wait at %s, since net.core.somaxconn is %d", length, l.Address, f.Somaxconn)
}
