package e2e

import (
	"slices"
	"testing"
	"time"
)

// TestClientsStartTheService measures what a client waits for whose connection starts the
// service through greetd.socket. How long that may be is no matter of a test on a machine
// that may be busy: bench/RESULTS.md has what it was.
func TestClientsStartTheService(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.example("greetd.service", "socket-only.conf")
		m.run("systemctl", "start", "greetd.socket")
		var waits []time.Duration
		started := make(map[string]bool)
		for range 20 {
			begun := time.Now()
			c, err := m.dial("tcp", overIPv4)
			if err != nil {
				m.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(waitLimit))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				m.Fatal(err)
			}
			waits = append(waits, time.Since(begun))
			_ = c.Close()
			started[m.property("greetd", "MainPID")] = true
			m.run("systemctl", "stop", "greetd.service")
		}
		slices.Sort(waits)
		m.Logf("first byte after %v, median of %d; %v to %v", waits[len(waits)/2], len(waits), waits[0], waits[len(waits)-1])
		if len(started) != len(waits) {
			m.Errorf("%d clients started greetd %d times", len(waits), len(started))
		}
	})
}
