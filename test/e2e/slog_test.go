package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"
)

// slogger builds the program that logs by pkg/journal into the machine.
func (m *machine) slogger() {
	m.Helper()
	build := exec.Command("go", "build", "-o", m.path("/usr/local/bin/slogger"), "./testdata/slogger")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		m.Fatalf("%v: %s", err, out)
	}
}

func TestSlogHandlerFillsFieldsOfTheJournal(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.slogger()
		m.run("systemd-run", "--wait", "--unit=shop", "/usr/local/bin/slogger")
		entries := m.journal("SYSLOG_IDENTIFIER=slogger")
		if len(entries) != 2 {
			m.Fatalf("%d entries, want 2: %v", len(entries), entries)
		}
		for i, want := range []map[string]string{{
			"MESSAGE": "no such\npage", "PRIORITY": "4", "SHOP_ORDER": "17", "SHOP_HTTP_STATUS": "404", "SHOP_HTTP_ERROR": "gone",
			"SHOP_HTTP_TLS_VERSION": "1.3", "_SYSTEMD_UNIT": "shop.service", "_TRANSPORT": "journal",
		}, {
			"MESSAGE": "saved", "PRIORITY": "5", "MESSAGE_ID": "5e1b0fa0ba3a4ec5a1bfe4ab1ea2b8a5", "_SYSTEMD_UNIT": "shop.service",
		}} {
			for name, value := range want {
				if got := entries[i][name]; got != value {
					m.Errorf("entry %d: %s = %q, want %q", i, name, got, value)
				}
			}
		}

		// Where the journal's socket can't be reached, stderr takes its place.
		m.run("systemd-run", "--wait", "--unit=walled", "--property=InaccessiblePaths=/run/systemd/journal/socket", "/usr/local/bin/slogger")
		entries = m.journal("_SYSTEMD_UNIT=walled.service")
		if len(entries) != 2 || entries[0]["_TRANSPORT"] != "stdout" || entries[0]["PRIORITY"] != "4" || entries[1]["PRIORITY"] != "5" {
			m.Errorf("by stderr: %v", entries)
		}
	})
}

func TestFrozenJournalHarmsNoSlogHandler(t *testing.T) {
	m := boot(t, releases[1]) // the transport is greetd's own, which is tested on each systemd
	m.slogger()
	m.write("/etc/systemd/journald.conf.d/test.conf", "[Journal]\nRateLimitIntervalSec=0\n")
	m.run("systemctl", "restart", "systemd-journald")
	flood := m.command("systemd-run", "--wait", "/usr/local/bin/slogger", "8s", "/tmp/result")
	if err := flood.Start(); err != nil {
		m.Fatal(err)
	}
	time.Sleep(time.Second)
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGSTOP", "systemd-journald")
	time.Sleep(4 * time.Second)
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=SIGCONT", "systemd-journald")
	var result struct {
		Sent, Dropped int
		Slowest       time.Duration
	}
	if err := flood.Wait(); err != nil {
		m.Fatal(err)
	}
	text, err := os.ReadFile(m.path("/tmp/result"))
	if err != nil {
		m.Fatal(err)
	}
	if err := json.Unmarshal(text, &result); err != nil {
		m.Fatalf("%q: %v", text, err)
	}
	stored, reported := 0, 0
	for _, entry := range m.journal("SYSLOG_IDENTIFIER=slogger", "_TRANSPORT=journal") {
		if n := m.number(entry, "DROPPED"); n > 0 {
			reported += n
		} else {
			stored++
		}
	}
	m.Logf("%+v, %d stored, %d reported as dropped", result, stored, reported)
	if result.Dropped == 0 || stored+result.Dropped != result.Sent || reported != result.Dropped {
		m.Errorf("%d stored, %d dropped, %d reported as dropped of %d", stored, result.Dropped, reported, result.Sent)
	}
	if result.Slowest > time.Second {
		m.Errorf("a call took %v", result.Slowest)
	}
}
