package doctor

import (
	"fmt"
	"strings"
	"time"

	"greetd.example/internal/limits"
)

// descriptors checks whether there are enough descriptors for limits.connections.
func descriptors(f *Facts, r *results) {
	wanted, have := f.Config.Limits.Connections, f.Unit.LimitNOFILE
	if !f.Config.valid() {
		wanted = -1
	}
	if f.Process != nil {
		have = f.Process.MaxFiles
	}
	if f.Daemon != nil {
		wanted, have = f.Daemon.Limits.Connections, f.Daemon.Limits.Descriptors
	}
	need := uint64(max(wanted, 0) + limits.ReservedDescriptors)
	switch {
	case wanted < 0 || have == 0:
		r.unknown("greetd check", "there is neither a process, nor a unit with a valid configuration, to compare")
		return
	case wanted == 0:
		r.ok("%d open files; limits.connections is 0, no limit", have)
		return
	case need <= have:
		r.ok("%d open files for %d connections", have, wanted)
		return
	}
	more := f.set(fmt.Sprintf("LimitNOFILE=%d", need))
	switch asked := f.Unit.LimitNOFILE; {
	case !f.byUnit():
		more = fmt.Sprintf("ulimit -n %d before greetd is started", need)
	case asked > have && f.Container != "": // systemd silently sets a lower limit if it can't set the limit of the unit
		more = fmt.Sprintf("more for the container, which limits LimitNOFILE= (systemd-nspawn --rlimit=NOFILE=%d, docker --ulimit nofile=%[1]d), and %s", need, more)
	case asked >= need:
		more = f.systemctl("restart", f.Unit.Name) + ", since the unit now allows more"
	}
	r.problem(fmt.Sprintf("%s; or limits.connections: %d in greetd.yaml", more, max(int(have)-limits.ReservedDescriptors, 1)),
		"limits.connections is %d and needs %d open files, but the process may open only %d", wanted, need, have)
}

// resources checks the limits that only a control group enforces. If systemd reports no current value, the
// control group has no such controller.
func resources(f *Facts, r *results) {
	u := &f.Unit
	for _, l := range []struct {
		setting, controller string
		limit, current      uint64
	}{
		{"MemoryMax=256M", "memory", u.MemoryMax, u.MemoryCurrent},
		{"TasksMax=256", "pids", u.TasksMax, u.TasksCurrent},
	} {
		name, _, _ := strings.Cut(l.setting, "=")
		switch {
		case l.limit == unset:
			r.warning(f.set(l.setting), "no %s=", name)
		case !u.active():
			r.unknown("run doctor again when it is running", "whether %s= is enforced can be checked only while %s runs", name, u.Name)
		case l.current == unset:
			r.warning("boot with systemd.unified_cgroup_hierarchy=1 cgroup_enable=memory; in a container: delegate the controller "+l.controller+" to it, or limit the whole container from outside",
				"%s= is not enforced here: control group without %s", name, l.controller)
		}
	}
	r.ok("MemoryMax=%dM and TasksMax=%d, enforced", u.MemoryMax>>20, u.TasksMax)
}

// logOutput returns the output of the log, from the daemon, or else from its configuration.
func (f *Facts) logOutput() string {
	if f.Daemon != nil {
		return f.Daemon.Log.Output
	}
	return f.Config.Log.Output
}

// journal checks whether the log reaches journald with its fields, or syslog.
func journal(f *Facts, r *results) {
	output := f.logOutput()
	if f.Daemon != nil && f.Daemon.Log.Dropped > 0 {
		r.warning("lower log.rate in greetd.yaml, and find out why the receiver is slow: systemctl status systemd-journald",
			"%d log entries were dropped since the start, because %s was too slow", f.Daemon.Log.Dropped, output)
	}
	if f.Journal != "" {
		r.problem("systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service", "journald does not receive the log: %s", f.Journal)
	}
	if f.Syslog != "" {
		r.problem("start a syslog daemon (apt-get install rsyslog), or log: {output: auto} in greetd.yaml; then "+f.apply(),
			"log.output is syslog, but no syslog daemon receives it: %s", f.Syslog)
	}
	if !f.hasUnit(r) {
		return
	}
	stderr := f.Unit.StandardError
	if stderr == "inherit" {
		stderr = f.Unit.StandardOutput
	}
	if stderr == "null" {
		r.problem(f.set("StandardError=journal"), "StandardError=null: if greetd cannot start, the reason is lost")
	}
	switch {
	case !f.Config.valid() && f.Daemon == nil, output == "auto" && strings.HasPrefix(stderr, "journal"), output == "journald", output == "syslog":
	case f.Config.Log.Output == "auto" && stderr != "null":
		r.warning(f.set("StandardError=journal"),
			"the log goes to StandardError=%s, as text without fields: journalctl GREETD_OUTCOME=failed finds nothing", stderr)
	case output == "stdout", stderr != "null":
		r.warning("log: {output: auto} in greetd.yaml; then "+f.systemctl("reload", f.Unit.Name),
			"the log goes to %s, as text without fields: journalctl GREETD_OUTCOME=failed finds nothing", output)
	}
	switch {
	case output == "syslog":
		r.ok("the log goes to syslog, as log.output says")
	case f.Daemon == nil:
		r.ok("the log goes to the journal")
	}
	r.ok("the log goes to journald in its native protocol, with all fields")
}

// journalRate checks whether the rate limit of journald suppresses entries.
func journalRate(f *Facts, r *results) {
	if f.Daemon != nil && f.Daemon.Log.Output != "journald" {
		r.notApplicable("the log does not go to journald")
		return
	}
	limit := f.Journald
	if u := &f.Unit; u.LogRateLimitIntervalUSec > 0 || u.LogRateLimitBurst > 0 {
		limit = RateLimit{Known: true, Interval: u.LogRateLimitIntervalUSec.duration(), Burst: u.LogRateLimitBurst}
	}
	c := f.Config
	visits := 2 * (float64(c.Log.Rate)*limit.Interval.Seconds() + float64(c.Log.Burst)) // the limits apply separately to greeted visits and to other visits
	switch {
	case !c.valid():
		r.unknown("greetd check", "without a valid configuration there is no log.rate")
	case !limit.Known:
		r.unknown("systemd-analyze cat-config systemd/journald.conf", "the limit of journald could not be read")
	case c.Log.Visits == "none":
		r.ok("visits are not logged")
	case limit.Interval < time.Millisecond || limit.Burst == 0:
		r.ok("journald does not limit %s", f.Unit.Name)
	case c.Log.Rate == 0:
		r.warning("log: {rate: 300, burst: 1000} in greetd.yaml; then "+f.systemctl("reload", f.Unit.Name),
			"log.rate is 0 (no limit), and journald suppresses entries above %d in %v, including entries that are not about visits", limit.Burst, limit.Interval)
	case visits > float64(limit.Burst):
		r.warning(f.set(fmt.Sprintf("LogRateLimitIntervalSec=%g", limit.Interval.Seconds()), fmt.Sprintf("LogRateLimitBurst=%.0f", visits*1.1)),
			"log.rate and log.burst allow %.0f visits in %v, but journald suppresses entries above %d", visits, limit.Interval, limit.Burst)
	}
	r.ok("%.0f visits in %v at most: journald accepts them", visits, limit.Interval)
}

// nameCollision checks for the package greetd of Debian, which is a login manager.
func nameCollision(f *Facts, r *results) {
	n := f.Namesake
	var signs, left []string
	if n.PAM {
		left = append(left, "/etc/pam.d/greetd")
	}
	switch n.Package {
	case "", "not-installed":
	case "config-files":
		left = append(left, "its configuration (config-files)")
	default:
		signs = append(signs, "its package greetd is "+n.Package)
	}
	for _, path := range n.Programs {
		signs = append(signs, path+" is another program")
	}
	if n.Display {
		signs = append(signs, f.Unit.Name+" is also display-manager.service")
	}
	switch {
	case len(signs) > 0:
		r.problem("keep one of the two: apt-get purge greetd, or make uninstall in greetd's sources; then rm -f /etc/systemd/system/display-manager.service if it points to greetd.service, and systemctl daemon-reload",
			"a login manager that is also called greetd is installed: %s", strings.Join(signs, "; "))
	case len(left) > 0:
		r.warning("apt-get purge greetd", "a login manager that is also called greetd was installed, and has left %s", strings.Join(left, " and "))
	}
	r.ok("no login manager that is also called greetd")
}
