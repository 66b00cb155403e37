package doctor

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	oldestSystemd = 252              // that greetd is tested with
	notifyReload  = 253              // since then there is Type=notify-reload
	fairWatchdog  = 10 * time.Second // a shorter one may kill a greetd that is only busy
)

// permission tells what the others could not see, and says so once.
func permission(f *Facts) []Finding {
	switch p := f.Process; {
	case f.Root:
		return ok("root may see everything")
	case p != nil && p.Self:
		return []Finding{unknown(f.asRoot(), "called by the unit, as user %d in its sandbox, which hides most", p.UID)}
	case p != nil && p.Environ == nil:
		return []Finding{unknown(f.asRoot(),
			"environment and namespaces of process %d can't be seen by this user: what depends on them is judged by its unit, or left open", p.PID)}
	}
	return []Finding{unknown(f.asRoot(), "only root may see everything")}
}

// asRoot is the remedy for what this caller can't see.
func (f *Facts) asRoot() string {
	switch {
	case f.Process != nil && f.Process.Self:
		return "ExecStartPre=+" + f.program() + " doctor: with the + as root, outside the sandbox"
	case f.Root:
		return "call it outside of containers and namespaces of its own"
	}
	return "sudo greetd doctor"
}

// answers is about the daemon itself.
func answers(f *Facts) []Finding {
	if f.Daemon == nil {
		return []Finding{f.silent()}
	}
	var found []Finding
	if !f.Daemon.Ready {
		found = append(found, warning("ask again soon", "greetd, process %d, is %s and takes no new clients", f.Daemon.PID, f.Daemon.State))
	}
	for _, l := range f.Daemon.Listeners {
		if l.Trouble != "" {
			found = append(found, problem(f.journal(), "listener %s can't accept clients: %s", l.Name, l.Trouble))
		}
	}
	if f.elsewhere() {
		found = append(found, unknown("call greetd doctor where greetd runs",
			"greetd says that it is process %d, and there is none here: it may run in another container", f.Daemon.PID))
	}
	return orOK(found, "greetd %s answers, process %d, %s", f.Daemon.Version, f.Daemon.PID, f.Daemon.State)
}

// silent says why the daemon does not answer.
func (f *Facts) silent() Finding {
	state := f.Unit.Properties["ActiveState"]
	switch {
	case f.Process != nil && f.Process.Self:
		return notApplicable("greetd is not there yet: doctor was called before its start")[0]
	case f.Silence.Forbidden:
		return unknown(f.asRoot(), "%s", f.Silence.Reason)
	case !f.Silence.Nobody && f.Silence.Reason != "":
		return problem(f.journal(), "%s", f.Silence.Reason)
	case f.Systemd.Booted && f.Unit.Properties == nil:
		return unknown(f.asRoot(), "nobody answers at %s, and systemd can't be asked", f.Silence.Address)
	case !f.Unit.loaded():
		return problem("start greetd; outside systemd it answers only where admin.address is set, such as GREETD_ADMIN_ADDRESS=unix:/run/greetd.sock",
			"nobody answers at %s, and there is no unit %s: there is nothing to look at", f.Silence.Address, f.Unit.Name)
	case f.Unit.active() && f.Unit.Properties["RuntimeDirectory"] == "" && !f.Config.AdminSet:
		return problem(f.set("RuntimeDirectory=greetd"), "%s runs and has no runtime directory, so greetd has no admin socket: reload and status can't work", f.Unit.Name)
	case f.Unit.active():
		return problem(f.journal(), "%s runs, but nobody answers at %s", f.Unit.Name, f.Silence.Address)
	case state == "failed", state == "activating" && f.Unit.Properties["SubState"] != "start":
		return problem(f.journal(), "%s does not start: %s", f.Unit.Name, f.howItEnded())
	case state == "inactive" && f.listensForIt():
		return ok("%s starts with its first client: connect once, and doctor sees more", f.Unit.Name)[0]
	}
	return warning(f.systemctl("enable", "--now", f.Unit.Name), "%s is %s", f.Unit.Name, state)
}

func (f *Facts) howItEnded() string {
	result, code := f.Unit.Properties["Result"], f.Unit.Properties["ExecMainStatus"]
	switch {
	case result == "exit-code" && code == "78":
		return "its configuration is bad (exit code 78)"
	case result == "exit-code" && code == "71":
		return "the system refused an address or a descriptor (exit code 71)"
	case result == "exit-code":
		return "exit code " + code
	}
	return "result " + result
}

// listensForIt reports whether a socket unit waits for the first client.
func (f *Facts) listensForIt() bool {
	for _, s := range f.Sockets {
		if s.active() {
			return true
		}
	}
	return false
}

// startedBySystemd is about the process: is it the unit's?
func startedBySystemd(f *Facts) []Finding {
	p := f.Process
	start := f.systemctl("enable", "--now", f.Unit.Name)
	switch {
	case !f.Systemd.Booted:
		return []Finding{warning("let what starts greetd restart it too, as docker run --restart=on-failure does; the units need systemd",
			"systemd does not run this machine: no unit holds, and nothing below is its doing")}
	case f.Systemd.Version == 0:
		return []Finding{unknown(f.asRoot(), "systemd can't be asked: %s", f.Systemd.Trouble)}
	case f.elsewhere():
		return []Finding{unknown("call greetd doctor where greetd runs", "who started process %d can't be seen from here", f.Daemon.PID)}
	case p == nil:
		return ok("systemd %d runs this machine", f.Systemd.Version)
	case !strings.HasSuffix(p.Group, ".service"):
		return []Finding{problem(fmt.Sprintf("kill %d; %s", p.PID, start), "systemd did not start process %d%s: no promise of the units holds for it", p.PID, f.inGroup())}
	case f.Unit.Properties == nil:
		return []Finding{unknown("ask as the user whose service it is", "process %d belongs to %s, of which this caller's systemd knows nothing", p.PID, p.Group)}
	case f.outside():
		return []Finding{problem(fmt.Sprintf("let ExecStart= be greetd itself (a script: exec greetd); if it is from a shell: kill %d; %s", p.PID, start),
			"process %d is in %s, but is not its main process: systemd does not listen to it", p.PID, p.Group)}
	case f.Systemd.Version < oldestSystemd:
		return []Finding{warning("update systemd", "systemd %d is older than %d, the first that greetd is tested with", f.Systemd.Version, oldestSystemd)}
	}
	return ok("systemd %d started it as %s", f.Systemd.Version, f.Unit.Name)
}

func (f *Facts) inGroup() string {
	if f.Process.Group == "" {
		return ""
	}
	return " (it is in " + f.Process.Group + ")"
}

// outside reports whether there is a process that the unit's promises don't reach.
func (f *Facts) outside() bool {
	p := f.Process
	if p == nil || p.Self {
		return false
	}
	return p.Group != f.Unit.Name || f.Unit.Properties["MainPID"] != strconv.Itoa(p.PID)
}

// elsewhere reports whether the daemon answers, and its process is none of this place.
func (f *Facts) elsewhere() bool { return f.Daemon != nil && f.Process == nil }

// withoutUnit is what a check says that is about a unit, where there is none; else nil.
func (f *Facts) withoutUnit() []Finding {
	switch {
	case !f.Systemd.Booted:
		return notApplicable("without systemd")
	case f.Systemd.Version == 0:
		return []Finding{unknown("", "systemd can't be asked")}
	case f.elsewhere():
		return notApplicable("process %d can't be seen from here", f.Daemon.PID)
	case f.outside():
		return notApplicable("process %d is not the unit's", f.Process.PID)
	case !f.Unit.loaded():
		return notApplicable("there is no unit %s", f.Unit.Name)
	}
	return nil
}

// unitFile is about the files that the unit is read from.
func unitFile(f *Facts) []Finding {
	state := f.Unit.Properties["LoadState"]
	if f.Systemd.Version > 0 && !f.outside() && state != "" && state != "loaded" && state != "not-found" {
		return []Finding{problem("systemd-analyze verify "+f.Unit.Name, "systemd can't use %s: %s", f.Unit.Name, state)}
	}
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	if f.Unit.is("NeedDaemonReload") {
		return []Finding{warning(f.systemctl("daemon-reload")+"; "+f.systemctl("restart", f.Unit.Name),
			"the files of %s have changed since systemd read them", f.Unit.Name)}
	}
	words := f.Unit.Properties["FragmentPath"]
	if n := len(f.Unit.words("DropInPaths")); n == 1 {
		words += " and 1 drop-in"
	} else if n > 1 {
		words += fmt.Sprintf(" and %d drop-ins", n)
	}
	return ok("%s", words)
}

// notify is about READY=1 and the others: does systemd hear them?
func notify(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	kind, access := f.Unit.Properties["Type"], f.Unit.Properties["NotifyAccess"]
	families := f.Unit.words("RestrictAddressFamilies")
	switch {
	case kind != "notify" && kind != "notify-reload":
		found := "Type=%s: systemd takes greetd for ready before it listens, and hears of no reload"
		if f.Systemd.Version < notifyReload {
			found += fmt.Sprintf(" (systemd %d takes an unknown type, such as notify-reload, for simple)", f.Systemd.Version)
		}
		return []Finding{problem(f.set("Type=notify", "NotifyAccess=main"), found, kind)}
	case access == "none":
		return []Finding{problem(f.set("NotifyAccess=main"), "NotifyAccess=none: systemd hears nothing from greetd")}
	case !allows(families, "AF_UNIX"):
		return []Finding{problem(f.set("RestrictAddressFamilies=AF_UNIX"),
			"RestrictAddressFamilies=%s leaves out AF_UNIX: neither notifications nor the journal's protocol can work", strings.Join(families, " "))}
	case f.lacks("NOTIFY_SOCKET"):
		return []Finding{problem(f.systemctl("restart", f.Unit.Name), "the unit says Type=%s, but the process was started without: the unit has changed since", kind)}
	}
	return ok("Type=%s, NotifyAccess=%s", kind, access)
}

// allows reads a list as systemd prints it: what is allowed, or after a ~ what isn't.
// An empty one allows all.
func allows(list []string, what string) bool {
	if len(list) == 0 {
		return true
	}
	first, inverted := strings.CutPrefix(list[0], "~")
	found := first == what
	for _, w := range list[1:] {
		found = found || w == what
	}
	return found != inverted
}

// lacks reports whether greetd was started without the variable. Where its environment
// can't be seen, it reports false.
func (f *Facts) lacks(variable string) bool {
	p := f.Process
	return p != nil && !p.Self && p.Environ != nil && p.Environ[variable] == ""
}

// reload is about ExecReload=.
func reload(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	command := f.Unit.Properties["ExecReload"]
	_, arguments, _ := strings.Cut(command, "argv[]=")
	arguments, _, _ = strings.Cut(arguments, " ;")
	switch words := strings.Fields(arguments); {
	case len(words) > 1 && words[1] == "reload":
		return ok("by greetd reload, which waits for the verdict")
	case f.Unit.Properties["Type"] == "notify-reload":
		return ok("by signal, and systemd waits for the end; a bad file does not make it fail")
	case command == "":
		return []Finding{problem(f.set("ExecReload="+f.program()+" reload"), "no ExecReload=: systemctl reload can't work")}
	default:
		return []Finding{warning(f.set("ExecReload=", "ExecReload="+f.program()+" reload"),
			"ExecReload=%s: systemctl reload returns before the reload is done, and does not tell of a bad file", arguments)}
	}
}

// program is the path of greetd in the unit.
func (f *Facts) program() string {
	_, path, found := strings.Cut(f.Unit.Properties["ExecStart"], "path=")
	if !found {
		return "/usr/sbin/greetd"
	}
	path, _, _ = strings.Cut(path, " ;")
	return path
}

// watchdog is about a greetd that hangs.
func watchdog(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	interval, _ := parseSpan(f.Unit.Properties["WatchdogUSec"])
	if interval == math.MaxInt64 && f.Process == nil {
		return []Finding{unknown("call doctor again when it runs", "systemd tells WatchdogSec= only when %s runs", f.Unit.Name)}
	}
	switch {
	case interval == 0, interval == math.MaxInt64:
		return []Finding{problem(f.set("WatchdogSec=20s"), "no WatchdogSec=: systemd does not notice a greetd that hangs")}
	case f.lacks("WATCHDOG_USEC"):
		return []Finding{problem(f.systemctl("restart", f.Unit.Name), "the unit has WatchdogSec=, but the process was started without: the unit has changed since")}
	case interval < fairWatchdog:
		return []Finding{warning(f.set("WatchdogSec=20s"), "WatchdogSec= is %v: a busy machine may take longer, and systemd then kills a greetd that is well", interval)}
	}
	return ok("a greetd that hangs for %v is restarted", interval)
}

// restart is about a greetd that fails.
func restart(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	policy := f.Unit.Properties["Restart"]
	interval, _ := parseSpan(f.Unit.Properties["StartLimitIntervalUSec"])
	var found []Finding
	switch policy {
	case "on-failure", "always":
	case "no", "on-success":
		found = append(found, problem(f.set("Restart=on-failure", "RestartSec=250ms"), "Restart=%s: a greetd that fails stays down", policy))
	default:
		found = append(found, warning(f.set("Restart=on-failure", "RestartSec=250ms"), "Restart=%s: not every failure is followed by a restart", policy))
	}
	if interval > 0 && f.Unit.Properties["StartLimitBurst"] != "0" {
		found = append(found, warning(f.setIn("Unit", "StartLimitIntervalSec=0"),
			"after %s starts in %v systemd gives up, and takes the socket unit down too", f.Unit.Properties["StartLimitBurst"], interval))
	}
	return orOK(found, "Restart=%s, without a limit of starts", policy)
}

// systemctl is a command for the manager that has the unit.
func (f *Facts) systemctl(words ...string) string {
	command := "systemctl "
	if f.Systemd.User {
		command += "--user "
	}
	return command + strings.Join(words, " ")
}

// journal is a command that shows what greetd and systemd said last.
func (f *Facts) journal() string {
	if !f.Systemd.Booted {
		return "look at what greetd has written to its log"
	}
	command := "journalctl -e "
	if f.Systemd.User {
		command += "--user "
	}
	return command + "-u " + f.Unit.Name
}

// set is how to put settings into the unit.
func (f *Facts) set(settings ...string) string { return f.setIn("Service", settings...) }

func (f *Facts) setIn(section string, settings ...string) string {
	return fmt.Sprintf("%s: [%s] %s; then %s", f.systemctl("edit", f.Unit.Name), section,
		strings.Join(settings, " and "), f.systemctl("restart", f.Unit.Name))
}
