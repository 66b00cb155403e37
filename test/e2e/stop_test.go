package e2e

import (
	"io"
	"strings"
	"testing"
	"time"
)

// The time that the configuration gives to a stop is there, though TimeoutStopSec= is shorter.
func TestStopTakesWhatTheConfigurationAllows(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.configure(proxied, greeting("late\n"), "timeouts: {handshake: 1m, lameduck: 2s, drain: 4s}", "admin: {address: \"127.0.0.1:9180\"}")
		m.dropIn("greetd.service", "[Service]", "TimeoutStopSec=2s")
		m.run("systemctl", "start", "greetd")
		readyz := func() string {
			c := m.callOnly("127.0.0.1", "127.0.0.1:9180")
			defer c.Close()
			_, _ = io.WriteString(c, "GET /readyz HTTP/1.0\r\n\r\n")
			answer, _ := io.ReadAll(c)
			return string(answer)
		}
		if got := readyz(); !strings.HasPrefix(got, "HTTP/1.0 200") {
			m.Errorf("before: %s", got)
		}
		silent := m.callOnly("127.0.0.1", overIPv4) // is cut at the end of the drain
		defer silent.Close()
		began := time.Now()
		m.run("systemctl", "stop", "--no-block", "greetd")
		m.eventually("it is a lame duck", func() bool { return strings.HasPrefix(m.property("greetd", "StatusText"), "lame duck for 2s") })
		if got := readyz(); !strings.HasPrefix(got, "HTTP/1.0 503") || !strings.Contains(got, "lame duck") {
			m.Errorf("a lame duck says %s", got)
		}
		if got := m.hear("127.0.0.1", "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"); got != "late\n" {
			m.Errorf("a client of a lame duck hears %q", got)
		}
		m.eventually("it drains", func() bool { return strings.HasPrefix(m.property("greetd", "StatusText"), "draining") })
		m.eventually("it has stopped", func() bool { return m.property("greetd", "ActiveState") != "deactivating" })
		if result, took := m.property("greetd", "Result"), time.Since(began); result != "success" || took < 6*time.Second {
			m.Errorf("the stop's result is %s after %v", result, took)
		}
		if out := m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat"); !strings.Contains(out, "lame duck ended, shutting down: draining for up to 4s") {
			m.Errorf("the journal says\n%s", out)
		}
	})
}
