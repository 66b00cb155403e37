package e2e

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/test/debian"

	"golang.org/x/sys/unix"
)

// What a cluster's addresses are: those of the hosts are in deploy/haproxy/haproxy.cfg as
// it is, so that the tests run it unchanged.
const (
	balancer   = "192.0.2.1" // as the hosts see it
	frontIPv4  = "203.0.113.1"
	frontIPv6  = "2001:db8:ffff::1"
	clientIPv4 = "203.0.113.2"
	clientIPv6 = "2001:db8:ffff::2"
	manyIPv4   = "10.64.0.0/10"    // where clients come from
	manyIPv6   = "2001:db8:1::/48" // the same
	clusterAt  = 150               // connections a second over IPv4, and as many over IPv6
)

// A cluster is three machines with greetd, each on a link of its own to a HAProxy, and
// clients on its other side.
type cluster struct {
	*testing.T
	balancer network
	clients  network
	hosts    []*machine
	haproxy  *exec.Cmd
	said     bytes.Buffer // by HAProxy
}

// newCluster boots a cluster, and returns when HAProxy has found its three hosts up.
func newCluster(t *testing.T) *cluster {
	t.Helper()
	skipUnlessPossible(t)
	c := &cluster{T: t, balancer: newNetwork(t), clients: newNetwork(t)}
	for i := range 3 {
		host := prepare(t, releases[i%len(releases)], fmt.Sprintf("greet%d", i+1))
		host.powerUp()
		c.hosts = append(c.hosts, host)
	}
	c.link()
	for _, host := range c.hosts {
		host.write("/etc/greetd/greetd.yaml", deployed(c.T, "greetd.yaml"))
		host.run("systemctl", "start", "greetd")
	}
	c.startHAProxy()
	return c
}

// deployed returns a file of deploy/haproxy.
func deployed(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy/haproxy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// installHAProxy puts the files of deploy/haproxy where an operator has them, which nobody
// else sees, and returns HAProxy's path.
func installHAProxy(t *testing.T) string {
	t.Helper()
	program := debian.Program(t, "haproxy", "haproxy")
	for _, dir := range []string{"/etc/haproxy", "/run/haproxy"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("greetd-e2e", dir, "tmpfs", 0, "mode=0755"); err != nil {
			t.Fatal("mount over ", dir, ": ", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	writeHAProxy(t, program, "haproxy.cfg", deployed(t, "haproxy.cfg"))
	return program
}

// writeHAProxy writes a configuration beside greet.lua, and returns its path. HAProxy must
// have nothing to say against it.
func writeHAProxy(t *testing.T, program, name, text string) string {
	t.Helper()
	path := filepath.Join("/etc/haproxy", name)
	for path, text := range map[string]string{path: text, "/etc/haproxy/greet.lua": deployed(t, "greet.lua")} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := command(program, "-c", "-f", path); err != nil || strings.Contains(out, "[WARNING]") {
		t.Fatalf("haproxy -c -f %s: %v\n%s", path, err, out)
	}
	return path
}

// link connects the hosts to HAProxy by a switch, and the clients by a cable.
func (c *cluster) link() {
	c.Helper()
	at := func(n network, command string) {
		c.Helper()
		words := strings.Fields(command)
		n.run(c.T, words[0], words[1:]...)
	}
	at(c.balancer, "ip link add hosts type bridge")
	at(c.balancer, "ip address add "+balancer+"/24 dev hosts")
	at(c.balancer, "ip link set hosts up")
	for i, host := range c.hosts {
		host.awaitSystemd()
		at(c.balancer, fmt.Sprintf("ip link add %s type veth peer name uplink netns %d", host.name, host.init))
		at(c.balancer, "ip link set "+host.name+" master hosts up")
		at(host.network(), fmt.Sprintf("ip address add 192.0.2.%d/24 dev uplink", 11+i))
		at(host.network(), "ip link set uplink up")
	}
	at(c.balancer, "ip link add clients type veth peer name uplink netns "+string(c.clients))
	at(c.balancer, "ip address add "+frontIPv4+"/24 dev clients")
	at(c.balancer, "ip address add "+frontIPv6+"/64 dev clients nodad")
	at(c.balancer, "ip link set clients up")
	at(c.balancer, "ip route add "+manyIPv4+" via "+clientIPv4)
	at(c.balancer, "ip route add "+manyIPv6+" via "+clientIPv6)
	at(c.clients, "ip address add "+clientIPv4+"/24 dev uplink")
	at(c.clients, "ip address add "+clientIPv6+"/64 dev uplink nodad")
	at(c.clients, "ip link set uplink up")
	at(c.clients, "ip route add local "+manyIPv4+" dev lo")
	at(c.clients, "ip route add local "+manyIPv6+" dev lo")
	at(c.clients, "sysctl -qw net.ipv6.ip_nonlocal_bind=1") // IPv4 clients need no such leave
}

// startHAProxy starts HAProxy with the files of deploy/haproxy as they are.
func (c *cluster) startHAProxy() {
	c.Helper()
	program := installHAProxy(c.T)
	c.haproxy = exec.Command(program, "-W", "-f", "/etc/haproxy/haproxy.cfg")
	c.haproxy.Stdout, c.haproxy.Stderr = &c.said, &c.said
	if err := c.balancer.inside(c.haproxy.Start); err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		_ = c.haproxy.Process.Signal(syscall.SIGTERM)
		_ = c.haproxy.Wait()
		if c.Failed() {
			c.Log(c.said.String())
		}
	})
	for _, host := range c.hosts {
		c.await(host, "UP")
	}
}

// ask sends a command to HAProxy, and returns the answer.
func (c *cluster) ask(command string) string {
	c.Helper()
	var answer []byte
	socket, err := net.Dial("unix", "/run/haproxy/admin.sock")
	if err == nil {
		defer socket.Close()
		_, _ = io.WriteString(socket, command+"\n")
		answer, err = io.ReadAll(socket)
	}
	if err != nil {
		return err.Error()
	}
	return string(answer)
}

// stat returns what HAProxy says of itself (FRONTEND), all hosts (BACKEND) or one of them.
func (c *cluster) stat(proxy, name string) map[string]string {
	c.Helper()
	rows, _ := csv.NewReader(strings.NewReader(c.ask("show stat"))).ReadAll()
	stat := map[string]string{}
	for _, row := range rows {
		if row[0] != proxy || row[1] != name {
			continue
		}
		for i, field := range rows[0] {
			stat[strings.TrimPrefix(field, "# ")] = row[i]
		}
	}
	return stat
}

// count is a number of stat.
func (c *cluster) count(proxy, name, field string) int {
	c.Helper()
	n, _ := strconv.Atoi(c.stat(proxy, name)[field])
	return n
}

// await waits until HAProxy says that a host is UP or DOWN.
func (c *cluster) await(host *machine, status string) {
	c.Helper()
	host.eventually("HAProxy has found it "+status, func() bool { return c.stat("greetd", host.name)["status"] == status })
}

// everyVisit is how often "greet" called greet.lua, and how often that asked a host.
func (c *cluster) everyVisit() (visits, asked int) {
	c.Helper()
	return c.count("greet", "FRONTEND", "stot"), c.count("greetd", "FRONTEND", "stot")
}

// helloAll is the default greeting.
const helloAll = "Hello there, {IP}!\n"

// loads are those of underLoad. Over IPv6, everybody talks first.
var clusterLoads = []loadSpec{
	{Address: frontIPv4 + ":10000", From: netip.MustParsePrefix(manyIPv4).Addr()},
	{Address: "[" + frontIPv6 + "]:10000", From: netip.MustParsePrefix(manyIPv6).Addr(), TalkFirst: 100},
}

// underLoad runs a test under load over IPv4 and IPv6. Each client must be greeted, with
// its own address. At least so many times a host has to have failed a client who was
// connected to it, and another had to be asked.
func (c *cluster) underLoad(name string, again int, test func()) {
	c.Helper()
	c.Run(name, func(t *testing.T) {
		outer := c.T
		c.T = t
		for _, host := range c.hosts {
			host.T = t
		}
		defer func() {
			c.T = outer
			for _, host := range c.hosts {
				host.T = outer
			}
		}()
		visits, asked := c.everyVisit()
		var loads []*load
		for _, spec := range clusterLoads {
			spec.Rate, spec.Greeting = clusterAt, helloAll
			loads = append(loads, c.clients.load(t, spec))
		}
		test()
		so := c.count("greet", "FRONTEND", "stot")
		c.hosts[0].eventually("others come afterwards", func() bool { return c.count("greet", "FRONTEND", "stot") >= so+2*clusterAt })
		for _, load := range loads {
			if result := load.stop(); result.lost() > 0 {
				t.Errorf("%d clients were lost: %v", result.lost(), result)
			}
		}
		newVisits, newAsked := c.everyVisit()
		if got := (newAsked - asked) - (newVisits - visits); again > 0 && got < again {
			t.Errorf("a second host was asked %d times: this should have been at least %d", got, again)
		}
		for _, host := range c.hosts {
			s := c.stat("greetd", host.name)
			t.Logf("%s: %s, %s; %s connections, %s not made, %s broken off, %s made to another host instead",
				host.name, s["status"], s["last_chk"], s["stot"], s["econ"], s["eresp"], s["wredis"])
		}
	})
}

// pile stops the host's greetd, and returns when clients are connected to it who wait for
// their greeting: they are the hard case.
func (c *cluster) pile(host *machine) {
	c.Helper()
	for _, each := range c.hosts {
		each.signal(syscall.SIGSTOP) // or the others would get them
	}
	host.eventually("clients wait there", func() bool { return c.count("greetd", host.name, "scur") >= hardCases })
	for _, other := range c.hosts {
		if other != host {
			other.signal(syscall.SIGCONT)
		}
	}
}

const hardCases = 3

// signal sends a signal to greetd, at once: by systemctl it would take its time.
func (m *machine) signal(signal syscall.Signal) {
	m.Helper()
	pid := m.daemon()
	if pid == 0 {
		m.Fatal("there is no daemon")
	}
	if err := syscall.Kill(pid, signal); err != nil {
		m.Fatal(err)
	}
}

func TestThreeHostsBehindHAProxy(t *testing.T) {
	c := newCluster(t)
	one, two, three := c.hosts[0], c.hosts[1], c.hosts[2]

	c.underLoad("rolling restart", 0, func() {
		for _, host := range c.hosts {
			before := host.property("greetd", "MainPID")
			host.run("systemctl", "restart", "greetd")
			if host.property("greetd", "MainPID") == before {
				c.Errorf("%s was not restarted", host.name)
			}
			c.await(host, "UP")
		}
	})
	c.underLoad("HAProxy reloaded", 0, func() {
		worker := func() string {
			for line := range strings.Lines(c.ask("show info")) {
				if pid, is := strings.CutPrefix(line, "Pid: "); is {
					return pid
				}
			}
			return ""
		}
		before := worker()
		if err := c.haproxy.Process.Signal(syscall.SIGUSR2); err != nil {
			c.Fatal(err)
		}
		one.eventually("there is a new worker", func() bool { now := worker(); return now != "" && now != before })
	})
	c.underLoad("one drained", 0, func() {
		c.ask("set server greetd/" + one.name + " state drain")
		one.eventually("it is drained", func() bool { return c.count("greetd", one.name, "scur") == 0 })
		one.run("systemctl", "stop", "greetd")
		c.await(one, "DOWN")
		one.run("systemctl", "start", "greetd")
		c.await(one, "DRAIN")
		c.ask("set server greetd/" + one.name + " state ready")
		c.await(one, "UP")
	})
	c.underLoad("one says something else, one says nothing", 1, func() {
		two.write("/etc/greetd/greetd.yaml", strings.Replace(deployed(c.T, "greetd.yaml"), "Hello", "Goodbye", 1))
		two.run("systemctl", "reload", "greetd")
		three.run("systemctl", "stop", "greetd")
		silence := c.hangUpOnAll(three)
		c.await(two, "DOWN")
		c.await(three, "DOWN")
		if got := c.stat("greetd", two.name)["check_status"]; got != "L7RSP" {
			t.Errorf("the check of the one that says something else ended in %s, want L7RSP", got)
		}

		two.write("/etc/greetd/greetd.yaml", deployed(c.T, "greetd.yaml"))
		two.run("systemctl", "reload", "greetd")
		_ = silence.Close()
		three.run("systemctl", "start", "greetd")
		c.await(two, "UP")
		c.await(three, "UP")
	})
	c.underLoad("a flood", 0, c.flood)
	t.Run("too many connections", c.tooMany)
	c.underLoad("one killed", hardCases, func() {
		two.dropIn("greetd.service", "[Service]", "Restart=no")
		c.pile(two)
		two.signal(syscall.SIGKILL)
		c.await(two, "DOWN")
		two.run("systemctl", "start", "greetd")
		c.await(two, "UP")
	})
	c.underLoad("one cut off", hardCases, func() {
		down := func() { c.balancer.run(t, "ip", "link", "set", three.name, "down") }
		back := func() {
			c.await(three, "DOWN")
			c.balancer.run(t, "ip", "link", "set", three.name, "up")
			c.await(three, "UP")
		}
		// Somebody who was connected to it already may wait there, and then nobody else is sent to it.
		before := c.count("greetd", three.name, "wredis")
		for tries := 1; c.count("greetd", three.name, "wredis") == before; tries++ {
			if tries > 10 {
				t.Fatal("nobody who could not be connected to it was sent to another")
			}
			down()
			back()
		}

		c.pile(three) // and then nobody else is sent there: the others have fewer
		down()
		three.signal(syscall.SIGCONT) // it greets those who wait there, and nobody hears it
		back()
	})
	c.underLoad("one power failure", hardCases, func() {
		c.pile(one)
		one.kill()
		c.await(one, "DOWN")
	})
}

// hangUpOnAll is a service in place of the host's greetd that accepts clients and closes
// at once. It ends when it is closed.
func (c *cluster) hangUpOnAll(host *machine) io.Closer {
	c.Helper()
	var ln net.Listener
	err := host.inside(func() (err error) {
		ln, err = net.Listen("tcp", ":10000")
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			_ = client.Close()
		}
	}()
	c.Cleanup(func() { _ = ln.Close() })
	return ln
}

// The limits in haproxy.cfg of each source, whichever hosts it gets.
const (
	atATime = 100 // connections
	in10s   = 200 // visits
)

// flood lets two sources come much too often, one after the other.
func (c *cluster) flood() {
	c.Helper()
	for i, spec := range clusterLoads {
		spec.From = netip.MustParseAddr([]string{"10.127.0.1", "2001:db8:1:ffff::"}[i])
		spec.Alone, spec.Rate, spec.Greeting, spec.TalkFirst = true, 400, helloAll, 0
		flood := c.clients.load(c.T, spec)
		time.Sleep(2 * time.Second) // much more than there may be in 10 s
		result := flood.stop()
		if n := result.Endings[greeted]; n < atATime || n > in10s*3/2 || n+result.Endings[reset] < result.Offered {
			c.Errorf("%d of a flood from %v were greeted, want about %d, and the others reset: %v", n, spec.From, in10s, result)
		}
	}
}

// tooMany lets a source have too many connections at a time, and somebody else one.
func (c *cluster) tooMany(t *testing.T) {
	t.Helper()
	const tooMany = 5
	for _, host := range c.hosts {
		c.ask("disable health greetd/" + host.name)
		host.signal(syscall.SIGSTOP) // so that all of them stay
	}
	before := c.count("greet", "FRONTEND", "dcon")
	said := make(chan string)
	visit := func(from string) {
		client, err := c.clients.dial(from, frontIPv4+":10000")
		if err != nil {
			said <- "" // the reset came first
			return
		}
		defer client.Close()
		_ = client.SetDeadline(time.Now().Add(waitLimit))
		text, _ := io.ReadAll(client)
		said <- string(text)
	}
	go visit("10.127.0.3")
	for range atATime + tooMany {
		go visit("10.127.0.2")
	}
	c.hosts[0].eventually("too many have come", func() bool { return c.count("greet", "FRONTEND", "dcon") >= before+tooMany })
	for _, host := range c.hosts {
		host.signal(syscall.SIGCONT)
		c.ask("enable health greetd/" + host.name)
	}

	got := map[string]int{}
	for range 1 + atATime + tooMany {
		got[<-said]++
	}
	want := map[string]int{"": tooMany, "Hello there, 10.127.0.2!\n": atATime, "Hello there, 10.127.0.3!\n": 1}
	if !maps.Equal(got, want) {
		t.Errorf("the source with too many and somebody else got %v, want %v", got, want)
	}
}

// Two HAProxies, each with its name in the configuration and all else the same, have the
// counts in common: the second refuses who came to the first too often.
func TestTwoHAProxiesShareTheCounts(t *testing.T) {
	skipUnlessPossible(t)
	program := installHAProxy(t)
	both := []network{newNetwork(t), newNetwork(t)}
	both[0].run(t, "ip", "link", "add", "peer", "type", "veth", "peer", "name", "peer", "netns", string(both[1]))
	for i, n := range both {
		n.run(t, "ip", "address", "add", fmt.Sprintf("192.0.2.%d/24", 1+i), "dev", "peer")
		n.run(t, "ip", "link", "set", "peer", "up")
		name := fmt.Sprintf("balancer%d", 1+i)
		config := strings.NewReplacer("#peers# ", "", "localpeer balancer1", "localpeer "+name, "admin.sock", name+".sock").
			Replace(deployed(t, "haproxy.cfg"))
		haproxy := exec.Command(program, "-db", "-f", writeHAProxy(t, program, name+".cfg", config))
		if err := n.inside(haproxy.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = haproxy.Process.Kill()
			_ = haproxy.Wait()
		})
	}
	// refused comes once, as the same client each time.
	refused := func(n network) bool {
		client, err := n.dial("127.0.0.1", "127.0.0.1:10000")
		if err != nil {
			return errors.Is(err, syscall.ECONNRESET)
		}
		defer client.Close()
		_ = client.SetDeadline(time.Now().Add(100 * time.Millisecond)) // or there is no host to greet
		_, err = client.Read(make([]byte, 1))
		return errors.Is(err, syscall.ECONNRESET)
	}
	// So seldom that the second alone would never refuse.
	for deadline := time.Now().Add(waitLimit); !refused(both[1]); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the second did not come to know")
		}
		for range in10s {
			if client, err := both[0].dial("127.0.0.1", "127.0.0.1:10000"); err == nil {
				_ = client.Close()
			}
		}
	}
}
