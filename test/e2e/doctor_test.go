package e2e

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

type finding struct{ Check, Verdict, Found, Remedy string }

// doctor returns what greetd doctor finds, and fails the test if its exit code is not
// that of its findings.
func (m *machine) doctor() []finding {
	m.Helper()
	out, code := m.try("greetd", "doctor", "--json")
	var report struct {
		Healthy  bool
		Findings []finding
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		m.Fatalf("greetd doctor --json: %v\n%s", err, out)
	}
	ill := slices.ContainsFunc(report.Findings, func(f finding) bool { return f.Verdict == "problem" })
	if report.Healthy == ill || (code == 0) == ill || code > 1 {
		m.Errorf("exit %d\n%s", code, out)
	}
	return report.Findings
}

func isProblem(f finding) bool { return f.Verdict == "problem" }

// has returns the finding of check that has these words in it.
func has(findings []finding, check, words string) (finding, bool) {
	i := slices.IndexFunc(findings, func(f finding) bool {
		return f.Check == check && (f.Verdict == "problem" || f.Verdict == "warning") && strings.Contains(f.Found, words)
	})
	if i < 0 {
		return finding{}, false
	}
	return findings[i], true
}

var edit = regexp.MustCompile(`systemctl edit (\S+): \[(\w+)\] (.*?)(?:; then (.*))?$`)

// carryOut carries out a remedy as it is printed, and of several the first.
func (m *machine) carryOut(remedy string) {
	m.Helper()
	first, rest, _ := strings.Cut(remedy, "; or ")
	if _, then, found := strings.Cut(rest, "; then "); found {
		first += "; then " + then
	}
	step := edit.FindStringSubmatch(first)
	if step == nil {
		m.run("sh", "-c", strings.ReplaceAll(first, "; then ", "; "))
		return
	}
	m.change(step[1], "override.conf", append([]string{"[" + step[2] + "]"}, strings.Split(step[3], " and ")...)...)
	m.run("systemctl", "daemon-reload")
	if step[4] != "" {
		m.run("sh", "-c", step[4])
	}
}

// change adds lines to a drop-in of a unit.
func (m *machine) change(unit, name string, lines ...string) {
	m.Helper()
	path := "/etc/systemd/system/" + unit + ".d/" + name
	before, _ := m.try("cat", path)
	if strings.HasPrefix(before, "[") {
		lines = append([]string{before}, lines...)
	}
	m.write(path, strings.Join(lines, "\n")+"\n")
}

// A fault is something that is wrong on a machine, and what doctor says of it.
type fault struct {
	check, found string
	make         func(m *machine)
	remedy       func(m *machine, remedy string) // nil: carryOut
}

// with puts settings into a unit.
func with(unit, section string, settings ...string) func(m *machine) {
	return func(m *machine) { m.change(unit, "fault.conf", append([]string{"[" + section + "]"}, settings...)...) }
}

func inService(settings ...string) func(m *machine) {
	return with("greetd.service", "Service", settings...)
}

func inSocket(settings ...string) func(m *machine) {
	return with("greetd.socket", "Socket", settings...)
}

func byShell(script string) func(m *machine) {
	return func(m *machine) { m.run("sh", "-c", script) }
}

func configured(lines ...string) func(m *machine) {
	return func(m *machine) { m.configure(lines...) }
}

// mend is a remedy in words, which begins so, and what somebody does who has read it.
func mend(words, script string) func(m *machine, remedy string) {
	return func(m *machine, remedy string) {
		m.Helper()
		if !strings.HasPrefix(remedy, words) {
			m.Errorf("the remedy is %q, want %q", remedy, words)
		}
		m.run("sh", "-c", script)
	}
}

// look carries out a remedy that only looks.
func look(m *machine, remedy string) {
	m.Helper()
	m.run("sh", "-c", remedy+" --no-pager >/dev/null")
}

// second is the other way that a remedy has.
func second(m *machine, remedy string) {
	m.Helper()
	_, other, _ := strings.Cut(remedy, "; or close the port: ")
	m.run("sh", "-c", other)
}

const (
	start   = "systemctl start greetd"
	expired = -time.Minute
	shellOf = "GREETD_ADMIN_ADDRESS=unix:/run/shell.sock setsid greetd --listen 127.0.0.1:10000 >/dev/null 2>&1 & " +
		"until greetprobe 127.0.0.1:10000 >/dev/null; do sleep 0.1; done"
)

// faults are what is wrong in one round, all at once, some before greetd is started and some after that. doctor
// finds each of them, and when all remedies have been carried out it finds none, nor any other problem.
var faults = []struct {
	before []fault
	start  string
	after  []fault
	since  string // the first systemd on which this can happen
}{
	{
		before: []fault{
			{"watchdog", "no WatchdogSec=", inService("WatchdogSec=0"), nil},
			{"restart", "Restart=no", inService("Restart=no"), nil},
			{"restart", "after 5 starts in 10s", with("greetd.service", "Unit", "StartLimitIntervalSec=10s", "StartLimitBurst=5"), nil},
			{"reload", "no ExecReload=", inService("ExecReload="), nil},
			{"fd-store", "FileDescriptorStoreMax=0", inService("FileDescriptorStoreMax=0"), nil},
			{"journal", "StandardError=null", inService("StandardError=null"), nil},
			{"sandbox", "runs as root", inService("DynamicUser=no", "User=root", "Group=root"), nil},
			{"resources", "no MemoryMax=", inService("MemoryMax=infinity"), nil},
			{"address-filters", "of greetd.service let in nobody", inService("IPAddressAllow="), nil},
			{"configuration", "timeouts.drain (1m0s together) are not below TimeoutStopSec=20s", configured("limits: {connections: 2000}", "timeouts: {drain: 60s}"), nil},
			{"descriptors", "limits.connections is 2000", inService("LimitNOFILE=1000"), nil},
			{"backlog", "only 128 clients", byShell("echo 128 >/proc/sys/net/core/somaxconn"), nil},
		},
		start: start,
	},
	{
		before: []fault{
			{"notify", "Type=simple", inService("Type=simple"), nil},
			{"watchdog", "WatchdogSec= is 2s", inService("WatchdogSec=2s"), nil},
			{"reload", "/usr/bin/env kill", inService("ExecReload=", "ExecReload=/usr/bin/env kill -HUP $MAINPID"), nil},
			{"daemon", "has no admin socket", inService("RuntimeDirectory="), nil},
			{"unit", "ProtectHum", inService("ProtectHum=yes"), mend("systemctl edit --full greetd.service", "sed -i /ProtectHum/d /etc/systemd/system/greetd.service.d/fault.conf; systemctl daemon-reload")},
		},
		start: start,
	},
	{
		before: []fault{
			{"certificates", "expired at", func(m *machine) {
				certificateFor(m, "/etc/ssl/old", expired)
				for _, name := range []string{"new", "next", "after"} {
					certificateFor(m, "/etc/ssl/"+name, 90*24*time.Hour)
				}
				m.run("sh", "-c", "chmod 644 /etc/ssl/*.key; mkdir -p -m 777 /run/closed /run/open; chmod 777 /run/closed")
				m.configure(
					`listeners: [{name: old, address: ":10000", tls: {certificate: /etc/ssl/old.pem, key: /etc/ssl/old.key}},`,
					`  {name: new, address: ":10001", tls: {certificate: /etc/ssl/new.pem, key: /etc/ssl/new.key}},`,
					`  {name: a, address: "unix:/run/greetd/a.sock"}, {name: b, address: "unix:/run/closed/b.sock"}, {name: c, address: "unix:/run/open/c.sock"},`,
					`  {name: d, address: "unix:/tmp/d.sock"}, {name: e, address: "unix:/run/open/e.sock", mode: "0600"}]`)
			}, mend("renew /etc/ssl/old.pem, which greetd serves by itself", "cp /etc/ssl/after.key /etc/ssl/old.key; cp /etc/ssl/after.pem /etc/ssl/old.pem")},
			{"unix-sockets", "permission denied at /run/greetd", inService("RuntimeDirectoryMode=0700", "ReadWritePaths=/run/closed /run/open"), nil},
			{"unix-sockets", "/tmp/d.sock of listener d: the sandbox", nothing, mend("address: unix:/run/greetd/d.sock in greetd.yaml",
				"sed -i s,unix:/tmp/d.sock,unix:/run/greetd/d.sock, /etc/greetd/greetd.yaml; systemctl restart greetd.service")},
		},
		start: start,
		after: []fault{
			{"unix-sockets", "permission denied at /run/closed", byShell("chmod 700 /run/closed"), nil},
			{"unix-sockets", "/run/open/c.sock of listener c: the mode", byShell("chmod 600 /run/open/c.sock"), nil},
			{"unit", "have changed since systemd read them", byShell("echo >>/etc/systemd/system/greetd.service.d/fault.conf"), nil},
			{"certificates", "listener new serves another certificate", byShell("for f in key pem; do mount --bind /etc/ssl/next.$f /etc/ssl/new.$f; done"), nil},
		},
	},
	{
		before: []fault{{"unix-sockets", "permission denied at /run/private", func(m *machine) {
			m.configure(`listeners: [{name: a, address: "unix:/run/greetd/a.sock"}]`)
			inService("RuntimeDirectoryPreserve=restart")(m)
		}, nil}},
		start: start,
	},
	{
		before: []fault{{"journal-rate", "above 100", inService("LogRateLimitBurst=100"), nil}},
		start:  start,
		after:  []fault{{"configuration", "has changed since greetd loaded it", changedLater, nil}},
	},
	{
		start: start,
		after: []fault{
			{"configuration", "may not read /etc/greetd/greetd.yaml", byShell("chmod 600 /etc/greetd/greetd.yaml"), nil},
			{"journal", "journald does not receive the log", byShell("systemctl --quiet stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald.service"), nil},
			{"reload", "may not use its own admin socket", byShell("chown root:root /run/greetd/admin.sock"), nil},
		},
	},
	{
		start: start,
		after: []fault{{"daemon", "is running, but no daemon answers at unix:/run/greetd/admin.sock", byShell("rm /run/greetd/admin.sock"), nil}},
	},
	{
		start: start,
		after: []fault{{"unit", "systemd does not find its file", byShell("mv /usr/lib/systemd/system/greetd.service /run/greetd.lost; systemctl daemon-reload"), mend(
			"install its file again", "mv /run/greetd.lost /usr/lib/systemd/system/greetd.service; systemctl daemon-reload; systemctl restart greetd")}},
	},
	{
		start: start,
		after: []fault{{"unit", "is masked: once stopped", byShell("systemctl --quiet mask greetd"), nil}},
	},
	{
		start: start,
		after: []fault{{"daemon", "greetd.service is masked", byShell("systemctl --quiet mask --now greetd"), nil}},
	},
	{
		start: start,
		after: []fault{{"configuration", "greetd.yaml:1: greting", func(m *machine) {
			m.configure("greting: x")
			m.try("systemctl", "reload", "greetd")
		}, mend("greetd check", "sed -i s/greting/greeting/ /etc/greetd/greetd.yaml; systemctl reload greetd.service")}},
	},
	{
		before: []fault{{"daemon", "greetd.yaml:1: greting", configured("greting: x"), mend("greetd check lists every problem",
			"sed -i s/greting/greeting/ /etc/greetd/greetd.yaml; systemctl restart greetd.service")}},
		start: start + " || true",
	},
	{
		before: []fault{
			{"ports", "systemd, for thief.socket", func(m *machine) {
				m.write("/etc/systemd/system/thief.socket", "[Socket]\nListenStream=10000\nAccept=yes\n")
				m.write("/etc/systemd/system/thief@.service", "[Service]\nExecStart=/bin/true\n")
				inService("RestartSec=1ms")(m)
				m.run("sh", "-c", "systemctl daemon-reload; systemctl start thief.socket")
			}, nil},
		},
		start: start + " || true",
		after: []fault{{"daemon", "address already in use", inLoop, look}},
	},
	{
		before: []fault{{"ports", "greetd, process ", byShell(shellOf), nil}},
		start:  start + " || true",
		after:  []fault{{"daemon", "address already in use", nothing, look}},
	},
	{
		before: []fault{{"ports", "systemd listens on [::]:10000 for greetd.service, which is inactive", storePreserved, nil}},
		start:  "systemctl enable --now greetd; systemctl stop greetd",
		since:  "254",
	},
	{
		before: []fault{{"ports", "systemd listens on [::]:10000 for greetd.service, which is inactive", storePreserved, second}},
		start:  "systemctl enable --now greetd; systemctl stop greetd",
		since:  "254",
	},
	{
		start: start,
		after: []fault{{"socket-units", "greetd.socket is enabled, but inactive", byShell("systemctl enable greetd.socket"), nil}},
	},
	{
		start: start + "; systemctl restart greetd",
		after: []fault{{"address-filters", "127.0.0.1 reaches listener greet, which the filters of greetd.service forbid", narrowedAtRestart, withEffect(false)}},
	},
	{
		before: []fault{{"address-filters", "127.0.0.1 reaches listener greet, which the filters of greetd.service forbid", storePreserved, withEffect(false)}},
		start:  "systemctl enable --now greetd; systemctl restart greetd",
		after:  []fault{{"address-filters", "reaches", narrowedAtRestart, func(*machine, string) {}}},
		since:  "254",
	},
	{
		before: []fault{{"address-filters", "127.0.0.1 does not reach listener greet, which the filters of greetd.service allow", inService(narrow...), withEffect(true)}},
		start:  start + "; systemctl restart greetd; rm /etc/systemd/system/greetd.service.d/fault.conf; systemctl daemon-reload; systemctl restart greetd; ! " + reach,
	},
	{
		before: []fault{
			{"socket-units", "DeferAcceptSec=", func(m *machine) {
				m.example("greetd.service", "socket-only.conf")
				inSocket("DeferAcceptSec=1")(m)
			}, nil},
			{"socket-units", "TriggerLimitIntervalSec=", inSocket("TriggerLimitIntervalSec=2s"), nil},
			{"backlog", "only 16 clients", inSocket("Backlog=16"), nil},
			{"address-filters", "of greetd.socket let in nobody", inSocket("IPAddressDeny=any"), nil},
			{"address-filters", "do not apply to clients that come through greetd.socket", func(m *machine) {
				m.change("greetd.service", "zz-after-socket-only.conf", "[Service]", "IPAddressAllow=10.0.0.0/8")
			}, mend("put IPAddressAllow= and IPAddressDeny= into greetd.socket", "rm /etc/systemd/system/greetd.service.d/zz-after-socket-only.conf; systemctl daemon-reload")},
		},
		start: "systemctl start greetd.socket greetd.service",
	},
}

func nothing(*machine) {}

// narrow keeps out 127.0.0.1.
var narrow = []string{"IPAddressDeny=any", "IPAddressAllow=", "IPAddressAllow=10.0.0.0/8"}

const reach = "greetprobe -t 2s 127.0.0.1:10000 >/dev/null"

// narrowedAtRestart gives the unit a filter that does not reach its listener, which is in the control group of an
// earlier start.
func narrowedAtRestart(m *machine) {
	m.Helper()
	inService(narrow...)(m)
	m.run("sh", "-c", "systemctl daemon-reload; systemctl restart greetd; "+reach)
	const warning = "apply to listener greet as they were when an earlier start bound the socket"
	m.eventually("greetd warns of it", func() bool {
		return strings.Contains(m.run("sh", "-c", "journalctl --sync; journalctl --no-pager -b -u greetd _PID=$(systemctl show -P MainPID greetd)"), warning)
	})
}

// withEffect carries out a remedy, after which 127.0.0.1 is let in or not.
func withEffect(letIn bool) func(m *machine, remedy string) {
	return func(m *machine, remedy string) {
		m.Helper()
		m.carryOut(remedy)
		if _, code := m.try("sh", "-c", reach); (code == 0) != letIn {
			m.Errorf("after %q the filter has no effect", remedy)
		}
	}
}

// changedLater changes the file in a later tick of the file system's clock than that of the start.
func changedLater(m *machine) {
	m.run("sh", "-c", "touch /run/started; until [ "+config+" -nt /run/started ]; do echo 'greeting: new' >"+config+"; done")
}

func storePreserved(m *machine) {
	m.example("greetd.service", "fd-store-preserve.conf")
}

// inLoop looks often at a unit that starts over and over: the first words are greetd's own, and what systemd has
// forked and is not greetd yet is never said to be wrong.
func inLoop(m *machine) {
	for range 4 {
		found := m.doctor()
		if !strings.HasPrefix(found[0].Found, m.property("greetd", "StatusText")) || !strings.Contains(found[0].Found, "address already in use") {
			m.Errorf("the first finding is %+v", found[0])
		}
		for _, check := range []string{"systemd", "sandbox", "descriptors"} {
			if f, is := has(found, check, ""); is {
				m.Errorf("before greetd was there: %+v", f)
			}
		}
	}
}

// fresh leaves nothing of the round before.
func (m *machine) fresh() {
	m.Helper()
	m.run("sh", "-c", `systemctl disable --quiet --now greetd.socket greetd.service
		systemctl clean --what=fdstore greetd.service 2>/dev/null
		rm -rf /etc/systemd/system/greetd.service.d /etc/systemd/system/greetd.socket.d
		systemctl daemon-reload; systemctl reset-failed; ! systemctl is-active --quiet greetd.service`)
	m.configure("# the defaults")
}

// doctorHasNoComplaint: of a machine on which nothing is wrong.
func doctorHasNoComplaint(m *machine) {
	m.Helper()
	for _, f := range m.doctor() {
		// In a container here there are neither memory nor pids controllers.
		if f.Verdict != "ok" && f.Verdict != "n/a" && f.Check != "resources" {
			m.Errorf("%+v", f)
		}
	}
	if out, code := m.try("su", "nobody", "-s", "/bin/sh", "-c", "greetd doctor"); code != 0 || !strings.Contains(out, "sudo greetd doctor") {
		m.Errorf("an ordinary user: exit %d\n%s", code, out)
	}
}

// Each fault is made, found, and gone once its remedy was carried out, word for word where it is a command.
func TestDoctorFindsFaultsAndItsRemediesHelp(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		for _, mode := range modes {
			m.fresh()
			mode.prepare(m)
			m.run("systemctl", "daemon-reload")
			m.run("systemctl", "start", mode.unit)
			m.greeted("tcp", overIPv4, hello)
			m.run("systemctl", "daemon-reload") // systemd forgets what its filters have counted, and keeps the filters
			doctorHasNoComplaint(m)
		}
		for _, round := range faults {
			if m.release.systemd < round.since || m.Failed() {
				continue
			}
			m.fresh()
			for _, f := range round.before {
				f.make(m)
			}
			m.run("sh", "-c", "systemctl daemon-reload; "+round.start)
			for _, f := range round.after {
				f.make(m)
			}
			all := slices.Concat(round.after, round.before)
			findings := m.doctor()
			remedies := make([]string, len(all))
			for i, f := range all {
				seen, is := has(findings, f.check, f.found)
				if !is {
					m.Fatalf("%s: %q is not among %+v", f.check, f.found, findings)
				}
				remedies[i] = seen.Remedy
			}
			for i, f := range all {
				m.Logf("%s: %s", f.check, remedies[i])
				if f.remedy == nil {
					m.carryOut(remedies[i])
				} else {
					f.remedy(m, remedies[i])
				}
			}
			for range 10 { // a certificate is read in its time
				if findings = m.doctor(); !slices.ContainsFunc(findings, isProblem) {
					break
				}
			}
			for _, f := range findings {
				if isProblem(f) {
					m.Errorf("after all remedies: %+v", f)
				}
			}
			for i, f := range all {
				if seen, is := has(findings, f.check, f.found); is {
					m.Errorf("%q did not help: %+v", remedies[i], seen)
				}
			}
		}
		m.fresh()
		doctorKnowsWhereItIs(m)
		m.fresh()
		doctorWithoutBus(m)
	})
}

// doctorWithoutBus: root asks systemd itself then, and another user is told what is missing.
func doctorWithoutBus(m *machine) {
	m.Helper()
	m.run("systemctl", "start", "greetd")
	m.run("systemctl", "stop", "dbus.socket", "dbus.service")
	if i := slices.IndexFunc(m.doctor(), func(f finding) bool { return f.Check == "systemd" && f.Verdict == "ok" }); i < 0 {
		m.Error("root can't ask systemd without the bus")
	}
	out, code := m.try("su", "nobody", "-s", "/bin/sh", "-c", "greetd doctor")
	if code != 0 || !strings.Contains(out, "could not look at") || !strings.Contains(out, "systemd could not be queried") {
		m.Errorf("an ordinary user: exit %d\n%s", code, out)
	}
}

// doctorKnowsWhereItIs: a shell is not the unit, and greetd before its start is not there yet.
func doctorKnowsWhereItIs(m *machine) {
	m.Helper()
	m.run("sh", "-c", shellOf)
	out, code := m.try("env", "GREETD_ADMIN_ADDRESS=unix:/run/shell.sock", "greetd", "doctor", "--json")
	var report struct{ Findings []finding }
	if err := json.Unmarshal([]byte(out), &report); err != nil || code != 1 {
		m.Fatalf("from a shell: exit %d, %v\n%s", code, err, out)
	}
	f, is := has(report.Findings, "systemd", "systemd did not start process")
	if !is || !strings.Contains(f.Remedy, "systemctl enable --now greetd.service") {
		m.Fatalf("from a shell: %+v", report.Findings)
	}
	m.carryOut(f.Remedy)
	if out, code := m.try("greetd", "doctor"); code != 0 || !strings.Contains(strings.Join(strings.Fields(out), " "), "running: greetd.service, asked at unix:/run/greetd/admin.sock") {
		m.Errorf("%q did not help: exit %d\n%s", f.Remedy, code, out)
	}
	for _, prefix := range []string{"", "+"} {
		m.dropIn("greetd.service", "[Service]", "ExecStartPre="+prefix+"/usr/sbin/greetd doctor")
		m.run("systemctl", "restart", "greetd")
		m.greeted("tcp", overIPv4, hello)
	}
}
