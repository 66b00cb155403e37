package e2e

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

// logControl puts the installed example in force.
func (m *machine) logControl() {
	m.Helper()
	m.run("systemd-sysusers")
	m.run("install", "-D", "-m", "644", "/usr/share/doc/greetd-tcp/examples/log-control.dbus", "/etc/dbus-1/system.d/greetd-tcp.conf")
	m.run("systemctl", "reload", "dbus")
	m.example("greetd.service", "log-control.conf")
}

func TestServiceLogLevel(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.logControl()
				m.run("systemctl", "start", "greetd")
				m.greeted("tcp", overIPv4, hello)
				m.eventually("it has its name on the bus", func() bool {
					out, code := m.try("systemctl", "service-log-level", "greetd")
					return code == 0 && out == "info"
				})
				if got := m.run("systemctl", "service-log-target", "greetd"); got != "journal" {
					m.Errorf("service-log-target = %q, want journal", got)
				}
				m.run("systemctl", "service-log-level", "greetd", "debug")
				if got := m.run("systemctl", "service-log-level", "greetd"); got != "debug" {
					m.Errorf("after a change: service-log-level = %q", got)
				}
				if status := m.run("greetd", "status", "--json"); !strings.Contains(status, `"level": "debug"`) {
					m.Errorf("greetd status does not know of it:\n%s", status)
				}
				m.tellsSteps()
				m.run("greetd", "log-level", "warning")
				if got := m.run("systemctl", "service-log-level", "greetd"); got != "warning" {
					m.Errorf("after greetd log-level warning: service-log-level = %q", got)
				}
				m.run("systemctl", "reload", "greetd")
				if got := m.run("systemctl", "service-log-level", "greetd"); got != "info" {
					m.Errorf("after a reload: service-log-level = %q", got)
				}
				if out, code := m.try("systemctl", "service-log-target", "greetd", "console"); code == 0 || !strings.Contains(out, "greetd.yaml") {
					m.Errorf("changing the target: exit %d, %s", code, out)
				}

				asNobody := []string{"setpriv", "--reuid=65534", "--clear-groups", "busctl", "--system"}
				there := []string{"example.greetd", "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1"}
				if got := m.run(append(append(append([]string{}, asNobody...), "get-property"), append(there, "SyslogIdentifier")...)...); got != `s "greetd"` {
					m.Errorf("SyslogIdentifier = %s", got)
				}
				if out, code := m.try(append(append(append([]string{}, asNobody...), "set-property"), append(there, "LogLevel", "s", "debug")...)...); code == 0 {
					m.Errorf("anybody may change the level: %s", out)
				}

				m.run("systemctl", "restart", "greetd")
				m.eventually("it has its name again", func() bool {
					_, code := m.try("systemctl", "service-log-level", "greetd")
					return code == 0
				})
				if entries := m.journal("_SYSTEMD_UNIT=greetd.service", "PRIORITY=4"); len(entries) > 0 {
					m.Errorf("it warns: %v", entries)
				}
				m.run("systemctl", "stop", "greetd")
			})
		})
	}
}

// tellsSteps fails the test unless the journal has each step of one client's visit, in order, with the
// entry of its end among them.
func (m *machine) tellsSteps() {
	m.Helper()
	c, err := m.dial("tcp", overIPv4)
	if err != nil {
		m.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
	var steps []string
	m.eventually("the connection is closed", func() bool {
		steps = nil
		var last int
		for _, entry := range m.journal("_SYSTEMD_UNIT=greetd.service", "GREETD_REMOTE_PORT="+port) {
			if entry["GREETD_STEP"] == nil {
				steps = append(steps, fmt.Sprint(entry["GREETD_OUTCOME"]))
				continue
			}
			steps = append(steps, fmt.Sprint(entry["GREETD_STEP"]))
			if elapsed := m.number(entry, "GREETD_ELAPSED_USEC"); elapsed < last || entry["PRIORITY"] != "7" {
				m.Errorf("%v after %d us", entry, last)
			} else {
				last = elapsed
			}
		}
		return slices.Contains(steps, "closed")
	})
	if want := []string{"accepted", "admitted", "greeting", "half_closed", "greeted", "closed"}; !slices.Equal(steps, want) {
		m.Errorf("the journal has the steps %q, want %q", steps, want)
	}
}

func TestWithoutPolicyServiceLogLevelIsMissed(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("systemd-sysusers")
		m.example("greetd.service", "log-control.conf")
		m.run("systemctl", "start", "greetd")
		m.greeted("tcp", overIPv4, hello)
		m.eventually("it says once why", func() bool {
			return len(m.journal("_SYSTEMD_UNIT=greetd.service", "PRIORITY=4")) == 1
		})
		m.run("systemctl", "stop", "greetd")
		if got := m.property("greetd", "Result"); got != "success" {
			m.Errorf("Result=%s", got)
		}
	})
}
