package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The small daemons of pkg/systemd/example, which docs/for-daemon-authors.md compares.
const (
	exampleModule = "../../pkg/systemd/example"
	httpdAddress  = "127.0.0.1:8080"
	plainAddress  = "127.0.0.1:8081"
	pageFile      = "/etc/httpd/page.html"
)

// installExample builds one of them and installs it with its units.
func (m *machine) installExample(name string) {
	m.Helper()
	m.installDaemon(filepath.Join(exampleModule, name))
	m.write(pageFile, page(0))
}

// installDaemon builds the program in a directory and installs it, with the units there.
func (m *machine) installDaemon(dir string) {
	m.Helper()
	name := filepath.Base(dir)
	binary := filepath.Join(m.TempDir(), name)
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		m.Fatalf("go build: %v\n%s", err, out)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		m.Fatal(err)
	}
	m.write("/usr/local/bin/"+name, string(content))
	if err := os.Chmod(m.path("/usr/local/bin/"+name), 0o755); err != nil {
		m.Fatal(err)
	}
	units, err := filepath.Glob(filepath.Join(dir, name+".s*"))
	if err != nil || len(units) == 0 {
		m.Fatalf("units: %v, %v", units, err)
	}
	for _, unit := range units {
		content, err := os.ReadFile(unit)
		if err != nil {
			m.Fatal(err)
		}
		m.write("/etc/systemd/system/"+filepath.Base(unit), string(content))
	}
	m.run("systemctl", "daemon-reload")
}

func page(i int) string { return fmt.Sprintf("page %d\n", i) }

// pages are those that a client may get, for a load.
func pages(address string) loadSpec {
	spec := loadSpec{
		Network: "tcp", Address: address, Rate: loadRate,
		Request: "GET / HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n",
	}
	for i := range 51 {
		spec.Greetings = append(spec.Greetings, page(i))
	}
	return spec
}

// fetch is what one client gets, without the header.
func (m *machine) fetch(address string) string {
	m.Helper()
	c, err := m.dial("tcp", address)
	if err != nil {
		return err.Error()
	}
	_ = c.Close()
	spec := pages(address)
	var said string
	_ = m.inside(func() error {
		_, said, err = spec.visit(spec.source(1 << 20))
		return nil
	})
	return said
}

// restartAndReload does both 50 times under load, and returns what became of the clients,
// and how many reloads returned before the new page was served. Its load client is not drill,
// which can't offer 2,000 requests a second on two busy processors.
func (m *machine) restartAndReload(unit, address string) (result loadResult, early int) {
	m.Helper()
	load := m.load(pages(address))
	for range 50 {
		m.run("systemctl", "restart", unit)
	}
	for i := range 50 {
		m.write(pageFile, page(i+1))
		m.run("systemctl", "reload", unit)
		if m.fetch(address) != page(i+1) {
			early++
		}
	}
	return load.stop(), early
}

func TestExampleDaemonLosesNobody(t *testing.T) {
	onEachSystemdInTurn(t, func(m *machine) {
		m.installExample("httpd")
		m.run("systemctl", "start", "httpd")
		result, early := m.restartAndReload("httpd", httpdAddress)
		checkRate(m.T, result)
		if result.lost() > 0 || early > 0 {
			m.Errorf("%d clients were lost, %d of 50 reloads returned early: %v", result.lost(), early, result)
		}
	})
}

// What the page shows beside it: without pkg/systemd, a restart costs clients.
func TestPlainDaemonForComparison(t *testing.T) {
	for _, unit := range []string{"plain.service", "plain.socket"} {
		t.Run(unit, func(t *testing.T) {
			m := boot(t, releases[1])
			m.installExample("plain")
			m.run("systemctl", "start", unit)
			_ = m.fetch(plainAddress)
			result, early := m.restartAndReload("plain", plainAddress)
			m.Logf("%s: %v; %d of 50 reloads returned early", unit, result.Endings, early)
			if result.lost() == 0 {
				m.Errorf("the plain daemon lost nobody: docs/for-daemon-authors.md says otherwise")
			}
		})
	}
}

func TestExampleDaemonComesBack(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.installExample("httpd")
		m.run("systemctl", "start", "httpd")
		inode := func() string {
			fields := strings.FieldsSeq(m.run("ss", "-Hltne", "sport = :8080"))
			for field := range fields {
				if strings.HasPrefix(field, "ino:") {
					return field
				}
			}
			return ""
		}
		before := inode()
		for _, signal := range []string{"KILL", "STOP"} { // the second one is a hang, for the watchdog
			pid := m.property("httpd", "MainPID")
			m.run("systemctl", "kill", "--signal="+signal, "httpd")
			if got := m.fetch(httpdAddress); got != page(0) {
				m.Errorf("after SIG%s: %q", signal, got)
			}
			// A stopped process that systemd kills wakes up first, and may answer.
			m.eventually("SIG"+signal+" has ended process "+pid, func() bool {
				now := m.property("httpd", "MainPID")
				return now != pid && now != "0" && m.property("httpd", "SubState") == "running"
			})
			if after := inode(); before == "" || after != before {
				m.Errorf("SIG%s: the socket is %q, and was %q", signal, after, before)
			}
		}
		if got := m.property("httpd", "NRestarts"); got != "2" {
			m.Errorf("NRestarts = %s", got)
		}

		// A failed reload fails, with its reason, and the page stays.
		if err := os.Remove(m.path(pageFile)); err != nil {
			m.Fatal(err)
		}
		if out, code := m.try("systemctl", "reload", "httpd"); code == 0 {
			m.Errorf("the reload succeeded: %s", out)
		}
		if out := m.run("journalctl", "--unit=httpd", "--lines=20", "--no-pager"); !strings.Contains(out, "httpd: open "+pageFile) {
			m.Errorf("the journal lacks the reason:\n%s", out)
		}
		if got := m.fetch(httpdAddress); got != page(0) {
			m.Errorf("after a failed reload: %q", got)
		}
		// A reload waits until it is done, however long that takes.
		if err := syscall.Mkfifo(m.path(pageFile), 0o644); err != nil {
			m.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- m.command("systemctl", "reload", "httpd").Run() }()
		select {
		case err := <-done:
			m.Fatalf("the reload did not wait for the page: %v", err)
		case <-time.After(time.Second):
		}
		if err := os.WriteFile(m.path(pageFile), []byte(page(7)), 0); err != nil {
			m.Fatal(err)
		}
		if err := <-done; err != nil {
			m.Error(err)
		}
		if got := m.fetch(httpdAddress); got != page(7) {
			m.Errorf("after the reload: %q", got)
		}
	})
}
