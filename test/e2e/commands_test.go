package e2e

import (
	"strings"
	"testing"
)

// A command reaches the daemon that it is meant for, or none.
func TestCommandsReachTheDaemonThatIsMeant(t *testing.T) {
	const lobby, port = "/etc/greetd/lobby.yaml", "/etc/greetd/10025.yaml"
	onEachSystemd(t, func(m *machine) {
		m.configure(greeting("main\n"), "admin: {address: \"127.0.0.1:9180\"}")
		m.write(lobby, "listeners: [{name: lobby, address: \":10001\"}]\ngreeting: \"lobby\\n\"\n")
		m.write(port, greeting("port\n"))
		m.run("systemctl", "start", "greetd", "greetd@lobby.service", "greetd@10025.socket")
		m.greeted("tcp", "127.0.0.1:10025", "port\n")
		m.write(port, "greting: bad\n")

		for _, test := range []struct {
			command string
			code    int
			says    string
		}{
			// What changes something goes over the unix socket.
			{"greetd reload", 0, "/etc/greetd/greetd.yaml"},
			{"greetd log-level info", 0, ""},
			{"greetd reload --config /etc/greetd/greetd.yaml", 0, "/etc/greetd/greetd.yaml"},

			{"greetd log-level debug --instance lobby", 0, ""},
			{"greetd status --json --instance lobby", 0, `"level": "debug"`},
			{"greetd status --json --config " + lobby, 0, `"level": "debug"`},
			{"greetd status --json --config " + port, 0, `"level": "info"`},
			{"greetd status --json", 0, `"level": "info"`},
			{"greetd reload --instance lobby", 0, lobby},
			{"greetd doctor --instance lobby", 0, "greetd@lobby.service"},
			{"greetd config --instance lobby", 0, lobby},
			{"greetd check --instance lobby", 0, lobby},

			// A bad file hides no daemon, and no other one is reloaded in its place.
			{"greetd reload --config " + port, 78, port + ":1: greting"},
			{"greetd reload --instance 10025", 78, port + ":1: greting"},
			{"greetd check --instance 10025", 78, port + ":1: greting"},
			{"systemctl reload greetd@10025", 1, ""},
			{"cp /etc/greetd/greetd.yaml /tmp/copy.yaml; greetd reload --config /tmp/copy.yaml", 69, "runs with /etc/greetd/greetd.yaml, not with /tmp/copy.yaml"},
			{"greetd log-level debug --config /etc/greetd/nobody.yaml", 69, "nobody.yaml"},
			{"greetd reload --instance nobody", 69, "/run/greetd@nobody/admin.sock: start greetd@nobody"},
			{"greetd reload --instance lobby --config " + port, 69, "runs with " + lobby + ", not with " + port},
			{"greetd status --json", 0, `"level": "info"`},
		} {
			out, code := m.try("sh", "-c", test.command)
			if code != test.code || !strings.Contains(out, test.says) {
				m.Errorf("%s: exit %d, want %d and %q\n%s", test.command, code, test.code, test.says, out)
			}
		}
		m.greeted("tcp", overIPv4, "main\n")
		m.greeted("tcp", "127.0.0.1:10001", "lobby\n")
		m.greeted("tcp", "127.0.0.1:10025", "port\n")
	})
}
