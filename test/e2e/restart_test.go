package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// loadRate is offered by the tests that promise something at 2,000 connections a second.
const loadRate = 2500

// everybody is the load of these tests: not drill, which offers less than that on two busy processors, and whose
// clients can't each expect an address of their own.
func everybody(greetings ...string) loadSpec {
	return loadSpec{Network: "tcp", Address: overIPv4, Rate: loadRate, Greetings: greetings}
}

// helloAll is the default greeting, for a load client.
const helloAll = "Hello there, {IP}!\n"

// checkRate fails the test if less load was offered than it promises.
func checkRate(t *testing.T, result loadResult) {
	t.Helper()
	if result.rate() < 2000 {
		t.Errorf("only %.0f connections a second were offered", result.rate())
	}
}

func TestFiftyRestartsLoseNobody(t *testing.T) {
	for _, mode := range modes {
		t.Run(strings.Replace(mode.name, "own_bind", "fd_store", 1), func(t *testing.T) {
			onEachSystemdInTurn(t, func(m *machine) {
				mode.prepare(m)
				m.run("systemctl", "start", mode.unit)
				load := m.load(everybody(helloAll))
				for range 50 {
					m.run("systemctl", "restart", "greetd")
					m.greeted("tcp", overIPv4, hello) // after all who waited before
				}
				result := load.stop()
				checkRate(m.T, result)
				if result.lost() > 0 {
					m.Errorf("%d clients were lost: %v", result.lost(), result)
				}
			})
		})
	}
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
				load := m.load(everybody(helloAll))
				var crashes []crash
				for range 12 {
					crashes = append(crashes, m.crash(syscall.SIGKILL), m.crash(syscall.SIGSEGV))
				}
				result := load.stop()
				checkRate(m.T, result)
				for _, loss := range result.Losses {
					if !slices.ContainsFunc(crashes, loss.during) {
						m.Errorf("lost, and not at a crash: %v", loss)
					}
				}
				if n := len(result.Losses); n > underWay*len(crashes) {
					m.Errorf("%d crashes cost %d clients", len(crashes), n)
				}
			})
		})
	}
}

// A crash happened between two moments.
type crash struct{ after, before time.Time }

// during reports whether the reply was under way at the crash.
func (l loss) during(c crash) bool {
	underWay := l.Ending == empty || l.Ending == cut || l.Ending == reset
	return underWay && l.Began.Before(c.before) && l.Ended.After(c.after)
}

// crash kills the daemon by a signal, and returns when another one has greeted all who
// waited.
func (m *machine) crash(signal syscall.Signal) crash {
	m.Helper()
	pid := m.daemon()
	if pid == 0 {
		m.Fatal("there is no daemon")
	}
	c := crash{after: time.Now()}
	if err := syscall.Kill(pid, signal); err != nil {
		m.Fatal(err)
	}
	m.eventually("another one is there", func() bool {
		if c.before.IsZero() && syscall.Kill(pid, 0) != nil {
			c.before = time.Now()
		}
		return !c.before.IsZero() && m.daemon() != 0
	})
	m.greeted("tcp", overIPv4, hello) // after all who waited before
	return c
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
		load := m.load(everybody(helloAll))
		time.Sleep(15 * time.Second) // three times WatchdogSec=
		result := load.stop()
		if result.lost() > 0 {
			m.Errorf("%d clients were lost: %v", result.lost(), result)
		}
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
