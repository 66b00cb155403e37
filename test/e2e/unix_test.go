package e2e

import (
	"strings"
	"testing"
)

// A local user without any privileges reaches unix sockets under the shipped unit, before and
// after whatever happens to the daemon and to the socket's file.
func TestUnixSocketsAreThereForLocalUsers(t *testing.T) {
	const greet, abstract, behind = "unix:/run/greetd/greet.sock", "unix:@greet", "unix:/run/greetd/behind.sock"
	onEachSystemd(t, func(m *machine) {
		m.run("useradd", "--no-create-home", "somebody")
		probe := func(args ...string) (string, int) {
			return m.try(append([]string{"setpriv", "--reuid=somebody", "--regid=somebody", "--clear-groups", "greetprobe", "--timeout", "5s"}, args...)...)
		}
		reached := func(when string, args ...string) {
			m.Helper()
			if out, code := probe(args...); code != 0 || !strings.Contains(out, "Hello there, ") {
				m.Errorf("%s: %v: exit %d\n%s", when, args, code, out)
			}
		}
		all := func(when string) {
			m.Helper()
			reached(when, greet)
			reached(when, abstract)
			reached(when, "--proxy", "v2", behind)
		}
		m.configure(`listeners:`, `  - {name: greet, address: "`+greet+`"}`, `  - {name: abstract, address: "`+abstract+`"}`,
			`  - {name: behind, address: "`+behind+`", proxy_trusted: [unix]}`)
		m.run("systemctl", "start", "greetd")
		all("after the start")
		if out, code := probe(behind); code == 0 {
			m.Errorf("greeted without a PROXY header: %s", out)
		}
		m.run("systemctl", "restart", "greetd")
		all("after a restart")
		m.run("systemctl", "reload", "greetd")
		all("after a reload")
		before := m.daemon()
		m.run("systemctl", "kill", "--signal=KILL", "greetd")
		m.eventually("another daemon", func() bool { now := m.daemon(); return now != 0 && now != before })
		m.eventually("it is ready", func() bool { return m.property("greetd", "SubState") == "running" })
		all("after a crash")

		m.run("rm", "/run/greetd/greet.sock")
		m.eventually("the file is back", func() bool { _, code := probe(greet); return code == 0 })
		all("after its file was deleted")
		if log := m.run("journalctl", "-u", "greetd", "-p", "warning"); !strings.Contains(log, "socket file of listener greet was deleted") {
			m.Errorf("the log says nothing of the deleted file:\n%s", log)
		}

		m.configure(`listeners: [{name: greet, address: "` + greet + `", mode: "0600"}]`)
		m.run("systemctl", "reload", "greetd")
		if out, code := probe(greet); code == 0 || !strings.Contains(out, "permission denied") {
			m.Errorf("mode 0600: exit %d: %s", code, out)
		}
		if got := m.run("stat", "-c", "%a %U", "/run/greetd/greet.sock"); got != "600 greetd-tcp" {
			m.Errorf("the file is %s", got)
		}
	})
}

// A group needs what the sandbox takes away, and the error names both ways to have it.
func TestGroupOfAUnixSocket(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("groupadd", "greeters")
		m.configure(`listeners: [{name: greet, address: "unix:/run/greetd/greet.sock", mode: "0660", group: greeters}]`)
		if _, code := m.try("systemctl", "start", "greetd"); code == 0 {
			m.Error("started without the group")
		}
		if log := m.run("journalctl", "-u", "greetd"); !strings.Contains(log, "SupplementaryGroups=greeters, PrivateUsers=no and SystemCallFilter=@chown") {
			m.Errorf("no remedy in the log:\n%s", log)
		}
		m.run("systemctl", "stop", "greetd")
		m.dropIn("greetd.service", "[Service]", "SupplementaryGroups=greeters", "PrivateUsers=no", "SystemCallFilter=@chown")
		m.run("systemctl", "start", "greetd")
		if got := m.run("stat", "-c", "%a %G", "/run/greetd/greet.sock"); got != "660 greeters" {
			m.Errorf("the file is %s", got)
		}
	})
}
