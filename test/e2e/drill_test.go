package e2e

import (
	"encoding/json"
	"strings"
	"testing"
)

// A drillReport is what greetprobe drill -o json prints, as far as the tests need it.
type drillReport struct {
	Steps []drillLine `json:"steps"`
	All   drillLine   `json:"all"`
	Exit  int         `json:"exit"`
}

type drillLine struct {
	Step  string `json:"step"`
	Asked int    `json:"asked"`
	Lost  int    `json:"lost"`
	Error string `json:"error"`
}

// drill runs greetprobe drill in the machine.
func (m *machine) drill(args ...string) (r drillReport) {
	m.Helper()
	cmd := m.command(append([]string{"greetprobe", "drill", "--yes", "-o", "json", "--rate", "500", "--each", "300ms"}, args...)...)
	out, err := cmd.Output()
	if err := json.Unmarshal(out, &r); err != nil {
		m.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
	m.Logf("%v: %v: %d of %d lost", args, err, r.All.Lost, r.All.Asked)
	for _, s := range r.Steps {
		if s.Error != "" {
			m.Errorf("%s: %s", s.Step, s.Error)
		}
	}
	return r
}

// Greetd loses nobody at a restart and a reload, and at a kill only replies under way.
func TestDrill(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.run("systemctl", "start", mode.unit)
				m.greeted("tcp", overIPv4, hello)
				r := m.drill("--unit", "greetd.service", "--restart", "5", "--reload", "5", "--max-lost", "0", "127.0.0.1:10000")
				if r.Exit != 0 || r.All.Lost != 0 || len(r.Steps) != 10 || r.All.Asked < 500 {
					m.Errorf("%+v", r)
				}
				killed := m.drill("--unit", "greetd.service", "--kill", "2", "127.0.0.1:10000")
				if len(killed.Steps) != 2 || killed.All.Lost > 20 {
					m.Errorf("killed: %+v", killed)
				}
				if got := m.property("greetd", "ActiveState"); got != "active" {
					m.Errorf("the unit is %s", got)
				}
			})
		})
	}
}

// A server that drops its listener is seen to lose clients, and a unit that is down, or that
// does not come back, is an error.
func TestDrillSeesLosses(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.installExample("plain")
		m.run("systemctl", "start", "plain.service")
		args := []string{"-s", `GET / HTTP/1.0\r\n\r\n`, "-e", "200", "--unit", "plain.service", "127.0.0.1:8081"}
		r := m.drill(append([]string{"--restart", "3", "--max-lost", "0"}, args...)...)
		if r.All.Lost == 0 || r.Exit != 4 {
			m.Errorf("a plain server's restart cost nobody: %+v", r)
		}
		again := m.drill(append([]string{"--stop-start", "7", "--each", "100ms"}, args...)...) // more than StartLimitBurst=
		if len(again.Steps) != 7 {
			m.Errorf("%d of 7 steps", len(again.Steps))
		}
		m.write("/etc/systemd/system/needs.service", "[Unit]\nRequires=plain.service\n[Service]\nExecStart=/bin/sleep infinity\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "start", "needs.service")
		pid := m.property("needs.service", "MainPID")
		out, code := m.try(append([]string{"greetprobe", "drill", "--yes", "--rate", "10", "--restart", "1"}, args...)...)
		if code != 5 || !strings.Contains(out, "systemd would stop needs.service together with plain.service") || m.property("needs.service", "MainPID") != pid {
			m.Errorf("a unit that is not named: exit %d: %s", code, out)
		}
		m.run("systemctl", "stop", "needs.service", "plain.service")
		out, code = m.try(append([]string{"greetprobe", "drill", "--yes", "--rate", "10", "--restart", "1"}, args...)...)
		if code != 5 || !strings.Contains(out, "plain.service is inactive: start it first (systemctl start plain.service)") {
			m.Errorf("inactive: exit %d: %s", code, out)
		}
		if got := m.property("plain.service", "ActiveState"); got != "inactive" {
			m.Errorf("drill started what was stopped: %s", got)
		}
	})
}
