package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"greetd.example/internal/admin"
	"greetd.example/internal/words"
)

const oldestSystemd = 252 // the oldest version that greetd is tested with

// permission reports everything that the other checks could not look at, in one finding.
func permission(f *Facts, r *results) {
	var unseen []string
	switch p := f.Process; {
	case f.Root:
	case p != nil && p.Self:
		unseen = append(unseen, fmt.Sprintf("most things: called by the unit, as user %d in its sandbox", p.UID))
	case p != nil && p.Environ == nil:
		unseen = append(unseen, fmt.Sprintf("the environment of process %d", p.PID), "which process has which port")
	default:
		unseen = append(unseen, "data that only root can read")
	}
	if unseen = append(unseen, f.Unseen...); len(unseen) > 0 {
		r.unknown(f.asRoot(), "could not look at %s", strings.Join(unseen, "; "))
	}
	r.ok("root may see everything")
}

// asRoot returns the remedy for facts that this caller can't see.
func (f *Facts) asRoot() string {
	switch {
	case f.Process != nil && f.Process.Self:
		return "ExecStartPre=+" + f.program() + " doctor: the + runs it as root, outside the sandbox"
	case f.Root:
		return "run it outside of containers and separate namespaces, with the package systemd installed"
	}
	return "sudo greetd doctor"
}

// answers checks whether the daemon answers, is ready, and can accept clients.
func answers(f *Facts, r *results) {
	d := f.Daemon
	if d == nil {
		whySilent(f, r)
		return
	}
	if !d.Ready {
		r.warning("run doctor again soon", "greetd, process %d, is %s and accepts no new clients", d.PID, d.State)
	}
	for _, l := range d.Listeners {
		if l.Trouble != "" {
			r.problem(f.journal(), "listener %s can't accept clients: %s", l.Name, l.Trouble)
		}
	}
	if f.elsewhere() {
		r.unknown("run greetd doctor where greetd runs",
			"greetd reports the process ID %d, but there is no such process here: it may run in another container", d.PID)
	}
	unit := "in no visible unit"
	if f.Process != nil {
		unit = cmp.Or(f.Process.Unit, unit)
	}
	r.add(OK, "", "greetd %s answers, process %d, %s: %s, asked at %s, with %s",
		[]any{d.Version, d.PID, d.State, unit, f.Address, cmp.Or(d.Configuration.Path, "no configuration file")})
}

// whySilent reports the reason why the daemon does not answer.
func whySilent(f *Facts, r *results) {
	u := &f.Unit
	switch {
	case f.Process != nil && f.Process.Self:
		r.notApplicable("greetd is not running yet: doctor was called before its start")
	case errors.Is(f.Silence, fs.ErrPermission):
		r.unknown(f.asRoot(), "%v", f.Silence)
	case f.Silence != nil && !errors.Is(f.Silence, admin.ErrNoDaemon):
		r.problem(f.journal(), "%v", f.Silence)
	case f.Systemd.Booted && u.LoadState == "":
		r.unknown(f.asRoot(), "no daemon answers at %s, and systemd could not be queried", f.Address)
	case u.LoadState == "masked" && u.down():
		r.problem(f.systemctl("unmask", u.Name)+"; "+f.systemctl("enable", "--now", u.Name), "%s is masked, so that systemd does not start it", u.Name)
	case !u.loaded():
		r.problem("start greetd; outside systemd it answers only if admin.address is set, such as GREETD_ADMIN_ADDRESS=unix:/run/greetd.sock",
			"no daemon answers at %s, and there is no unit %s: there is nothing to examine", f.Address, u.Name)
	case u.active() && len(u.RuntimeDirectory) == 0 && f.Config.Admin.Address == "":
		r.problem(f.set("RuntimeDirectory=greetd"), "%s is running without a runtime directory, so greetd has no admin socket: reload and status cannot work", u.Name)
	case u.active():
		r.problem(f.systemctl("restart", u.Name)+"; or find the reason: "+f.journal(), "%s is running, but no daemon answers at %s", u.Name, f.Address)
	case u.ActiveState == "failed", u.starting() && (u.SubState != "start" || u.NRestarts > 0):
		startFailure(f, r)
	case u.ActiveState == "inactive" && len(f.activeSockets()) > 0:
		r.ok("%s starts with its first client: connect once, then doctor can check more", u.Name)
	default:
		r.warning(f.systemctl("enable", "--now", u.Name), "%s is %s", u.Name, u.ActiveState)
	}
}

// startFailure reports the reason why the unit does not start. It begins with the last status of greetd, if
// there is one.
func startFailure(f *Facts, r *results) {
	u := &f.Unit
	remedy, why := f.journal(), "result "+u.Result
	switch u.Result {
	case "exit-code":
		why = fmt.Sprintf("exit code %d", u.ExecMainStatus)
		if f.Systemd.ExitStatus != "" {
			why += "/" + f.Systemd.ExitStatus
		}
		switch u.ExecMainStatus {
		case 78:
			why, remedy = "its configuration is invalid ("+why+")", "greetd check lists every problem; "+remedy
		case 71:
			why = "the system refused an address or a descriptor (" + why + ")"
		}
	case "signal", "core-dump":
		why = "it was killed by " + unix.SignalName(syscall.Signal(u.ExecMainStatus))
	case "oom-kill":
		why, remedy = "it was killed because memory ran out", f.set("MemoryMax=512M", "MemoryHigh=384M")+"; or a lower limits.connections"
	case "watchdog":
		why = fmt.Sprintf("it was stuck for WatchdogSec=%v", u.WatchdogUSec.duration())
	case "timeout":
		why = fmt.Sprintf("it was not ready after TimeoutStartSec=%v", u.TimeoutStartUSec.duration())
	case "start-limit-hit":
		why, remedy = "systemd gave up after too many starts", f.systemctl("reset-failed", u.Name)+"; "+remedy
	case "success", "":
		why = "it is being started again"
	}
	again, first := "", ""
	switch {
	case u.StatusText == "":
	case slices.Contains([]string{"signal", "core-dump", "oom-kill", "watchdog"}, u.Result): // it ran until then
		why += "; its last status: " + u.StatusText
	default:
		first = u.StatusText + "; "
	}
	if u.starting() && u.NRestarts > 0 {
		again = ", after " + words.Count(u.NRestarts, "restart")
	}
	r.problem(remedy, "%s%s does not start%s: %s", first, u.Name, again, why)
}

// startedBySystemd checks whether the process of the daemon is the main process of its unit.
func startedBySystemd(f *Facts, r *results) {
	p := f.Process
	start := f.systemctl("enable", "--now", f.Unit.Name)
	switch {
	case !f.Systemd.Booted:
		r.warning("make the program that starts greetd restart it too, as with docker run --restart=on-failure; the units need systemd",
			"systemd does not run this machine: units have no effect here")
	case f.Systemd.Version == 0:
		r.unknown(f.asRoot(), "systemd could not be queried: %s", f.Systemd.Trouble)
	case f.elsewhere():
		r.unknown("run greetd doctor where greetd runs", "could not find out who started process %d", f.Daemon.PID)
	case p == nil:
		r.ok("systemd %d runs this machine", f.Systemd.Version)
	case strings.HasPrefix(p.Unit, "user@"):
		r.unknown("run doctor as the user whose service it is", "process %d belongs to %s, and this user cannot query its systemd", p.PID, p.Unit)
	case !strings.HasSuffix(p.Unit, ".service"):
		r.problem(fmt.Sprintf("kill %d; %s", p.PID, start), "systemd did not start process %d (of unit %s): the settings of the units do not apply to it", p.PID, cmp.Or(p.Unit, "none"))
	case f.outside():
		r.problem(fmt.Sprintf("make ExecStart= run greetd itself (in a script: exec greetd); if you started it from a shell: kill %d; %s", p.PID, start),
			"process %d is in %s, but is not its main process: systemd ignores its notifications", p.PID, p.Unit)
	case f.Systemd.Version < oldestSystemd:
		r.warning("update systemd", "systemd %d is older than %d, the first that greetd is tested with", f.Systemd.Version, oldestSystemd)
	}
	r.ok("systemd %d started it as %s", f.Systemd.Version, f.Unit.Name)
}

// outside reports whether there is a process to which the settings of the unit do not apply.
func (f *Facts) outside() bool {
	p := f.Process
	return p != nil && !p.Self && (p.Unit != f.Unit.Name || f.Unit.MainPID != p.PID)
}

// elsewhere reports whether the daemon answers, but its process can't be seen here, for example because it
// runs in another container.
func (f *Facts) elsewhere() bool { return f.Daemon != nil && f.Process == nil }

// hasUnit reports whether there is a unit that a check can examine, and greetd is started by it. If not, it
// adds the reason to the results.
func (f *Facts) hasUnit(r *results) bool {
	switch {
	case !f.Systemd.Booted:
		r.notApplicable("without systemd")
	case f.Systemd.Version == 0:
		r.unknown("", "systemd could not be queried")
	case f.elsewhere():
		r.notApplicable("process %d is not visible from here", f.Daemon.PID)
	case f.outside():
		r.notApplicable("process %d does not belong to the unit", f.Process.PID)
	case !f.Unit.loaded():
		r.notApplicable("there is no unit %s", f.Unit.Name)
	default:
		return true
	}
	return false
}

// byUnit reports the same as hasUnit, and adds no reason to results.
func (f *Facts) byUnit() bool { return f.hasUnit(new(results)) }

// configuration checks whether the configuration file is valid, readable for greetd, and in force.
func configuration(f *Facts, r *results) {
	c := f.Config
	name := c.Path
	if name == "" {
		name = "the defaults, without a file"
	}
	apply := f.apply()
	check := "greetd check"
	instance, isInstance := strings.CutPrefix(strings.TrimSuffix(f.Unit.Name, ".service"), "greetd@")
	switch {
	case isInstance && f.byUnit():
		check += " --instance '" + instance + "'"
	case c.Path != "" && f.Systemd.Booted && !f.byUnit():
		check += " --here --config " + c.Path
	case c.Path != "":
		check += " --config " + c.Path
	}
	switch {
	case c.Forbidden:
		r.unknown(f.asRoot(), "this user may not read %s", name)
	case len(c.Problems) > 0:
		more := ""
		if n := len(c.Problems) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more)", n)
		}
		r.problem(check+" lists every problem; then "+apply, "%s%s", c.Problems[0], more)
	case f.Daemon != nil && f.Daemon.Configuration.LastReload.Refused():
		r.problem(check+"; then "+apply, "the last reload was refused: %s", firstLine(f.Daemon.Configuration.LastReload.Error))
	case f.Daemon != nil && c.File != nil && c.File.Changed.After(f.Daemon.Configuration.Loaded):
		r.warning(apply, "%s, or a drop-in of it, has changed since greetd loaded it", name)
	}
	for _, warning := range c.Warnings {
		found, remedy, _ := strings.Cut(warning, "; ")
		r.warning(remedy, "%s", found)
	}
	if c.File != nil && !f.mayRead(*c.File) {
		r.problem("chmod a+r "+c.Path, "the user of %s may not read %s: its next reload or start fails", f.Unit.Name, c.Path)
	}
	if f.Daemon == nil {
		r.ok("%s", name)
		return
	}
	r.ok("%s, generation %d", name, f.Daemon.Configuration.Generation)
}

// apply returns the command that makes greetd load its configuration.
func (f *Facts) apply() string {
	switch {
	case !f.byUnit():
		return "greetd reload"
	case !f.Unit.active():
		return f.systemctl("start", f.Unit.Name)
	}
	return f.systemctl("reload", f.Unit.Name)
}

// mayRead reports whether greetd may read the file, by its permission bits.
func (f *Facts) mayRead(file File) bool {
	if f.Process == nil {
		return file.Mode&0o004 != 0 || !f.Unit.DynamicUser // the dynamic user does not exist before the start
	}
	return f.Process.may(file, 4)
}

// may reports whether p has the permission bit for a file: 4 for reading, 2 for writing.
func (p *Process) may(file File, bit uint32) bool {
	return p.UID == 0 || file.Mode&bit != 0 ||
		p.UID == file.UID && file.Mode&(bit<<6) != 0 ||
		slices.Contains(p.GIDs, file.GID) && file.Mode&(bit<<3) != 0
}

// systemctl returns a systemctl command for the manager of the unit.
func (f *Facts) systemctl(words ...string) string {
	return "systemctl " + f.user() + strings.Join(words, " ")
}

// journal returns a command that shows the last log entries of greetd, and those of systemd about it.
func (f *Facts) journal() string {
	if !f.Systemd.Booted {
		return "look at what greetd has written to its log"
	}
	return "journalctl -e " + f.user() + "-u " + f.Unit.Name
}

// user returns the option --user if the unit belongs to the manager of a user.
func (f *Facts) user() string {
	if f.Systemd.User {
		return "--user "
	}
	return ""
}

// set returns the remedy that adds settings to the section [Service] of the unit.
func (f *Facts) set(settings ...string) string { return f.setIn("Service", settings...) }

func (f *Facts) setIn(section string, settings ...string) string {
	return fmt.Sprintf("%s: [%s] %s; then %s", f.systemctl("edit", f.Unit.Name), section,
		strings.Join(settings, " and "), f.systemctl("restart", f.Unit.Name))
}

// program returns the path of greetd in ExecStart= of the unit.
func (f *Facts) program() string {
	if path, _ := command(f.Unit.ExecStart); path != "" {
		return path
	}
	return "/usr/sbin/greetd"
}
