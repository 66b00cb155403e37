package e2e

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	overIPv4 = "127.0.0.1:10000"
	overIPv6 = "[::1]:10000"
	hello    = "Hello there, 127.0.0.1!\n"
)

// modes are the two ways to the ports. Each prepares a machine for its own, and names the
// unit to start and what the daemon calls it.
var modes = []struct {
	name, unit, origin string
	prepare            func(m *machine)
}{
	{"own_bind", "greetd.service", "own bind", func(*machine) {}},
	{"socket_unit", "greetd.socket", "socket unit", func(m *machine) { m.example("greetd.service", "socket-only.conf") }},
}

// example puts one of the installed examples into a drop-in of a unit.
func (m *machine) example(unit, name string) {
	m.Helper()
	m.run("mkdir", "-p", "/etc/systemd/system/"+unit+".d")
	m.run("cp", "/usr/share/doc/greetd-tcp/examples/"+name, "/etc/systemd/system/"+unit+".d/"+name)
	m.run("systemctl", "daemon-reload")
}

// followExample carries out the commands in the comment of a drop-in, where the package has it.
func (m *machine) followExample(name string) {
	m.Helper()
	directory := "/usr/share/doc/greetd-tcp/examples/"
	var commands []string
	for line := range strings.Lines(m.read(directory + name)) {
		if command, ok := strings.CutPrefix(line, "#   "); ok {
			commands = append(commands, command)
		}
	}
	if len(commands) < 2 {
		m.Fatalf("%s does not say how to install it", name)
	}
	m.run("sh", "-e", "-c", "cd "+directory+"\n"+strings.Join(commands, ""))
}

// configure writes greetd.yaml.
func (m *machine) configure(lines ...string) {
	m.Helper()
	m.write("/etc/greetd/greetd.yaml", strings.Join(lines, "\n")+"\n")
}

// littleRoom leaves little in the kernel: what a client has not read, the daemon has not
// written.
func (m *machine) littleRoom() {
	m.Helper()
	m.run("ip", "link", "set", "lo", "mtu", "1500")
	m.run("sh", "-c", "echo 4096 4096 4096 | tee /proc/sys/net/ipv4/tcp_wmem /proc/sys/net/ipv4/tcp_rmem")
}

func TestGreetsOverIPv4AndIPv6ThenStops(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		m.greeted("tcp", overIPv4, hello)
		m.greeted("tcp", overIPv6, "Hello there, ::1!\n")
		m.run("systemctl", "stop", "greetd")
		if c, err := m.dial("tcp", overIPv4); err == nil {
			_ = c.Close()
			m.Error("stopped, and still there")
		}
		if got := m.property("greetd", "Result"); got != "success" {
			m.Errorf("the stop's result is %q", got)
		}
	})
}

func TestIsThereAfterABoot(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.run("systemctl", "enable", mode.unit)
				m.reboot()
				m.greeted("tcp", overIPv4, hello)
				m.greeted("tcp", overIPv6, "Hello there, ::1!\n")
			})
		})
	}
}

func TestUnitsPassVerifyWithoutAWord(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		for _, unit := range []string{"greetd.service", "greetd.socket", "greetd@10025.service", "greetd@10025.socket", "greetprobe-exporter.service", "greetprobe-exporter.socket", "greetprobe.service", "greetprobe.timer"} {
			if out, code := m.try("systemd-analyze", "verify", unit); code != 0 || out != "" {
				m.Errorf("verify %s: exit %d\n%s", unit, code, out)
			}
		}
		out, code := m.try("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=20", "/usr/lib/systemd/system/greetprobe-exporter.service")
		if code != 0 {
			m.Errorf("greetprobe-exporter: exposure above 20 tenths\n%s", out)
		}
		exporterServes(m)
	})
}

// The scores are of the files as they are installed; each mode gets a folder of its own.
func TestExposureIsLowInBothModes(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		for _, mode := range []struct{ name, threshold, dropIn string }{
			{"own-bind", "10", ""},
			{"socket-only", "2", "socket-only.conf"},
		} {
			folder := "/tmp/" + mode.name
			m.run("mkdir", "-p", folder+"/greetd.service.d")
			m.run("cp", "/usr/lib/systemd/system/greetd.service", folder)
			if mode.dropIn != "" {
				m.run("cp", "/usr/share/doc/greetd-tcp/examples/"+mode.dropIn, folder+"/greetd.service.d")
			}
			out, code := m.try("systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold="+mode.threshold, folder+"/greetd.service")
			if code != 0 {
				m.Errorf("%s: exposure above %s tenths\n%s", mode.name, mode.threshold, out)
			}
		}
	})
}

// The daemon without a network serves both families, through the socket that it is handed.
func TestServesWithoutANetworkOfItsOwn(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.example("greetd.service", "socket-only.conf")
		m.run("systemctl", "start", "greetd.socket")
		m.greeted("tcp", overIPv4, hello)
		m.greeted("tcp", overIPv6, "Hello there, ::1!\n")
		pid := m.property("greetd", "MainPID")
		if m.run("readlink", "/proc/"+pid+"/ns/net") == m.run("readlink", "/proc/1/ns/net") {
			m.Error("the daemon has the machine's network")
		}
	})
}

// READY too early would let systemctl start return before anybody can connect.
func TestIsReadyWhenStartReturns(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		for range 20 {
			m.run("systemctl", "start", "greetd")
			m.greeted("tcp", overIPv4, hello)
			m.run("systemctl", "stop", "greetd")
		}
	})
}

func TestStatusTellsWhereTheListenersCameFrom(t *testing.T) {
	for _, mode := range modes {
		t.Run(mode.name, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				mode.prepare(m)
				m.run("systemctl", "start", mode.unit)
				m.greeted("tcp", overIPv4, hello)
				m.eventually("systemctl status says "+mode.origin, func() bool {
					out, _ := m.try("systemctl", "status", "--no-pager", "greetd")
					return strings.Contains(out, "Status: ") && strings.Contains(m.property("greetd", "StatusText"), mode.origin)
				})
			})
		})
	}
	t.Run("fd_store", func(t *testing.T) {
		onEachSystemd(t, func(m *machine) {
			m.run("systemctl", "start", "greetd")
			m.run("systemctl", "restart", "greetd")
			m.eventually("the status says fd store", func() bool {
				return strings.Contains(m.property("greetd", "StatusText"), "fd store")
			})
		})
	})
}

func TestStatusCountsVisits(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		for range 17 {
			m.greeted("tcp", overIPv4, hello)
		}
		m.eventually("the status counts 17", func() bool {
			return strings.Contains(m.property("greetd", "StatusText"), "17")
		})
	})
}

// Somebody who reads slowly when systemctl stop comes gets the rest of the greeting.
func TestStopLetsTheSlowFinish(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.littleRoom()
		long := strings.Repeat("all work and no play makes jack a dull boy\n", 1024)
		m.configure(greeting(long), "timeouts: {write: 15s, drain: 15s}")
		m.run("systemctl", "start", "greetd")

		c, err := m.dial("tcp", overIPv4)
		if err != nil {
			m.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(waitLimit))
		start := make([]byte, 100)
		if _, err := io.ReadFull(c, start); err != nil {
			m.Fatal(err)
		}
		m.run("systemctl", "stop", "--no-block", "greetd")
		m.eventually("it drains", func() bool { return m.property("greetd", "ActiveState") == "deactivating" })
		rest, err := io.ReadAll(c)
		if err != nil || string(start)+string(rest) != long {
			m.Errorf("got %d of %d bytes, %v", len(start)+len(rest), len(long), err)
		}
		m.eventually("it has stopped", func() bool { return m.property("greetd", "ActiveState") == "inactive" })
		if got := m.property("greetd", "Result"); got != "success" {
			m.Errorf("the stop's result is %q", got)
		}
	})
}

// The fd store keeps the port open until the stop is over.
func TestWhoConnectsDuringAStopIsReset(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.configure(proxied, "timeouts: {handshake: 1h, drain: 2s}")
		m.run("systemctl", "start", "greetd")
		first := m.callOnly("127.0.0.1", overIPv4)
		defer first.Close()
		m.eventually("a client keeps it from stopping at once", func() bool { return m.status().Connections.Active == 1 })
		m.run("systemctl", "stop", "--no-block", "greetd")
		m.eventually("it drains", func() bool { return m.property("greetd", "ActiveState") == "deactivating" })
		second := m.callOnly("127.0.0.1", overIPv4)
		defer second.Close()
		_ = second.SetDeadline(time.Now().Add(waitLimit))
		if text, err := io.ReadAll(second); !errors.Is(err, syscall.ECONNRESET) || len(text) > 0 {
			m.Errorf("who came late hears %q, %v", text, err)
		}
		if c, err := m.dial("tcp", overIPv4); err == nil {
			_ = c.Close()
			m.Error("stopped, and still there")
		}
	})
}

// A drain that gets on is not killed by TimeoutStopSec=: it asks for more time.
func TestStopTakesItsTimeWhileTheDrainGetsOn(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.littleRoom()
		long := strings.Repeat("all work and no play makes jack a dull boy\n", 1024)
		m.configure(greeting(long), "timeouts: {write: 60s, drain: 60s}")
		m.dropIn("greetd.service", "[Service]", "TimeoutStopSec=4s")
		m.run("systemctl", "start", "greetd")
		var clients []net.Conn
		for range 5 {
			c, err := m.dial("tcp", overIPv4)
			if err != nil {
				m.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(waitLimit))
			if _, err := io.ReadFull(c, make([]byte, 10)); err != nil {
				m.Fatal(err)
			}
			clients = append(clients, c)
		}
		m.run("systemctl", "stop", "--no-block", "greetd")
		for _, c := range clients {
			time.Sleep(2 * time.Second)
			if rest, err := io.ReadAll(c); err != nil || len(rest) != len(long)-10 {
				m.Errorf("got %d of %d bytes, %v", len(rest)+10, len(long), err)
			}
		}
		m.eventually("it has stopped", func() bool { return m.property("greetd", "SubState") == "dead" })
		if got := m.property("greetd", "Result"); got != "success" {
			m.Errorf("the stop's result is %q", got)
		}
	})
}

func TestHasTheDescriptorsAndTheBacklogItNeeds(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("systemctl", "start", "greetd")
		var most unix.Rlimit // more than this machine allows, systemd can't give
		if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &most); err != nil {
			m.Fatal(err)
		}
		want := fmt.Sprintf("Max open files %[1]d %[1]d", min(65536, most.Max))
		limits := m.run("cat", "/proc/"+m.property("greetd", "MainPID")+"/limits")
		if !strings.Contains(strings.Join(strings.Fields(limits), " "), want) {
			m.Errorf("want %s:\n%s", want, limits)
		}
		// A backlog of 128 is what a program gets that can't read net.core.somaxconn in its sandbox.
		if fields := strings.Fields(m.run("ss", "-Hltn", "sport = :10000")); len(fields) < 3 || fields[2] != "4096" {
			m.Errorf("the backlog is not 4096: %q", fields)
		}
	})
}

func TestServesSeveralSocketsOfOneUnit(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.example("greetd.service", "socket-only.conf")
		m.write("/etc/systemd/system/greetd.socket.d/more.conf",
			"[Socket]\nListenStream=\nListenStream=0.0.0.0:10001\nListenStream=[::1]:10002\nListenStream=/run/greet.sock\nBindIPv6Only=ipv6-only\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "start", "greetd.socket")
		m.greeted("tcp", "127.0.0.1:10001", hello)
		m.greeted("tcp", "[::1]:10002", "Hello there, ::1!\n")
		if got, err := m.visit("unix", m.path("/run/greet.sock")); err != nil || !strings.HasPrefix(got, "Hello there") {
			m.Errorf("over the unix socket: %q, %v", got, err)
		}
	})
}

// A port that another program has is told in one sentence, and is the system's fault (71).
func TestSaysWhoCanNotHaveThePort(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.run("systemctl", "start", "greetd.socket") // without socket-only.conf, the port is simply taken
		m.configure(`listeners: [{name: other, address: ":10000"}]`)
		m.write("/etc/systemd/system/plain.service", "[Service]\nType=notify\nExecStart=/usr/sbin/greetd\nRuntimeDirectory=plain\n")
		m.run("systemctl", "daemon-reload")
		if out, code := m.try("systemctl", "start", "plain.service"); code == 0 {
			m.Errorf("it started: %s", out)
		}
		if got := m.property("plain.service", "ExecMainStatus"); got != "71" {
			m.Errorf("exit %s, want 71", got)
		}
		if got := m.run("journalctl", "--no-pager", "-u", "plain.service", "-o", "cat"); !strings.Contains(got, "10000") || !strings.Contains(got, "in use") {
			m.Errorf("the journal does not say what is wrong:\n%s", got)
		}
	})
}

// The store would keep the old port open for ever, with clients that nobody greets.
func TestForgetsAnAddressThatIsNoLongerConfigured(t *testing.T) {
	for _, verb := range []string{"restart", "reload"} {
		t.Run(verb, func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				m.run("systemctl", "start", "greetd")
				m.greeted("tcp", overIPv4, hello)
				m.configure(`listeners: [{name: greet, address: ":10001"}]`)
				m.run("systemctl", verb, "greetd")
				m.greeted("tcp", "127.0.0.1:10001", hello)
				m.eventually("the old port is closed", func() bool {
					c, err := m.dial("tcp", overIPv4)
					if err == nil {
						_ = c.Close()
					}
					return err != nil
				})
				m.run("systemctl", "restart", "greetd")
				m.greeted("tcp", "127.0.0.1:10001", hello)
				m.keeps(1)

				m.run("sh", "-c", `printf '127.0.0.2 two.example\n127.0.0.3 two.example\n192.0.2.77 two.example\n' >>/etc/hosts`)
				m.configure(`listeners: [{name: greet, address: "two.example:10000"}]`)
				for _, next := range []string{verb, "restart"} {
					m.run("systemctl", next, "greetd")
					m.greeted("tcp", "127.0.0.2:10000", hello)
					m.greeted("tcp", "127.0.0.3:10000", hello)
					m.keeps(2)
				}
				if log := m.run("journalctl", "-u", "greetd", "-o", "cat", "--grep=192.0.2.77"); !strings.Contains(log, "listener greet: ") {
					m.Errorf("the log does not say that one address of the name is not the machine's:\n%s", log)
				}
				m.configure(`listeners: [{name: greet, address: "127.0.0.2:10000"}]`)
				m.run("systemctl", verb, "greetd")
				m.greeted("tcp", "127.0.0.2:10000", hello)
				m.keeps(1)
			})
		})
	}
}

// keeps waits until systemd keeps that many sockets for greetd.
func (m *machine) keeps(sockets int) {
	m.Helper()
	m.eventually(fmt.Sprintf("%d sockets are in the store", sockets), func() bool {
		return m.property("greetd", "NFileDescriptorStore") == strconv.Itoa(sockets)
	})
}

func TestInstancesServeSideBySide(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.write("/etc/greetd/lobby.yaml", "listeners: [{name: lobby, address: \":10001\"}]\ngreeting: \"lobby\\n\"\n")
		m.write("/etc/greetd/10025.yaml", "greeting: \"by socket\\n\"\n")
		m.dropIn("greetd@.service", "[Service]", "ExecStartPre=/usr/sbin/greetd check --config /etc/greetd/%i.yaml")
		m.run("systemctl", "start", "greetd", "greetd@lobby.service", "greetd@10025.socket")
		m.greeted("tcp", overIPv4, hello)
		m.greeted("tcp", "127.0.0.1:10001", "lobby\n")
		m.greeted("tcp", "127.0.0.1:10025", "by socket\n")
		if checked := m.run("journalctl", "--no-pager", "-o", "cat", "-u", "greetd@lobby"); !strings.Contains(checked, "/etc/greetd/lobby.yaml: configuration OK") ||
			strings.Contains(checked, "this is what user") {
			m.Errorf("check in ExecStartPre= says:\n%s", checked)
		}

		m.write("/etc/greetd/lobby.yaml", "listeners: [{name: lobby, address: \":10001\"}]\ngreeting: \"reloaded\\n\"\n")
		m.run("systemctl", "reload", "greetd@lobby.service")
		m.greeted("tcp", "127.0.0.1:10001", "reloaded\n")
		m.greeted("tcp", overIPv4, hello)
	})
}

func TestExamplesWork(t *testing.T) {
	since := map[string]string{
		"restart-steps.conf":       "257",
		"fd-store-preserve.conf":   "257",
		"debug-restart.conf":       "257",
		"refresh-credentials.conf": "260",
	}
	examples, err := filepath.Glob("../../deploy/systemd/examples/*.conf")
	if err != nil || len(examples) == 0 {
		t.Fatal("there are no examples", err)
	}
	for _, example := range examples {
		name := filepath.Base(example)
		t.Run(strings.TrimSuffix(name, ".conf"), func(t *testing.T) {
			onEachSystemd(t, func(m *machine) {
				if m.release.systemd < since[name] {
					return // it is for newer versions
				}
				m.followExample(name)
				if out, code := m.try("systemd-analyze", "verify", "greetd.service"); code != 0 || out != "" {
					m.Errorf("verify: exit %d\n%s", code, out)
				}
				m.run("systemctl", "enable", "greetd")
				m.run("systemctl", "start", "greetd")
				m.greeted("tcp", overIPv4, hello)
				m.run("systemctl", "reload", "greetd")
				m.run("systemctl", "restart", "greetd")
				m.greeted("tcp", overIPv4, hello)
				m.eventually("its entries are in the journal", func() bool {
					return len(m.journal("_SYSTEMD_UNIT=greetd.service", "GREETD_OUTCOME=greeted")) == 2
				})
			})
		})
	}
}

// After a failure greetd logs more, and systemd forgets its failures once it has run for a while.
func TestRestartAfterAFailure(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		if m.release.systemd < "257" {
			return
		}
		m.followExample("restart-steps.conf")
		m.followExample("debug-restart.conf")
		m.run("systemctl", "start", "greetd")
		for _, restarts := range []string{"1", "2"} {
			m.run("systemctl", "kill", "--signal=KILL", "greetd")
			m.eventually("restart "+restarts, func() bool {
				return m.property("greetd", "NRestarts") == restarts && m.property("greetd", "ActiveState") == "active"
			})
		}
		const debug = "log level changed to debug from info"
		logged := func() int {
			return strings.Count(m.run("journalctl", "--no-pager", "-o", "cat", "-u", "greetd"), debug)
		}
		m.eventually("the log level changes at each restart", func() bool { return logged() == 2 })
		m.run("systemctl", "reload", "greetd") // changes it back
		m.run("greetd", "log-level", "debug")
		m.eventually("the log level changes once more", func() bool { return logged() == 3 })
		if m.release.systemd >= "258" {
			m.eventually("systemd has forgotten the restarts", func() bool { return m.property("greetd", "NRestarts") == "0" })
		}
	})
}

func TestPreservedStoreKeepsThePortThroughAStop(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		if m.release.systemd < "254" {
			return // it is for newer versions
		}
		m.example("greetd.service", "fd-store-preserve.conf")
		m.run("systemctl", "enable", "--now", "greetd")
		m.run("systemctl", "stop", "greetd")
		c, err := m.dial("tcp", overIPv4)
		if err != nil {
			m.Fatal("stopped, and the port is not kept: ", err)
		}
		defer c.Close()
		m.run("systemctl", "start", "greetd")
		_ = c.SetDeadline(time.Now().Add(waitLimit))
		if text, err := io.ReadAll(c); err != nil || string(text) != hello {
			m.Errorf("who waited got %q, %v", text, err)
		}
	})
}

// What an operator types finds the daemon without further ado.
func TestCommandsReachTheDaemon(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		if out, code := m.try("greetd", "status"); code != 69 {
			m.Errorf("without a daemon, status: exit %d\n%s", code, out)
		}
		m.run("systemctl", "start", "greetd")
		m.greeted("tcp", overIPv4, hello)
		if out := m.run("greetd", "status"); !strings.Contains(out, "own bind") {
			m.Errorf("status does not tell of the listener:\n%s", out)
		}
		m.run("greetd", "status", "--json")
		m.run("greetd", "log-level", "debug")
		m.configure(greeting("new\n"))
		m.run("greetd", "reload")
		m.greeted("tcp", overIPv4, "new\n")
		if out := m.run("greetd", "check"); !strings.Contains(out, "/etc/greetd/greetd.yaml") {
			m.Errorf("check looks elsewhere:\n%s", out)
		}
	})
}
