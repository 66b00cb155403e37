package e2e

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
)

// greeting is a line of greetd.yaml.
func greeting(text string) string { return fmt.Sprintf("greeting: %q", text) }

func TestFiftyReloadsUnderLoadLoseNobodyAndNoneReturnsEarly(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemdInTurn(t, func(m *machine) {
				mode.prepare(m)
				texts := []string{"red\n", "green\n"}
				m.configure(greeting(texts[0]))
				m.run("systemctl", "start", mode.unit)
				load := m.load(everybody(texts...))
				for i := range 50 {
					want := texts[(i+1)%2]
					m.configure(greeting(want))
					m.run("systemctl", "reload", "greetd")
					m.greeted("tcp", overIPv4, want) // the old one here: systemctl returned early
				}
				result := load.stop()
				checkRate(m.T, result)
				if result.lost() > 0 {
					m.Errorf("%d clients were lost: %v", result.lost(), result)
				}
				if result.Said[texts[0]] == 0 || result.Said[texts[1]] == 0 {
					m.Errorf("not both greetings were heard: %v", result.Said)
				}
				if got := m.property("greetd", "NRestarts"); got != "0" {
					m.Errorf("it was restarted %s times", got)
				}
			})
		})
	}
}

func TestReloadOfABadFileFailsAndTheOldGreetingStays(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.configure(greeting("old\n"))
		m.run("systemctl", "start", "greetd")
		for _, bad := range []string{"greting: oops", "greeting: [", "timeouts: {write: 5}", ""} {
			m.configure(bad)
			if out, code := m.try("systemctl", "reload", "greetd"); code == 0 {
				m.Errorf("%q was reloaded: %s", bad, out)
			}
			m.greeted("tcp", overIPv4, "old\n")
		}
		journal := m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat")
		for _, want := range []string{"greting", "timeouts.write", "/etc/greetd/greetd.yaml"} {
			if !strings.Contains(journal, want) {
				m.Errorf("the journal does not tell of %q:\n%s", want, journal)
			}
		}
		m.configure(greeting("new\n"))
		m.run("systemctl", "reload", "greetd")
		m.greeted("tcp", overIPv4, "new\n")
		if got := m.property("greetd", "ActiveState"); got != "active" {
			m.Errorf("it is %s", got)
		}
	})
}

func TestStartWithABadFileHealsByItself(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.configure("greting: oops")
				var waiting io.Reader = strings.NewReader("fixed\n") // with own bind nobody can wait
				if mode.unit == "greetd.socket" {
					m.run("systemctl", "start", mode.unit)
					c, err := m.dial("tcp", overIPv4)
					if err != nil {
						m.Fatal(err)
					}
					defer c.Close()
					_ = c.SetDeadline(time.Now().Add(patience))
					waiting = c
				} else if out, code := m.try("systemctl", "start", mode.unit); code == 0 {
					m.Errorf("it started: %s", out)
				}
				m.eventually("the journal says 78/CONFIG", func() bool {
					return strings.Contains(m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat"), "status=78/CONFIG")
				})
				if got := m.run("journalctl", "--no-pager", "-u", "greetd", "-o", "cat"); !strings.Contains(got, "greting") {
					m.Errorf("the journal does not say what is wrong:\n%s", got)
				}

				const watched = 5 * time.Second
				before := m.starts()
				time.Sleep(watched)
				if n := m.starts() - before; n > 5*int(watched/time.Second) {
					m.Errorf("%d starts in %v", n, watched)
				} else if n == 0 {
					m.Error("it is not tried again")
				}

				m.configure(greeting("fixed\n"))
				m.eventually("it greets", func() bool {
					text, err := m.visit("tcp", overIPv4)
					return err == nil && text == "fixed\n"
				})
				if text, err := io.ReadAll(waiting); err != nil || string(text) != "fixed\n" {
					m.Errorf("who came while it was broken got %q, %v", text, err)
				}
			})
		})
	}
}

// starts returns how often systemd has restarted the service.
func (m *machine) starts() int {
	m.Helper()
	n, err := strconv.Atoi(m.property("greetd", "NRestarts"))
	if err != nil {
		m.Fatal(err)
	}
	return n
}
