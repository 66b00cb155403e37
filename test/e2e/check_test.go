package e2e

import (
	"os"
	"strings"
	"testing"
)

// greetd check says what the daemon would find in its unit: with its user, environment,
// credentials and sandbox.
func TestCheckSeesWhatTheUnitSees(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		for _, directory := range []string{"/etc/greetd", "/home", "/tmp", "/root", "/srv"} {
			m.run("sh", "-c", "mkdir -p "+directory+"; cp /usr/share/doc/greetd-tcp/greetd.txt "+directory+"/greeting.txt 2>/dev/null || echo hi >"+directory+"/greeting.txt")
		}
		m.run("chmod", "600", "/etc/greetd/greeting.txt")
		m.dropIn("greetd.service", "[Service]", "EnvironmentFile=-/etc/default/greetd", "LoadCredential=greeting.cred:/etc/greetd/greeting.txt")
		check := func(command string, code int, says string) {
			m.Helper()
			out, got := m.try("sh", "-c", command)
			if got != code || !strings.Contains(out, says) {
				m.Errorf("%s: exit %d, want %d and %q\n%s", command, got, code, says, out)
			}
		}
		for _, state := range []string{"stop", "start", "kill"} {
			m.configure("")
			m.run("rm", "/etc/greetd/greetd.yaml")
			if state == "kill" {
				m.dropIn("greetd.service", "[Service]", "EnvironmentFile=-/etc/default/greetd", "LoadCredential=greeting.cred:/etc/greetd/greeting.txt", "Restart=no")
				m.run("systemctl", "kill", "--signal=KILL", "greetd")
				m.eventually("it has failed", func() bool { return m.property("greetd", "ActiveState") == "failed" })
			} else {
				m.run("systemctl", state, "greetd")
			}
			for _, test := range []struct {
				file string
				code int
				says string
			}{
				{"greeting.cred", 0, "configuration OK"}, // of LoadCredential=
				{"/etc/greetd/greeting.txt", 78, "LoadCredential=greeting.txt:/etc/greetd/greeting.txt"},
				{"/home/greeting.txt", 78, "ProtectHome="},
				{"/root/greeting.txt", 78, "hidden from greetd by its unit's sandbox"},
				{"/srv/greeting.txt", 78, "InaccessiblePaths="},
				{"/tmp/greeting.txt", 78, "PrivateTmp="},
			} {
				if state != "start" && !strings.HasPrefix(test.file, "greeting") && !strings.HasPrefix(test.file, "/home") {
					continue // each takes a start of a unit
				}
				m.configure("greeting_file: " + test.file)
				check("greetd check", test.code, test.says)
			}
			if state != "start" {
				continue
			}
			m.configure("greeting_file: /root/greeting.txt")
			check("greetd check --here", 0, "configuration OK")
			m.configure("greeting_file: greeting.cred")
			check("greetd check --here", 78, "CREDENTIALS_DIRECTORY")
			m.configure(greeting("hi\n"))
			m.write("/etc/default/greetd", "GREETD_LOG_LEVEL=deafening\n")
			check("greetd check", 78, "environment GREETD_LOG_LEVEL: log.level: must be")
			check("greetd config", 78, "environment GREETD_LOG_LEVEL: log.level: must be")
			m.write("/etc/default/greetd", "GREETD_LOG_LEVEL=debug\n")
			check("greetd config", 0, `# environment GREETD_LOG_LEVEL`)
			check("greetd config --here", 0, "level: \"info\"")
			check("cp /etc/greetd/greetd.yaml /tmp/other.yaml; greetd check --config /tmp/other.yaml", 78, "PrivateTmp=")
			check("greetd check --here --config /tmp/other.yaml", 0, "configuration OK")
			check("cd /etc/greetd; greetd check --config greetd.yaml", 0, "/etc/greetd/greetd.yaml: configuration OK")
			m.run("rm", "/etc/default/greetd")
		}
		check("systemctl list-units --all 'greetd-check*' --no-legend; ls -d /run/greetd-check* /run/systemd/system/greetd-check* 2>&1", 2, "")
		if out := m.run("systemctl", "--failed", "--no-legend"); strings.Contains(out, "greetd-check") {
			m.Errorf("check leaves a failed unit:\n%s", out)
		}

		// An instance, with a drop-in of its own.
		m.write("/etc/greetd/lobby.yaml", "greeting_file: lobby.cred\nlisteners: [{name: greet, address: \":10001\"}]\n")
		m.write("/etc/systemd/system/greetd@lobby.service.d/cred.conf", "[Service]\nSetCredential=lobby.cred:hi\n")
		m.run("systemctl", "daemon-reload")
		check("greetd check --instance lobby", 0, "/etc/greetd/lobby.yaml: configuration OK")
		m.run("systemctl", "start", "greetd@lobby")
		check("greetd check --config /etc/greetd/lobby.yaml", 0, "/etc/greetd/lobby.yaml: configuration OK")

		// A credential that is not there keeps the daemon from starting, and check says so.
		m.dropIn("greetd.service", "[Service]", "LoadCredential=a:/nonexistent")
		check("greetd check", 71, "243")
		check("setpriv --reuid=65534 --clear-groups greetd check", 0, "note: this is what user 65534 sees")
		if _, err := os.Stat(m.path("/run/greetd@lobby/admin.sock")); err != nil {
			m.Errorf("check took the runtime directory away: %v", err)
		}
	})
}

// An address that is not served, since a socket unit gives another one, is said to be so.
func TestSaysWhichAddressIsNotServed(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.example("greetd.service", "socket-only.conf")
		m.configure(greeting("old\n"))
		m.run("systemctl", "start", "greetd.socket")
		m.greeted("tcp", overIPv4, "old\n")
		for _, served := range []string{"greeting: new", `listeners: [{name: greet, address: ":10000"}]`, `listeners: [{name: greet, address: "[::]:10000"}]`} {
			m.configure(served)
			if out := m.run("sh", "-c", "greetd check 2>&1; greetd reload 2>&1; greetd config 2>&1"); strings.Contains(out, "not served") {
				m.Errorf("%s: %s", served, out)
			}
		}
		m.configure(`listeners: [{name: greet, address: "127.0.0.1:10007"}]`, "timeouts: {drain: 40s}")
		for _, command := range []string{"greetd check", "greetd reload", "greetd config", "greetd doctor"} {
			out, _ := m.try("sh", "-c", command+" 2>&1")
			out = strings.Join(strings.Fields(out), " ") // doctor breaks lines
			for _, want := range []string{"127.0.0.1:10007 is not served: greetd.socket gives the address, [::]:10000", "systemctl edit greetd.socket", "ListenStream=127.0.0.1:10007"} {
				if !strings.Contains(out, want) {
					m.Errorf("%s does not say %q:\n%s", command, want, out)
				}
			}
			if command != "greetd reload" && !strings.Contains(out, "TimeoutStopSec=20s") {
				m.Errorf("%s does not say that a stop takes too long:\n%s", command, out)
			}
		}
		m.run("systemctl", "restart", "greetd")
		m.eventually("the journal has both", func() bool {
			journal := m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat")
			return strings.Contains(journal, "127.0.0.1:10007 is not served: greetd.socket") && strings.Contains(journal, "are not below TimeoutStopSec=20s of greetd.service")
		})
	})
}
