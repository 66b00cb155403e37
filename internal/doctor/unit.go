package doctor

import (
	"fmt"
	"strings"
	"time"
)

const (
	notifyReload  = 253              // since then there is Type=notify-reload
	shortWatchdog = 10 * time.Second // a shorter one may kill a greetd that is only busy
)

// unitFile is about the files that the unit is read from.
func unitFile(f *Facts) []Finding {
	u := &f.Unit
	if f.Systemd.Version > 0 && !f.outside() && u.LoadState != "" && u.LoadState != "loaded" && u.LoadState != "not-found" {
		return []Finding{problem("systemd-analyze verify "+u.Name, "systemd can't use %s: %s", u.Name, u.LoadState)}
	}
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	var found []Finding
	if u.NeedDaemonReload {
		found = append(found, warning(f.systemctl("daemon-reload")+"; "+f.systemctl("restart", u.Name),
			"the files of %s have changed since systemd read them", u.Name))
	}
	for _, line := range f.Systemd.Verify {
		found = append(found, warning(f.systemctl("edit", "--full", u.Name)+"; then systemd-analyze verify "+u.Name+" says nothing", "%s", line))
	}
	return orOK(found, "%s and %s", u.FragmentPath, plural(len(u.DropInPaths), "drop-in"))
}

// notify is about READY=1 and the others: does systemd hear them?
func notify(f *Facts) []Finding {
	u := &f.Unit
	switch {
	case u.Type != "notify" && u.Type != "notify-reload":
		found := "Type=%s: systemd takes greetd for ready before it listens, and hears of no reload"
		if f.Systemd.Version < notifyReload {
			found += fmt.Sprintf(" (systemd %d takes an unknown type, such as notify-reload, for simple)", f.Systemd.Version)
		}
		return []Finding{problem(f.set("Type=notify", "NotifyAccess=main"), found, u.Type)}
	case u.NotifyAccess == "none":
		return []Finding{problem(f.set("NotifyAccess=main"), "NotifyAccess=none: systemd hears nothing from greetd")}
	case !u.allowsFamily("AF_UNIX"):
		return []Finding{problem(f.set("RestrictAddressFamilies=AF_UNIX"),
			"RestrictAddressFamilies= leaves out AF_UNIX: neither notifications nor the journal's protocol can work")}
	case f.lacks("NOTIFY_SOCKET"):
		return []Finding{problem(f.systemctl("restart", u.Name), "the unit says Type=%s, but the process was started without: the unit has changed since", u.Type)}
	}
	return ok("Type=%s, NotifyAccess=%s", u.Type, u.NotifyAccess)
}

// lacks reports whether greetd was started without the variable. Where its environment
// can't be seen, it reports false.
func (f *Facts) lacks(variable string) bool {
	p := f.Process
	return p != nil && !p.Self && p.Environ != nil && p.Environ[variable] == ""
}

// reload is about ExecReload=.
func reload(f *Facts) []Finding {
	_, args := command(f.Unit.ExecReload)
	ours := "ExecReload=" + f.program() + " reload"
	switch {
	case len(args) > 1 && args[1] == "reload":
		return ok("by greetd reload, which waits for the result")
	case f.Unit.Type == "notify-reload":
		return ok("by signal, and systemd waits for the end; a bad file does not make it fail")
	case len(args) == 0:
		return []Finding{problem(f.set(ours), "no ExecReload=: systemctl reload can't work")}
	}
	return []Finding{warning(f.set("ExecReload=", ours),
		"ExecReload=%s: systemctl reload returns before the reload is done, and does not report a bad file", strings.Join(args, " "))}
}

// watchdog is about a greetd that hangs.
func watchdog(f *Facts) []Finding {
	interval := f.Unit.WatchdogUSec
	switch {
	case interval == unset && f.Process == nil:
		return []Finding{unknown("call doctor again when it runs", "systemd reports WatchdogSec= only when %s runs", f.Unit.Name)}
	case interval == 0, interval == unset:
		return []Finding{problem(f.set("WatchdogSec=20s"), "no WatchdogSec=: systemd does not notice a greetd that hangs")}
	case f.lacks("WATCHDOG_USEC"):
		return []Finding{problem(f.systemctl("restart", f.Unit.Name), "the unit has WatchdogSec=, but the process was started without: the unit has changed since")}
	case interval.duration() < shortWatchdog:
		return []Finding{warning(f.set("WatchdogSec=20s"), "WatchdogSec= is %v: a busy machine may take longer, and systemd then kills a greetd that is well", interval.duration())}
	}
	return ok("a greetd that hangs for %v is restarted", interval.duration())
}

// restart is about a greetd that fails.
func restart(f *Facts) []Finding {
	u := &f.Unit
	var found []Finding
	if u.Restart != "on-failure" && u.Restart != "always" {
		found = append(found, problem(f.set("Restart=on-failure", "RestartSec=250ms"), "Restart=%s: a greetd that fails stays down, or does after some failures", u.Restart))
	}
	if u.StartLimitIntervalUSec > 0 && u.StartLimitBurst > 0 {
		found = append(found, warning(f.setIn("Unit", "StartLimitIntervalSec=0"),
			"after %d starts in %v systemd gives up, and takes the socket unit down too", u.StartLimitBurst, u.StartLimitIntervalUSec.duration()))
	}
	return orOK(found, "Restart=%s, without a limit of starts", u.Restart)
}

// sandbox is about what greetd may do and need not: that it is root, and what
// systemd-analyze finds open.
func sandbox(f *Facts) []Finding {
	p, u, aside := f.Process, &f.Unit, f.withoutUnit()
	byUnit := "run greetd by its unit; or docker run --user 65534 --cap-drop ALL --security-opt no-new-privileges --read-only"
	switch {
	case aside != nil && p == nil:
		return aside
	case aside != nil && p.UID == 0:
		return []Finding{problem(byUnit, "greetd runs as root, and no unit confines it")}
	case aside != nil:
		return []Finding{warning(byUnit, "no unit confines greetd, which runs as user %d", p.UID)}
	}
	var found []Finding
	if !u.DynamicUser && (u.User == "" || u.User == "root" || u.User == "0") {
		found = append(found, problem(f.set("DynamicUser=yes", "User=greetd-tcp", "Group=greetd-tcp"), "greetd runs as root"))
	}
	switch open := f.Systemd.Open; {
	case open == nil:
		found = append(found, unknown(f.asRoot(), "systemd-analyze security could not be asked"))
	case len(open) > 0:
		found = append(found, warning("systemd-analyze security "+u.Name+" explains them, and systemctl cat "+u.Name+" shows who set them; then "+f.systemctl("restart", u.Name),
			"systemd-analyze security finds open what the unit as shipped closes: %s", strings.Join(open, " ")))
	}
	return orOK(found, "confined as shipped, says systemd-analyze security")
}
