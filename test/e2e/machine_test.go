package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// waitLimit bounds waits for what comes soon, on a machine that may be very busy.
const waitLimit = 60 * time.Second

// A machine is a container with a systemd of its own. It lives as long as its test.
type machine struct {
	*testing.T
	release release
	name    string
	root    string   // its file system, seen from outside
	group   *os.File // the control group of its processes
	nspawn  *exec.Cmd
	init    int // its process 1, seen from outside
	console bytes.Buffer
}

// boot starts a machine and waits until its systemd is up.
func boot(t *testing.T, r release) *machine {
	t.Helper()
	m := prepare(t, r, r.name)
	m.start()
	return m
}

// prepare makes a machine that is still switched off. A test may have several, each with
// a name of its own.
func prepare(t *testing.T, r release, name string) *machine {
	t.Helper()
	file := fileName(t) + "-" + name
	m := &machine{T: t, release: r, name: name, root: freshRoot(t, r, file), group: newGroup(t, file)}
	t.Cleanup(func() {
		if t.Failed() {
			m.tell()
		}
		m.kill()
		_ = m.group.Close()
		removeGroup(m.group.Name())
	})
	return m
}

// kill ends all processes of the machine at once.
func (m *machine) kill() {
	_ = os.WriteFile(filepath.Join(m.group.Name(), "cgroup.kill"), []byte("1"), 0)
	if m.nspawn != nil {
		_ = m.nspawn.Wait()
	}
}

// start switches the machine on, and waits until its systemd is up.
func (m *machine) start() {
	m.Helper()
	m.powerUp()
	m.awaitSystemd()
}

// powerUp switches the machine on.
func (m *machine) powerUp() {
	m.Helper()
	m.nspawn = exec.Command("systemd-nspawn", "--register=no", "--keep-unit", "--link-journal=no",
		"--console=pipe", "--machine="+m.name, "--directory="+m.root, "--boot", "--private-network",
		"--capability=all", "--system-call-filter=bpf", "--kill-signal=SIGRTMIN+3")
	m.nspawn.Env = append(os.Environ(), "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=yes")
	m.nspawn.Stdout, m.nspawn.Stderr = &m.console, &m.console
	m.nspawn.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(m.group.Fd())}
	if err := m.nspawn.Start(); err != nil {
		m.Fatal(err)
	}
}

// awaitSystemd returns when the machine's systemd is up, which has to be the release's.
func (m *machine) awaitSystemd() {
	m.Helper()
	children := fmt.Sprintf("/proc/%d/task/%d/children", m.nspawn.Process.Pid, m.nspawn.Process.Pid)
	m.eventually("systemd is up", func() bool {
		child, _ := os.ReadFile(children)
		m.init, _ = strconv.Atoi(strings.TrimSpace(string(child)))
		if m.init == 0 {
			return false
		}
		state, _ := m.try("systemctl", "is-system-running")
		return state == "running" || state == "degraded" // no kernel modules in there
	})
	if got := m.run("systemctl", "--version"); !strings.HasPrefix(got, "systemd "+m.release.systemd+" ") {
		m.Fatalf("this is not systemd %s: %s", m.release.systemd, got)
	}
}

// reboot does what its name says, and returns when the machine is up again.
func (m *machine) reboot() {
	m.Helper()
	m.run("systemctl", "reboot", "--no-block")
	_ = m.nspawn.Wait() // it leaves the second half to us
	m.start()
}

// tell logs what one wants to know about a machine on which a test failed.
func (m *machine) tell() {
	for _, args := range [][]string{
		{"systemctl", "--no-pager", "--full", "status", "greetd.service", "greetd.socket"},
		{"journalctl", "--no-pager", "--lines=150", "--output=short-monotonic"},
	} {
		out, _ := m.try(args...)
		m.Logf("$ %s\n%s", strings.Join(args, " "), out)
	}
	m.Logf("console:\n%s", m.console.String())
}

// command returns a command that is to run in the machine.
func (m *machine) command(args ...string) *exec.Cmd {
	inside := exec.Command("nsenter", append([]string{
		"--target=" + strconv.Itoa(m.init),
		"--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--wd", "--",
	}, args...)...)
	inside.Env = []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"LANG=C.UTF-8", "TERM=dumb", "SYSTEMD_PAGER=", "SYSTEMD_COLORS=0",
	}
	return inside
}

// try runs a command in the machine, and returns what it printed and its exit code.
func (m *machine) try(args ...string) (output string, code int) {
	m.Helper()
	inside := m.command(args...)
	out, err := inside.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		m.Fatal(err)
	}
	return strings.TrimSuffix(string(out), "\n"), inside.ProcessState.ExitCode()
}

// run is try for commands that must succeed.
func (m *machine) run(args ...string) string {
	m.Helper()
	out, code := m.try(args...)
	if code != 0 {
		m.Fatalf("%s: exit %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// property returns one property of a unit.
func (m *machine) property(unit, name string) string {
	m.Helper()
	return m.run("systemctl", "show", "--property="+name, "--value", unit)
}

// write writes a file in the machine, readable by all.
func (m *machine) write(path, content string) {
	m.Helper()
	path = m.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		m.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		m.Fatal(err)
	}
}

// path returns how a path of the machine is called outside.
func (m *machine) path(inside string) string {
	return filepath.Join("/proc", strconv.Itoa(m.init), "root", inside)
}

// dropIn puts lines into a drop-in of a unit.
func (m *machine) dropIn(unit string, lines ...string) {
	m.Helper()
	m.write("/etc/systemd/system/"+unit+".d/test.conf", strings.Join(lines, "\n")+"\n")
	m.run("systemctl", "daemon-reload")
}

// journal returns the entries that match, each with its fields.
func (m *machine) journal(matches ...string) []map[string]any {
	m.Helper()
	m.run("journalctl", "--sync")
	out := m.run(append([]string{"journalctl", "--quiet", "--no-pager", "--output=json", "--all"}, matches...)...)
	var entries []map[string]any
	for decoder := json.NewDecoder(strings.NewReader(out)); ; {
		var entry map[string]any
		switch err := decoder.Decode(&entry); {
		case errors.Is(err, io.EOF):
			return entries
		case err != nil:
			m.Fatalf("journalctl: %v", err)
		}
		entries = append(entries, entry)
	}
}

// eventually waits until something is so.
func (m *machine) eventually(what string, so func() bool) {
	m.Helper()
	for deadline := time.Now().Add(waitLimit); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.Fatalf("waited %v in vain until %s", waitLimit, what)
		}
	}
}

// network is the machine's network.
func (m *machine) network() network { return network(fmt.Sprintf("/proc/%d/ns/net", m.init)) }

// inside calls do in the machine's network.
func (m *machine) inside(do func() error) error { return m.network().inside(do) }

// dial connects to an address of the machine.
func (m *machine) dial(network, address string) (net.Conn, error) {
	var c net.Conn
	err := m.inside(func() (err error) {
		c, err = net.DialTimeout(network, address, waitLimit)
		return err
	})
	return c, err
}

// visit connects, reads until the end, and returns what it was told.
func (m *machine) visit(network, address string) (string, error) {
	c, err := m.dial(network, address)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	text, err := io.ReadAll(c)
	return string(text), err
}

// greeted fails the test unless a client at address is told want.
func (m *machine) greeted(network, address, want string) {
	m.Helper()
	got, err := m.visit(network, address)
	if err != nil || got != want {
		m.Fatalf("a client of %s got %q, %v; want %q", address, got, err, want)
	}
}
