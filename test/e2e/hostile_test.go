package e2e

import (
	"cmp"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// allowed is what a hostile greetd can still do beside greeting: nothing that greetd does not need.
var allowed = []string{
	"execute itself",
	"connect to /run/systemd/journal/dev-log",
	"connect to /run/systemd/journal/socket",
	"connect to /run/systemd/journal/stdout",
	"connect to /run/systemd/notify",
}

// TestHostileProgramIsConfined runs test/e2e/hostile in place of greetd: under the units, as they are
// installed, each of its attempts is denied. By itself, as root, each of them succeeds.
func TestHostileProgramIsConfined(t *testing.T) {
	skipUnlessPossible(t)
	program := filepath.Join(t.TempDir(), "hostile")
	t.Setenv("CGO_ENABLED", "0")
	if _, err := command("go", "build", "-o", program, "./hostile"); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	onEachSystemd(t, func(m *machine) {
		m.run("sh", "-c", "for d in /var/lib /srv /opt /home/user /root; do mkdir -p $d; echo x >$d/secret; done; echo >/etc/greetd/hostile.yaml")
		m.write("/usr/sbin/greetd", string(content))
		m.run("chmod", "755", "/usr/sbin/greetd")
		free := attemptsOf(m.run("/usr/sbin/greetd"))
		for unit, directory := range map[string]string{"greetd.service": "/run/greetd", "greetd@hostile.service": "/run/greetd@hostile"} {
			confined := m.attempts(unit)
			for attempt, why := range confined {
				if succeeded := why == ""; succeeded != (slices.Contains(allowed, attempt) || attempt == "finished") {
					m.Errorf("%s: %s: %s", unit, attempt, cmp.Or(why, "it succeeds"))
				}
			}
			for _, writable := range []string{"/tmp", "/var/tmp", "/dev/shm", directory} {
				if confined["write and execute in "+writable] == "" {
					m.Errorf("%s: no attempt in %s", unit, writable)
				}
			}
			for attempt, why := range free {
				_, tried := confined[attempt]
				depends := strings.HasPrefix(attempt, "write and execute in ") || strings.HasPrefix(attempt, "connect to ")
				if !depends && (why != "" || !tried) {
					m.Errorf("%s: %s: as root: %q; tried: %v", unit, attempt, why, tried)
				}
			}
		}
		m.logControl() // the bus is there now, and greetd can call nobody on it
		if why := m.attempts("greetd.service")["call systemd over D-Bus"]; !strings.Contains(why, "Rejected") {
			m.Errorf("with log-control.conf, a call over D-Bus: %q", why)
		}
	})
}

// attempts runs a unit, and returns what its program has tried.
func (m *machine) attempts(unit string) (all map[string]string) {
	m.Helper()
	m.run("systemctl", "start", unit)
	m.eventually("it has made all attempts", func() bool {
		all = attemptsOf(m.run("journalctl", "--no-pager", "-o", "cat", "_SYSTEMD_INVOCATION_ID="+m.property(unit, "InvocationID")))
		_, finished := all["finished"]
		return finished
	})
	m.run("systemctl", "stop", unit)
	return all
}

// attemptsOf reads what the hostile program prints: each attempt, and why it was denied.
func attemptsOf(output string) map[string]string {
	all := make(map[string]string)
	for line := range strings.Lines(output) {
		result, attempt, _ := strings.Cut(strings.TrimSpace(line), "\t")
		attempt, why, _ := strings.Cut(attempt, "\t")
		switch result {
		case "denied", "succeeded":
			all[attempt] = why
		case "finished":
			all[result] = ""
		}
	}
	return all
}
