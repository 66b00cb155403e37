package doctor

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// resources is about limits that only a control group enforces.
func resources(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	var found []Finding
	var limits, missing []string
	for _, limit := range []struct{ property, controller, fair string }{
		{"MemoryMax", "memory", "256M"},
		{"TasksMax", "pids", "256"},
	} {
		value := f.Unit.Properties[limit.property]
		if value == "infinity" || value == "" {
			found = append(found, warning(f.set(limit.property+"="+limit.fair), "no %s=", limit.property))
			continue
		}
		limits = append(limits, limit.property+"="+inBytes(value))
		if !slices.Contains(f.Unit.Controllers, limit.controller) {
			missing = append(missing, limit.controller)
		}
	}
	words := strings.Join(limits, " and ")
	switch {
	case len(limits) == 0:
		return found
	case f.Unit.Controllers == nil:
		return append(found, unknown(f.asRoot(), "whether %s are enforced can't be seen", words))
	case len(missing) > 0:
		return append(found, warning(f.delegate(missing), "not everything of %s is enforced here: control group without %s", words, strings.Join(missing, " and ")))
	}
	return orOK(found, "%s, enforced", words)
}

func (f *Facts) delegate(controllers []string) string {
	if f.Container != "" {
		return fmt.Sprintf("delegate the controllers %s to the container (control groups version 2), or limit all of it from outside", strings.Join(controllers, " and "))
	}
	return "boot with systemd.unified_cgroup_hierarchy=1 cgroup_enable=memory"
}

// inBytes writes a number of bytes as one writes it in a unit.
func inBytes(value string) string {
	n, err := strconv.ParseUint(value, 10, 64)
	if err != nil || n < 1<<20 || n%(1<<20) != 0 {
		return value
	}
	return fmt.Sprintf("%dM", n>>20)
}

// addressFilters is about IPAddressDeny= and IPAddressAllow=, which need BPF.
func addressFilters(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	units := []Unit{f.Unit}
	for _, s := range f.Sockets {
		if s.active() {
			units = append(units, s)
		}
	}
	var found []Finding
	var words []string
	for _, u := range units {
		found = append(found, f.filters(u)...)
		if narrow(u) {
			words = append(words, u.Name+" "+clients(u))
		}
	}
	// To let in nobody is how a service says that it needs no network.
	if f.bySocket() && narrow(f.Unit) && clients(f.Unit) != nobody && !slices.ContainsFunc(f.Sockets, hasFilters) {
		found = append(found, problem("put IPAddressAllow= and IPAddressDeny= into "+f.socketNames()+", or access.allow and access.deny into greetd.yaml",
			"the filters of %s never see clients that come through %s", f.Unit.Name, f.socketNames()))
	}
	switch {
	case len(found) > 0:
		return found
	case !slices.ContainsFunc(units, hasFilters):
		return notApplicable("there are none")
	case len(words) == 0:
		return ok("active, and keep nobody out so far")
	}
	return ok("active: %s", strings.Join(words, "; "))
}

func hasFilters(u Unit) bool { return len(u.words("IPAddressDeny")) > 0 }

// narrow reports whether the filters of u keep anybody out: what is allowed is never
// denied.
func narrow(u Unit) bool { return hasFilters(u) && !everybody(u.words("IPAddressAllow")) }

// everybody reports whether the prefixes are all of IPv4 and of IPv6.
func everybody(prefixes []string) bool {
	return slices.Contains(prefixes, "0.0.0.0/0") && slices.Contains(prefixes, "::/0")
}

const nobody = "lets in nobody"

// clients says whom the filters of u let in.
func clients(u Unit) string {
	allowed, denied := u.words("IPAddressAllow"), u.words("IPAddressDeny")
	switch {
	case !everybody(denied):
		return "keeps out " + strings.Join(denied, " ")
	case len(allowed) == 0:
		return nobody
	}
	return "lets in " + strings.Join(allowed, " ")
}

// filters is about those of one unit.
func (f *Facts) filters(u Unit) []Finding {
	alternative := "access.allow and access.deny in greetd.yaml, or nftables"
	enable := "a kernel with CONFIG_CGROUP_BPF and the unified control group hierarchy; or " + alternative
	if f.Container != "" {
		enable = "allow bpf() to the container (systemd-nspawn --system-call-filter=bpf); or " + alternative
	}
	switch {
	case !hasFilters(u):
		return nil
	case !u.active():
		return []Finding{unknown("call doctor again when it runs", "whether the filters of %s are active only shows when it runs", u.Name)}
	case u.Filtering == nil:
		return []Finding{unknown(f.asRoot(), "whether the filters of %s are active can't be seen", u.Name)}
	case *u.Filtering:
		return nil
	case f.Process != nil && u.Name == f.Unit.Name && f.Process.OwnNetwork != nil && *f.Process.OwnNetwork:
		return []Finding{warning(enable, "the filters of %s are not active (no BPF here); without a network they have little to do", u.Name)}
	case narrow(u):
		return []Finding{problem(enable, "the filters of %s are not active (no BPF here): it talks to everybody", u.Name)}
	}
	return []Finding{warning(enable, "filters would not be active here (no BPF); those of %s keep nobody out", u.Name)}
}

// A hole is something that a process can do, and need not.
type hole struct {
	what    string
	setting string // that closes it
	set     bool   // the unit has it already
}

// sandbox compares the process with what the unit says, and the unit with ours.
func sandbox(f *Facts) []Finding {
	p, u := f.Process, f.Unit
	switch {
	case p == nil:
		return notApplicable("there is no process to look at")
	case p.Self && p.UID == 0 && u.Properties["User"] != "":
		return notApplicable("greetd is not there yet, and doctor is outside of its sandbox")
	}
	holes := p.holes(u)
	if len(holes) == 0 {
		extra := ""
		if p.OwnNetwork != nil && *p.OwnNetwork {
			extra = ", no network of the machine's"
		}
		return ok("user %d, no capabilities, no new privileges, filtered system calls, file system read-only%s", p.UID, extra)
	}
	if f.withoutUnit() != nil {
		return []Finding{f.withoutSandbox(holes)}
	}
	var found []Finding
	for _, h := range holes {
		switch {
		case h.set: // a setting that does nothing is worse than one that isn't there
			found = append(found, problem(f.systemctl("restart", u.Name)+"; if it stays, the "+f.machine()+" does not allow it",
				"greetd %s, though the unit has %s", h.what, h.setting))
		case p.UID == 0 && h == holes[0]: // nothing that greetd does needs it
			found = append(found, problem(f.set(h.setting), "greetd %s", h.what))
		default:
			found = append(found, warning(f.set(h.setting), "greetd %s", h.what))
		}
	}
	return found
}

// withoutSandbox is about a process that no unit has started.
func (f *Facts) withoutSandbox(holes []hole) Finding {
	var all []string
	for _, h := range holes {
		all = append(all, h.what)
	}
	remedy := "run greetd by its unit"
	if !f.Systemd.Booted {
		remedy = "docker run --user 65534 --cap-drop ALL --security-opt no-new-privileges --read-only, or the like of it"
	}
	found := warning(remedy, "greetd %s", strings.Join(all, "; "))
	if f.Process.UID == 0 {
		found.Verdict = Problem
	}
	return found
}

// holes are those of a process of unit u. That greetd is root comes first.
func (p *Process) holes(u Unit) []hole {
	var all []hole
	add := func(open bool, what, setting string, set bool) {
		if open {
			all = append(all, hole{what, setting, set})
		}
	}
	no := func(b *bool) bool { return b != nil && !*b }
	add(p.UID == 0, "runs as root", "DynamicUser=yes and User=greetd-tcp and Group=greetd-tcp", false)
	add(p.Capabilities != 0, fmt.Sprintf("has capabilities (%#x)", p.Capabilities), "CapabilityBoundingSet=", false)
	add(!p.NoNewPrivs, "can gain privileges", "NoNewPrivileges=yes", u.is("NoNewPrivileges"))
	add(!p.Filtered, "may use every system call", "SystemCallFilter=@system-service", u.Properties["SystemCallFilter"] != "")
	add(no(p.ReadOnlyRoot), "may write to the file system", "ProtectSystem=strict", u.Properties["ProtectSystem"] == "strict")
	add(no(p.OwnNetwork) && u.is("PrivateNetwork"), "has the machine's network", "PrivateNetwork=yes", true)
	add(no(p.OwnUsers) && u.is("PrivateUsers"), "has the machine's users", "PrivateUsers=yes", true)
	return all
}

func (f *Facts) machine() string {
	if f.Container != "" {
		return "container (" + f.Container + ")"
	}
	return "kernel"
}
