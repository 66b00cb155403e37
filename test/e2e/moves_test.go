package e2e

import (
	"strings"
	"testing"
)

// moves are orders in which one may go from own bind to socket units and back. In each step, +
// installs socket-only.conf, - removes it, and everything else is a command of systemctl. A
// step that begins with ! must fail, which systemd explains in the journal ("Socket service
// greetd.service already active, refusing"); the port is served even then.
var moves = []struct{ from, steps string }{
	{"own", "+, restart greetd"},
	{"own", "+, stop greetd, start greetd.socket"},
	{"own", "+, disable --now greetd, enable --now greetd.socket"},
	{"own", "+, ! enable --now greetd.socket, restart greetd"},
	{"own", "stop greetd, start greetd.socket"},
	{"own", "! start greetd.socket, restart greetd"},
	{"own", "enable greetd.socket, restart greetd"},
	{"own", "+, restart greetd, restart greetd.socket"},
	{"socket", "-, disable --now greetd.socket, enable greetd, restart greetd"},
	{"socket", "-, stop greetd.socket, restart greetd"},
	{"socket", "-, restart greetd, stop greetd.socket, restart greetd"},
	{"socket", "disable --now greetd.socket, -, start greetd"},
	{"socket", "restart greetd"},
	{"socket", "restart greetd.socket"},
	{"socket", "daemon-reload, reload greetd"},
}

func TestMovesBetweenOwnBindAndSocketUnits(t *testing.T) {
	const dropIn = "/etc/systemd/system/greetd.service.d/socket-only.conf"
	onEachSystemd(t, func(m *machine) {
		for _, move := range moves {
			if move.from == "socket" {
				m.example("greetd.service", "socket-only.conf")
				m.run("systemctl", "start", "greetd.socket")
			} else {
				m.run("systemctl", "start", "greetd")
			}
			m.greeted("tcp", overIPv4, hello)
			for step := range strings.SplitSeq(move.steps, ",") {
				step, fails := strings.CutPrefix(strings.TrimSpace(step), "! ")
				switch step {
				case "+":
					m.example("greetd.service", "socket-only.conf")
					continue
				case "-":
					m.run("rm", dropIn)
					m.run("systemctl", "daemon-reload")
					continue
				}
				out, code := m.try(append([]string{"systemctl"}, strings.Fields(step)...)...)
				if (code != 0) != fails {
					m.Errorf("%s: %s: systemctl %s: exit %d\n%s", move.from, move.steps, step, code, out)
				}
				if fails && !strings.Contains(out, "journalctl -xe") {
					m.Errorf("%s: %s: systemctl %s does not name the next command:\n%s", move.from, move.steps, step, out)
				}
			}
			if text, err := m.visit("tcp", overIPv4); text != hello {
				m.Errorf("%s: %s: a client gets %q, %v", move.from, move.steps, text, err)
			}
			m.try("systemctl", "disable", "--now", "greetd.service", "greetd.socket")
			m.try("systemctl", "reset-failed")
			m.run("rm", "-f", dropIn)
			m.run("systemctl", "daemon-reload")
			m.nobody(overIPv4)
		}
	})
}
