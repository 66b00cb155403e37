package e2e

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
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

func TestDoctorHasNoComplaint(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.run("systemctl", "start", mode.unit)
				m.greeted("tcp", overIPv4, hello)
				m.run("systemctl", "daemon-reload") // systemd forgets what its filters have counted, and keeps the filters
				for _, f := range m.doctor() {
					// In a container here there are neither memory nor pids controllers.
					if f.Verdict != "ok" && f.Verdict != "n/a" && f.Check != "resources" {
						m.Errorf("%+v", f)
					}
				}
				if out, code := m.try("su", "nobody", "-s", "/bin/sh", "-c", "greetd doctor"); code != 0 || !strings.Contains(out, "sudo greetd doctor") {
					m.Errorf("an ordinary user: exit %d\n%s", code, out)
				}
			})
		})
	}
}

var edit = regexp.MustCompile(`^systemctl edit (\S+): \[(\w+)\] (.*?); then ([^;]*(; systemctl start [^;]*)?)`)

// Each promise is broken, found, and made true again by the remedy, word for word.
func TestDoctorFindsWhatIsBrokenAndItsRemedyHelps(t *testing.T) {
	broken := []struct {
		check  string
		dropIn []string // for greetd.service
	}{
		{"notify", []string{"[Service]", "Type=simple"}},
		{"watchdog", []string{"[Service]", "WatchdogSec=0"}},
		{"restart", []string{"[Service]", "Restart=no"}},
		{"reload", []string{"[Service]", "ExecReload="}},
		{"fd-store", []string{"[Service]", "FileDescriptorStoreMax=0"}},
		{"descriptors", []string{"[Service]", "LimitNOFILE=1000"}},
		{"journal", []string{"[Service]", "StandardError=null"}},
		{"sandbox", []string{"[Service]", "DynamicUser=no", "User=root", "Group=root"}},
	}
	onEachSystemd(t, func(m *machine) {
		m.configure("limits: {connections: 2000}")
		for _, b := range broken {
			m.dropIn("greetd.service", b.dropIn...)
			m.run("systemctl", "restart", "greetd")
			found := m.doctor()
			i := slices.IndexFunc(found, func(f finding) bool { return f.Check == b.check && f.Verdict == "problem" })
			if i < 0 {
				m.Errorf("%s: not found among %+v", b.check, found)
				continue
			}
			step := edit.FindStringSubmatch(found[i].Remedy)
			if step == nil {
				m.Errorf("%s: no remedy to follow: %q", b.check, found[i].Remedy)
				continue
			}
			m.dropIn(step[1], append(b.dropIn, append([]string{"[" + step[2] + "]"}, strings.Split(step[3], " and ")...)...)...)
			m.run("sh", "-c", step[4])
			for _, f := range m.doctor() {
				if f.Check == b.check && f.Verdict == "problem" {
					m.Errorf("%s: %q did not help: %+v", b.check, found[i].Remedy, f)
				}
			}
		}
	})
}

// A unit that starts over and over has the sentence that says why, and a port that is held
// has its holder, with a remedy that gives it back.
func TestDoctorSaysWhyItDoesNotStart(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		find := func(check, word string) finding {
			m.Helper()
			found := m.doctor()
			i := slices.IndexFunc(found, func(f finding) bool { return f.Check == check && f.Verdict == "problem" })
			if i < 0 || !strings.Contains(found[i].Found, word) {
				m.Fatalf("no problem of %s with %q: %+v", check, word, found)
			}
			return found[i]
		}
		m.configure("greting: x")
		m.try("systemctl", "restart", "greetd")
		find("daemon", "greetd.yaml:1: greting")
		m.configure("limits: {connections: 1000}")
		m.run("systemctl", "stop", "greetd")

		m.write("/etc/systemd/system/thief.socket", "[Socket]\nListenStream=10000\nAccept=yes\n")
		m.write("/etc/systemd/system/thief@.service", "[Service]\nExecStart=/bin/true\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "start", "thief.socket")
		m.try("systemctl", "start", "greetd")
		find("daemon", "address already in use")
		remedy, _, _ := strings.Cut(find("ports", "systemd, for thief.socket").Remedy, ";")
		m.run("sh", "-c", remedy)

		m.run("sh", "-c", "systemctl stop greetd; GREETD_ADMIN_ADDRESS=unix:/run/shell.sock setsid greetd --listen 127.0.0.1:10000 >/dev/null 2>&1 &")
		m.eventually("it greets", func() bool {
			_, err := m.visit("tcp", "127.0.0.1:10000")
			return err == nil
		})
		m.try("systemctl", "start", "greetd")
		remedy, _, _ = strings.Cut(find("ports", "greetd, process ").Remedy, ";")
		m.run("sh", "-c", remedy)
		m.eventually("it starts by itself", func() bool { return m.property("greetd", "ActiveState") == "active" })
		for _, f := range m.doctor() {
			if f.Verdict == "problem" {
				m.Errorf("after all remedies: %+v", f)
			}
		}
	})
}

// Without the bus root asks systemd itself, and another user is told what is missing.
func TestDoctorWithoutBus(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		m.run("systemctl", "stop", "dbus.socket", "dbus.service")
		if i := slices.IndexFunc(m.doctor(), func(f finding) bool { return f.Check == "systemd" && f.Verdict == "ok" }); i < 0 {
			m.Error("root can't ask systemd without the bus")
		}
		out, code := m.try("su", "nobody", "-s", "/bin/sh", "-c", "greetd doctor")
		if code != 0 || !strings.Contains(out, "could not look at") || !strings.Contains(out, "systemd can't be asked") {
			m.Errorf("an ordinary user: exit %d\n%s", code, out)
		}
	})
}

// A shell is not the unit, and greetd before its start is not there yet.
func TestDoctorKnowsWhereItIs(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("sh", "-c", "GREETD_ADMIN_ADDRESS=unix:/run/shell.sock setsid greetd --listen :10001 >/dev/null 2>&1 &")
		m.eventually("it greets", func() bool {
			_, err := m.visit("tcp", "127.0.0.1:10001")
			return err == nil
		})
		out, code := m.try("env", "GREETD_ADMIN_ADDRESS=unix:/run/shell.sock", "greetd", "doctor")
		if code != 1 || !strings.Contains(out, "systemd did not start process") || !strings.Contains(out, "systemctl enable --now greetd.service") {
			m.Errorf("from a shell: exit %d\n%s", code, out)
		}

		for _, prefix := range []string{"", "+"} {
			m.dropIn("greetd.service", "[Service]", "ExecStartPre="+prefix+"/usr/sbin/greetd doctor")
			m.run("systemctl", "restart", "greetd")
			m.greeted("tcp", overIPv4, hello)
		}
	})
}
