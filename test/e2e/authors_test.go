package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

// pages are the arguments for clients, at loadRate, that must get one whole page.
func pages(address string) []string {
	const request = `GET / HTTP/1.1\r\nHost: example\r\nConnection: close\r\n\r\n`
	return append(slices.Clip(atLoadRate), "--send", request, "--regex", `\AHTTP/1\.1 200 OK\n(.+\n)+\npage \d+\n\z`, address)
}

// fetch is what one client gets, without the header.
func (m *machine) fetch(address string) string {
	m.Helper()
	out, _ := m.try("curl", "--silent", "--show-error", "--max-time", "60", "http://"+address)
	return out + "\n"
}

// restartAndReload does both 50 times under load, and returns what became of the clients,
// and how many reloads returned before the new page was served.
func (m *machine) restartAndReload(unit, address string) (r drillReport, early int) {
	m.Helper()
	const notYet = "/run/early"
	m.write(notYet, "")
	reload := fmt.Sprintf(`n=$(($(grep -o '[0-9]*' %[1]s) + 1))
echo page $n >%[1]s
systemctl reload %[2]s
[ "$(curl -s http://%[3]s)" = "page $n" ] || echo $n >>%[4]s`, pageFile, unit, address, notYet)
	steps := []string{"--unit", unit + ".service", "--restart", "50", "--do", reload, "--times", "50", "--each", "10ms"}
	r = m.drill(append(steps, pages(address)...)...)
	r.check(m.T, 100)
	r.checkRate(m.T)
	if got := m.read(pageFile); got != page(50) {
		m.Errorf("after 50 reloads %s has %q", pageFile, got)
	}
	return r, len(strings.Fields(m.read(notYet)))
}

func TestExampleDaemonLosesNobody(t *testing.T) {
	onEachSystemdInTurn(t, func(m *machine) {
		m.installExample("httpd")
		m.run("systemctl", "start", "httpd")
		r, early := m.restartAndReload("httpd", httpdAddress)
		r.lostNobody(m.T, 100)
		if early > 0 {
			m.Errorf("%d of 50 reloads returned early", early)
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
			r, early := m.restartAndReload("plain", plainAddress)
			m.Logf("%s: %v; %d of 50 reloads returned early", unit, r.All.Clients, early)
			if r.All.Lost == 0 {
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
