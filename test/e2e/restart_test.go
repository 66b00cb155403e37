package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFiftyRestartsLoseNobody(t *testing.T) {
	for _, mode := range modes {
		t.Run(strings.Replace(mode.name, "own_bind", "fd_store", 1), func(t *testing.T) {
			onEachSystemdInTurn(t, func(m *machine) {
				mode.prepare(m)
				m.run("systemctl", "start", mode.unit)
				r := m.drill(append([]string{"--unit", "greetd.service", "--restart", "50", "--each", "10ms"}, everybody...)...)
				r.lostNobody(m.T, 50)
			})
		})
	}
}

// crash is a shell command that kills greetd by a signal, and returns when systemd has started it again.
func crash(signal string) string {
	return "before=$(systemctl show -P MainPID greetd)\nsystemctl kill --kill-whom=main --signal=" + signal + ` greetd
until [ "$(systemctl show -P MainPID greetd)" -ne $before ] && systemctl is-active --quiet greetd; do sleep 0.02; done`
}

// A crash takes the replies under way with it, and nobody else: not who waits in the
// kernel's queue, nor who comes while there is no daemon.
func TestCrashesRefuseNobody(t *testing.T) {
	const underWay = 100 // replies at any one time, by configuration; the others wait in the queue
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.configure(fmt.Sprintf("limits: {connections: %d}", underWay))
				m.run("systemctl", "start", mode.unit)
				steps := []string{"--unit", "greetd.service", "--kill", "12", "--do", crash("SEGV"), "--times", "12", "--each", "100ms"}
				r := m.drill(append(steps, everybody...)...)
				r.check(m.T, 24)
				r.checkRate(m.T)
				for _, s := range append(r.Steps, r.Before) {
					if s.Lost > s.Clients["cut"]+s.Clients["reset"] || s.Lost > underWay {
						m.Errorf("%s: %d clients were lost: %v, the first: %s", s.Step, s.Lost, s.Clients, s.Example)
					}
				}
				r.lostDuringStepsOnly(m.T)
			})
		})
	}
}

// daemon returns the process of greetd.service, as it is called outside, and 0 if there
// is none.
func (m *machine) daemon() int {
	m.Helper()
	processes, err := os.ReadFile(filepath.Join(m.group.Name(), "payload/system.slice/greetd.service/cgroup.procs"))
	if err != nil {
		return 0
	}
	var pid int
	_, _ = fmt.Sscan(string(processes), &pid)
	return pid
}

// A daemon that hangs is found out by the watchdog. Under load it is not taken for one.
func TestWatchdogRestartsAHangingDaemonAndNoOther(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.dropIn("greetd.service", "[Service]", "WatchdogSec=5s")
		m.run("systemctl", "start", "greetd")
		r := m.drill(append([]string{"--do", "sleep 15", "--times", "1"}, everybody...)...) // three times WatchdogSec=
		r.lostNobody(m.T, 1)
		if got := m.property("greetd", "NRestarts"); got != "0" {
			m.Fatalf("under load the watchdog bit %s times", got)
		}

		m.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGSTOP", "greetd")
		m.eventually("systemd restarts it", func() bool { return m.property("greetd", "NRestarts") == "1" })
		m.greeted("tcp", overIPv4, hello)
		if len(m.journal("_PID=1", "UNIT=greetd.service", "UNIT_RESULT=watchdog")) == 0 {
			m.Error("the journal does not say that it was the watchdog")
		}
	})
}
