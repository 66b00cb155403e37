package doctor

import (
	"fmt"
	"strings"
	"time"

	"greetd.example/internal/words"
)

const (
	notifyReload  = 253              // the first version of systemd with Type=notify-reload
	shortWatchdog = 10 * time.Second // with a shorter WatchdogSec=, systemd can kill a greetd that is only busy
)

// unitFile checks the files of the unit.
func unitFile(f *Facts, r *results) {
	u := &f.Unit
	switch {
	case u.LoadState == "masked" && !f.outside():
		remedy := f.systemctl("unmask", u.Name)
		if u.active() { // systemd has dropped the sockets in its fd store
			remedy += "; " + f.systemctl("restart", u.Name)
		}
		r.problem(remedy, "%s is masked: once stopped, it can't be started", u.Name)
		return
	case u.LoadState == "not-found" && u.active():
		r.problem("install its file again (make install, or the package greetd-tcp); then "+f.systemctl("daemon-reload")+"; "+f.systemctl("restart", u.Name),
			"%s is running, but systemd does not find its file: once stopped, it can't be started", u.Name)
		return
	}
	if f.Systemd.Version > 0 && !f.outside() && u.LoadState != "" && u.LoadState != "loaded" && u.LoadState != "not-found" {
		r.problem("systemd-analyze verify "+u.Name, "systemd can't use %s: %s", u.Name, u.LoadState)
		return
	}
	if !f.hasUnit(r) {
		return
	}
	if u.NeedDaemonReload {
		r.warning(f.systemctl("daemon-reload")+"; "+f.systemctl("restart", u.Name),
			"the files of %s have changed since systemd read them", u.Name)
	}
	for _, line := range f.Systemd.Verify {
		r.warning(f.systemctl("edit", "--full", u.Name)+"; then systemd-analyze verify "+u.Name+" says nothing", "%s", line)
	}
	r.ok("%s and %s", u.FragmentPath, words.Count(len(u.DropInPaths), "drop-in"))
}

// notify checks whether systemd accepts READY=1 and the other notifications.
func notify(f *Facts, r *results) {
	u := &f.Unit
	switch {
	case u.Type != "notify" && u.Type != "notify-reload":
		found := "Type=%s: systemd considers greetd ready before it listens, and does not wait for its reloads"
		if f.Systemd.Version < notifyReload {
			found += fmt.Sprintf(" (systemd %d treats an unknown type, such as notify-reload, as simple)", f.Systemd.Version)
		}
		r.problem(f.set("Type=notify", "NotifyAccess=main"), found, u.Type)
	case !u.allowsFamily("AF_UNIX"):
		r.problem(f.set("RestrictAddressFamilies=AF_UNIX"),
			"RestrictAddressFamilies= leaves out AF_UNIX: neither notifications nor the journal's protocol can work")
	}
	r.ok("Type=%s, NotifyAccess=%s", u.Type, u.NotifyAccess)
}

// reload checks ExecReload=, and whether greetd may use its admin socket.
func reload(f *Facts, r *results) {
	_, args := command(f.Unit.ExecReload)
	ours := "ExecReload=" + f.program() + " reload"
	if s := f.AdminSocket; s != nil && f.Process != nil && !f.Process.may(*s, 2) {
		r.problem(f.systemctl("restart", f.Unit.Name), "systemctl reload can't work: greetd, user %d, may not use its own admin socket, which has mode %04o and belongs to user %d",
			f.Process.UID, s.Mode, s.UID)
	}
	switch {
	case len(args) > 1 && args[1] == "reload":
		r.ok("systemctl reload calls greetd reload, which waits for the result")
	case f.Unit.Type == "notify-reload":
		r.ok("systemctl reload sends a signal and waits for the end of the reload, but does not fail if the file is invalid")
	case len(args) == 0:
		r.problem(f.set(ours), "no ExecReload=: systemctl reload can't work")
	default:
		r.warning(f.set("ExecReload=", ours),
			"ExecReload=%s: systemctl reload returns before the reload is done, and does not fail if the file is invalid", strings.Join(args, " "))
	}
}

// watchdog checks whether systemd restarts a greetd that hangs.
func watchdog(f *Facts, r *results) {
	interval := f.Unit.WatchdogUSec
	switch {
	case interval == unset && f.Process == nil:
		r.unknown("run doctor again when it is running", "systemd reports WatchdogSec= only when %s runs", f.Unit.Name)
	case interval == 0, interval == unset:
		r.problem(f.set("WatchdogSec=20s"), "no WatchdogSec=: systemd does not notice a greetd that hangs")
	case interval.duration() < shortWatchdog:
		r.warning(f.set("WatchdogSec=20s"), "WatchdogSec= is %v: a busy machine may take longer, and systemd then kills a greetd that works", interval.duration())
	}
	r.ok("a greetd that hangs for %v is restarted", interval.duration())
}

// restart checks whether systemd restarts a greetd that fails.
func restart(f *Facts, r *results) {
	u := &f.Unit
	if u.Restart != "on-failure" && u.Restart != "always" {
		r.problem(f.set("Restart=on-failure", "RestartSec=250ms"), "Restart=%s: after some or all failures greetd is not restarted", u.Restart)
	}
	if u.StartLimitIntervalUSec > 0 && u.StartLimitBurst > 0 {
		r.warning(f.setIn("Unit", "StartLimitIntervalSec=0"),
			"after %d starts in %v systemd gives up, and stops the socket unit too", u.StartLimitBurst, u.StartLimitIntervalUSec.duration())
	}
	r.ok("Restart=%s, without a limit of starts", u.Restart)
}

// sandbox checks whether greetd runs as root, and whether the unit lacks protections of the shipped unit.
func sandbox(f *Facts, r *results) {
	p, u := f.Process, &f.Unit
	byUnit := "run greetd by its unit; or docker run --user 65534 --cap-drop ALL --security-opt no-new-privileges --read-only"
	if !f.byUnit() {
		switch {
		case p != nil && p.UID == 0:
			r.problem(byUnit, "greetd runs as root, and no unit confines it")
		case p != nil:
			r.warning(byUnit, "no unit confines greetd, which runs as user %d", p.UID)
		}
		f.hasUnit(r)
		return
	}
	if !u.DynamicUser && (u.User == "" || u.User == "root" || u.User == "0") {
		r.problem(f.set("DynamicUser=yes", "User=greetd-tcp", "Group=greetd-tcp"), "greetd runs as root")
	}
	switch open := f.Systemd.Open; {
	case open == nil:
		r.unknown(f.asRoot(), "systemd-analyze security did not answer")
	case len(open) > 0:
		r.warning("systemd-analyze security "+u.Name+" explains them, and systemctl cat "+u.Name+" shows where they are set; then "+f.systemctl("restart", u.Name),
			"systemd-analyze security reports protections that the shipped unit has and this unit lacks: %s", strings.Join(open, " "))
	}
	r.ok("systemd-analyze security reports all protections of the shipped unit")
}
