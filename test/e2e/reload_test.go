package e2e

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// greeting is a line of greetd.yaml.
func greeting(text string) string { return fmt.Sprintf("greeting: %q", text) }

func TestFiftyReloadsUnderLoadLoseNobodyAndNoneReturnsEarly(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemdInTurn(t, func(m *machine) {
				mode.prepare(m)
				texts := []string{"red\n", "green\n"}
				m.configure(greeting(texts[0]))
				m.run("systemctl", "start", mode.unit)
				const early = "/run/early" // which text a client got after systemctl reload, where it should have been the other
				reload := fmt.Sprintf(`if grep -q red /etc/greetd/greetd.yaml; then want=green; else want=red; fi
printf 'greeting: "%%s\\n"\n' $want >/etc/greetd/greetd.yaml
systemctl reload greetd
greetprobe -e $want %s >/dev/null || echo $want >>%s`, overIPv4, early)
				m.write(early, "")
				r := m.drill(append(greetedAs(texts...), "--do", reload, "--times", "50", "--each", "20ms", "-t", "1m", "--read-timeout", "1m")...)
				r.check(m.T, 50)
				if r.All.Lost > 0 {
					m.Errorf("%d of %d clients were lost: %v, the first: %s", r.All.Lost, r.All.Asked, r.All.Clients, r.All.Example)
				}
				if got := m.read(early); got != "" {
					m.Errorf("reloads returned before these greetings were in force: %s", got)
				}
				if got := m.property("greetd", "NRestarts"); got != "0" {
					m.Errorf("it was restarted %s times", got)
				}
			})
		})
	}
}

func TestReloadOfABadFileFailsAndTheOldGreetingStays(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.configure(greeting("old\n"))
		m.run("systemctl", "start", "greetd")
		for _, bad := range []string{"greting: oops", "greeting: [", "timeouts: {write: 5}", ""} {
			m.configure(bad)
			if out, code := m.try("systemctl", "reload", "greetd"); code == 0 {
				m.Errorf("%q was reloaded: %s", bad, out)
			}
			m.greeted("tcp", overIPv4, "old\n")
			if status, _ := m.try("systemctl", "--no-pager", "--full", "status", "greetd"); !strings.Contains(status, `Status: "last reload refused: /etc/greetd/greetd.yaml`) {
				m.Errorf("systemctl status does not say why %q was refused:\n%s", bad, status)
			}
		}
		journal := m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat")
		for _, want := range []string{"greting", "timeouts.write", "/etc/greetd/greetd.yaml"} {
			if !strings.Contains(journal, want) {
				m.Errorf("the journal does not tell of %q:\n%s", want, journal)
			}
		}
		m.configure(greeting("new\n"))
		m.run("systemctl", "reload", "greetd")
		m.greeted("tcp", overIPv4, "new\n")
		if got := m.property("greetd", "ActiveState"); got != "active" {
			m.Errorf("it is %s", got)
		}
		fdStoreTooSmall(m)
	})
}

// fdStoreTooSmall: start and reload report how many listeners systemd has no room for.
func fdStoreTooSmall(m *machine) {
	m.Helper()
	const three = `listeners: [{name: a, address: ":10001"}, {name: b, address: ":10002"}, {name: c, address: ":10003"}`
	remedy := "systemctl edit greetd.service: [Service] FileDescriptorStoreMax=512; then systemctl restart greetd.service"
	m.configure(three + "]")
	m.dropIn("greetd.service", "[Service]", "FileDescriptorStoreMax=2")
	m.run("systemctl", "restart", "greetd")
	journal := func() string {
		m.run("journalctl", "--sync")
		return m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat")
	}
	const atStart = "FileDescriptorStoreMax=2, fewer than its own listeners (3): at a restart, clients of 1 are refused; "
	if log := journal(); strings.Count(log, atStart+remedy) != 1 {
		m.Errorf("the start says nothing of the fd store:\n%s", log)
	}
	m.configure(three + `, {name: d, address: ":10004"}]`)
	const atReload = "fewer than its own listeners (4): at a restart, clients of 2 are refused; "
	if out := m.run("greetd", "reload"); !strings.Contains(out, atReload+remedy) {
		m.Errorf("greetd reload says nothing of the fd store:\n%s", out)
	}
	if log := journal(); strings.Count(log, atReload) != 1 {
		m.Errorf("the log says nothing of it at the reload:\n%s", log)
	}
	m.run("rm", "/etc/systemd/system/greetd.service.d/test.conf")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "restart", "greetd")
	if out := m.run("greetd", "reload"); strings.Contains(out, "FileDescriptorStoreMax") {
		m.Errorf("there is room for all: %s", out)
	}
}

// A configuration that is refused makes a failed unit, whose own port is closed. Behind a socket
// unit clients wait instead, and are greeted when the file is mended. In both the log stays short.
func TestRestartWithABadFile(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.run("systemctl", "start", mode.unit)
				m.greeted("tcp", overIPv4, hello)
				m.configure("greting: oops")
				if out, code := m.try("systemctl", "restart", "greetd"); code == 0 {
					m.Errorf("it restarted: %s", out)
				}
				if failed := m.run("systemctl", "--failed", "--no-pager"); !strings.Contains(failed, "greetd.service") {
					m.Errorf("no failed unit: %s", failed)
				}
				if log := m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat"); !strings.Contains(log, "status=78/CONFIG") || !strings.Contains(log, "greting") {
					m.Errorf("the journal does not say what is wrong:\n%s", log)
				}
				var waiting net.Conn
				before := len(m.journal("_SYSTEMD_UNIT=greetd.service")) + len(m.journal("UNIT=greetd.service"))
				if mode.unit == "greetd.socket" {
					waiting = m.callOnly("127.0.0.1", overIPv4)
					defer waiting.Close()
				} else {
					m.nobody(overIPv4)
				}
				time.Sleep(5 * time.Second)
				if lines := len(m.journal("_SYSTEMD_UNIT=greetd.service")) + len(m.journal("UNIT=greetd.service")) - before; lines > 6 {
					m.Errorf("%d lines in 5 s:\n%s", lines, m.run("journalctl", "--no-pager", "-u", "greetd", "-n", "30"))
				}

				m.configure(greeting("fixed\n"))
				if mode.unit != "greetd.socket" {
					m.run("systemctl", "restart", "greetd")
					m.greeted("tcp", overIPv4, "fixed\n")
					return
				}
				_ = waiting.SetDeadline(time.Now().Add(waitLimit))
				if text, err := io.ReadAll(waiting); err != nil || string(text) != "fixed\n" {
					m.Errorf("who came while it was broken got %q, %v", text, err)
				}
			})
		})
	}
}

// Type=notify-reload, for which systemd sends SIGHUP itself: the job ends when the new configuration is in force,
// and also when that is refused, which this type can't say.
func TestReloadOfTypeNotifyReload(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		if m.release.systemd < "253" {
			return
		}
		m.dropIn("greetd.service", "[Service]", "Type=notify-reload", "ExecReload=")
		m.run("systemctl", "start", "greetd")
		for i := range 20 {
			text := fmt.Sprintf("configuration %d\n", i)
			m.configure(greeting(text))
			m.run("systemctl", "reload", "greetd")
			m.greeted("tcp", overIPv4, text)
		}
		m.configure("greeting: [")
		m.run("systemctl", "reload", "greetd")
		m.greeted("tcp", overIPv4, "configuration 19\n")
		if got := m.property("greetd", "ActiveState"); got != "active" {
			m.Errorf("after a refused reload it is %s", got)
		}
		if got := m.property("greetd", "StatusText"); !strings.HasPrefix(got, "last reload refused: /etc/greetd/greetd.yaml:") {
			m.Errorf("after a refused reload the status is %q", got)
		}
	})
}
