package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// keys are all of the configuration, each with what it does to a daemon that runs, and to
// which it comes by a reload.
var keys = []struct {
	key string
	try func(m *machine)
}{
	{"listeners[].name", func(m *machine) {
		m.apply(`listeners: [{name: hall, address: ":10000"}]`, `greeting: "{{.Listener}}\n"`)
		m.hears("127.0.0.1", "", "hall\n")
	}},
	{"listeners[].address", func(m *machine) {
		m.apply(`listeners: [{name: six, address: "[::1]:10002"}, {name: local, address: "unix:/run/greetd/greet.sock"}]`)
		m.greeted("tcp", "[::1]:10002", "Hello there, ::1!\n")
		m.greeted("unix", m.path("/run/greetd/greet.sock"), "Hello there, unix!\n")
		if c, err := m.dial("tcp", overIPv4); err == nil {
			_ = c.Close()
			m.Error("the old address is still there")
		}
	}},
	{"listeners[].reuse_port", func(m *machine) {
		const shared = `listeners: [{name: greet, address: "127.0.0.1:10000", reuse_port: true}]`
		m.write("/etc/greetd/two.yaml", shared+"\n")
		m.apply(`listeners: [{name: greet, address: "127.0.0.1:10000"}]`)
		if out, code := m.try("systemctl", "start", "greetd@two"); code == 0 {
			m.Errorf("two have the same address: %s", out)
		}
		m.run("systemctl", "stop", "greetd@two")
		m.apply(shared)
		m.run("systemctl", "start", "greetd@two")
		m.run("systemctl", "stop", "greetd@two")
	}},
	{"listeners[].connections", func(m *machine) {
		m.apply(`listeners: [{name: greet, address: ":10000", proxy_trusted: [127.0.0.1], connections: 1}, {name: other, address: ":10004"}]`,
			"timeouts: {handshake: 1h}")
		first := m.callOnly("127.0.0.1", overIPv4)
		defer first.Close()
		m.eventually("it is full", func() bool { return m.status().Listeners[0].State == "full" })
		second := m.callOnly("127.0.0.1", overIPv4)
		defer second.Close()
		m.greeted("tcp", "127.0.0.1:10004", hello)
		if status := m.status(); status.Listeners[0].Active != 1 || status.Listeners[1].State != "listening" {
			m.Errorf("listeners: %+v", status.Listeners)
		}
	}},
	{"listeners[].mode", func(m *machine) {
		m.apply(`listeners: [{name: local, address: "unix:/run/greetd/greet.sock", mode: "0600"}]`)
		if got := m.run("stat", "-c", "%a", "/run/greetd/greet.sock"); got != "600" {
			m.Errorf("mode %s", got)
		}
	}},
	{"listeners[].group", func(m *machine) { // the sandbox allows its own alone: see TestGroupOfAUnixSocket
		m.write("/etc/greetd/greetd.yaml", `listeners: [{name: local, address: "unix:/run/greetd/greet.sock", group: root}]`+"\n")
		if _, code := m.try("systemctl", "reload", "greetd"); code == 0 {
			m.Error("a group that greetd may not give was accepted")
		}
	}},
	{"listeners[].proxy_trusted", func(m *machine) {
		m.apply(proxied)
		m.hears("127.0.0.1", "PROXY TCP4 192.0.2.7 192.0.2.1 4711 25\r\n", "Hello there, 192.0.2.7!\n")
	}},
	{"listeners[].tls.certificate", func(m *machine) {
		certificate(m, "/etc/greetd/tls")
		m.run("chmod", "644", "/etc/greetd/tls.key")
		m.apply(safe)
		m.greetedOverTLS()
	}},
	{"listeners[].tls.key", func(m *machine) {
		m.apply(safe)
		certificate(m, "/etc/greetd/other")
		m.run("chmod", "644", "/etc/greetd/other.key")
		m.configure(strings.Replace(safe, "tls.key", "other.key", 1))
		if out, code := m.try("systemctl", "reload", "greetd"); code == 0 {
			m.Errorf("a pair that does not match was taken: %s", out)
		}
		m.greetedOverTLS()
	}},
	{"greeting", func(m *machine) {
		m.apply(`greeting: "Welcome\n"`)
		m.hears("127.0.0.1", "", "Welcome\n")
		for _, name := range []string{"renamed", "again"} { // the sandbox must not hide the second one
			m.run("hostname", name)
			m.apply(`greeting: "{{.Hostname}}\n"`)
			m.hears("127.0.0.1", "", name+"\n")
		}
	}},
	{"greeting_file", func(m *machine) {
		m.write("/etc/greetd/greeting", "From a file, {{.IP}}\n")
		m.apply("greeting_file: /etc/greetd/greeting")
		m.hears("127.0.0.1", "", "From a file, 127.0.0.1\n")
	}},
	{"timeouts.write", func(m *machine) {
		m.apply(greeting(strings.Repeat("all work and no play makes jack a dull boy\n", 1024)), "timeouts: {write: 1s}")
		m.timesOut()
	}},
	{"timeouts.handshake", func(m *machine) {
		m.apply(proxied, "timeouts: {handshake: 1s}")
		m.timesOut()
	}},
	{"timeouts.linger", func(m *machine) {
		m.apply("timeouts: {linger: 1h}")
		c := m.callOnly("127.0.0.1", overIPv4)
		defer c.Close()
		_, _ = io.ReadAll(c)
		m.eventually("the client lingers", func() bool { return m.status().Connections.Lingering == 1 })
		m.apply("timeouts: {linger: 0s}")
		m.eventually("it does not any more", func() bool { return m.status().Connections.Lingering == 0 })
	}},
	{"timeouts.lameduck", func(m *machine) {
		m.apply("timeouts: {lameduck: 2s}")
		m.run("systemctl", "restart", "--no-block", "greetd")
		m.eventually("it is a lame duck", func() bool { return strings.HasPrefix(m.property("greetd", "StatusText"), "lame duck") })
		m.hears("127.0.0.1", "", hello)
		m.eventually("the next one is up", func() bool {
			return m.property("greetd", "ActiveState") == "active" && !strings.HasPrefix(m.property("greetd", "StatusText"), "lame duck")
		})
	}},
	{"timeouts.drain", func(m *machine) {
		m.apply(proxied, "timeouts: {handshake: 1h, drain: 0s}")
		c := m.callOnly("127.0.0.1", overIPv4)
		defer c.Close()
		m.eventually("the client is in", func() bool { return m.status().Connections.Active == 1 })
		m.run("systemctl", "restart", "greetd")
		if cut := m.journal("GREETD_OUTCOME=cut"); len(cut) != 1 {
			m.Errorf("%d visits were cut, want 1", len(cut))
		}
	}},
	{"limits.connections", func(m *machine) {
		m.apply(proxied, "timeouts: {handshake: 1h}", "limits: {connections: 1}")
		first := m.callOnly("127.0.0.1", overIPv4)
		defer first.Close()
		m.eventually("it is full", func() bool { return m.status().Listeners[0].State == "full" })
		second := m.callOnly("127.0.0.1", overIPv4)
		defer second.Close()
		_, _ = io.WriteString(second, "PROXY UNKNOWN\r\n")
		if status := m.status(); status.Connections.Active != 1 {
			m.Errorf("%d are active", status.Connections.Active)
		}
		_ = first.Close()
		_ = second.SetDeadline(time.Now().Add(waitLimit))
		if text, err := io.ReadAll(second); err != nil || string(text) != hello {
			m.Errorf("who waited hears %q, %v", text, err)
		}
	}},
	{"limits.per_source.connections", func(m *machine) {
		m.apply("limits: {per_source: {connections: 1}}", "timeouts: {linger: 1h}")
		c := m.callOnly("127.1.0.1", overIPv4)
		defer c.Close()
		_, _ = io.ReadAll(c)
		m.hears("127.1.0.1", "", "")
		m.hears("127.1.0.2", "", "Hello there, 127.1.0.2!\n")
		_ = c.Close()
		m.eventually("the source has room again", func() bool { return m.hear("127.1.0.1", "") != "" })
	}},
	{"limits.per_source.rate", func(m *machine) {
		m.apply("limits: {per_source: {rate: 0.001}}")
		m.hears("127.1.1.1", "", "Hello there, 127.1.1.1!\n")
		m.hears("127.1.1.1", "", "")
	}},
	{"limits.per_source.burst", func(m *machine) {
		m.apply("limits: {per_source: {rate: 0.001, burst: 2}}")
		m.hears("127.1.2.1", "", "Hello there, 127.1.2.1!\n")
		m.hears("127.1.2.1", "", "Hello there, 127.1.2.1!\n")
		m.hears("127.1.2.1", "", "")
	}},
	{"limits.per_source.ipv4_prefix", func(m *machine) {
		m.apply("limits: {per_source: {rate: 0.001, ipv4_prefix: 24}}")
		m.hears("127.2.0.1", "", "Hello there, 127.2.0.1!\n")
		m.hears("127.2.0.2", "", "")
		m.hears("127.2.1.1", "", "Hello there, 127.2.1.1!\n")
	}},
	{"limits.per_source.ipv6_prefix", func(m *machine) {
		m.apply("limits: {per_source: {rate: 0.001, ipv6_prefix: 48}}")
		for _, visitor := range []struct{ from, want string }{
			{"fd00::1", "Hello there, fd00::1!\n"},
			{"fd00:0:0:1::1", ""},
			{"fd00:0:1::1", "Hello there, fd00:0:1::1!\n"},
		} {
			m.run("ip", "address", "add", visitor.from+"/128", "dev", "lo", "nodad")
			m.hears(visitor.from, "", visitor.want)
		}
	}},
	{"access.allow", func(m *machine) {
		m.apply("access: {allow: [127.3.0.0/16]}")
		m.hears("127.3.0.1", "", "Hello there, 127.3.0.1!\n")
		m.hears("127.0.0.1", "", "")
	}},
	{"access.deny", func(m *machine) {
		m.apply("access: {deny: [127.3.0.0/16]}")
		m.hears("127.3.0.1", "", "")
		m.hears("127.0.0.1", "", hello)
	}},
	{"log.output", func(m *machine) {
		m.apply("log: {output: stderr}")
		m.hear("127.4.0.1", "")
		m.tells("_TRANSPORT=stdout", "greeted 127.4.0.1:")
	}},
	{"log.level", func(m *machine) {
		m.apply("log: {level: warning}")
		m.hear("127.4.0.2", "")
		m.apply("log: {level: info}")
		m.hear("127.4.0.3", "")
		m.tells("GREETD_REMOTE_ADDR=127.4.0.3", "greeted")
		if entries := m.journal("GREETD_REMOTE_ADDR=127.4.0.2"); len(entries) > 0 {
			m.Errorf("at level warning, an ordinary visit is logged: %v", entries)
		}
	}},
	{"log.format", func(m *machine) {
		m.apply("log: {output: stderr, format: json}")
		m.hear("127.4.0.4", "")
		m.tells("_TRANSPORT=stdout", `"remote_addr":"127.4.0.4"`)
	}},
	{"log.visits", func(m *machine) {
		m.apply("log: {visits: problems}", "access: {deny: [127.4.0.6]}")
		m.hear("127.4.0.5", "")
		m.hear("127.4.0.6", "")
		m.tells("GREETD_REMOTE_ADDR=127.4.0.6", "refused")
		if entries := m.journal("GREETD_REMOTE_ADDR=127.4.0.5"); len(entries) > 0 {
			m.Errorf("who was greeted is logged: %v", entries)
		}
	}},
	{"log.skip", func(m *machine) {
		m.apply("log: {skip: [127.4.0.16]}")
		m.hear("127.4.0.16", "")
		m.hear("127.4.0.17", "")
		m.tells("GREETD_REMOTE_ADDR=127.4.0.17", "greeted")
		if entries := m.journal("GREETD_REMOTE_ADDR=127.4.0.16"); len(entries) > 0 {
			m.Errorf("a client to skip is logged: %v", entries)
		}
	}},
	{"log.rate", func(m *machine) {
		m.apply("log: {rate: 1, burst: 1}")
		for range 10 {
			m.hear("127.4.0.7", "")
		}
		m.eventually("a summary has the others", func() bool {
			for _, entry := range m.journal() {
				if _, ok := entry["GREETD_SUPPRESSED"]; ok {
					return true
				}
			}
			return false
		})
	}},
	{"log.burst", func(m *machine) {
		m.apply("log: {rate: 1, burst: 100}")
		for range 50 {
			m.hear("127.4.0.8", "")
		}
		m.eventually("each has an entry", func() bool { return len(m.journal("GREETD_REMOTE_ADDR=127.4.0.8")) == 50 })
	}},
	{"admin.address", func(m *machine) {
		m.apply(`admin: {address: "127.0.0.1:9180"}`)
		for request, want := range map[string]string{"GET /healthz": "HTTP/1.0 200 OK", "POST /reload": "HTTP/1.0 405 Method Not Allowed"} {
			c := m.callOnly("127.0.0.1", "127.0.0.1:9180")
			_, _ = fmt.Fprintf(c, "%s HTTP/1.0\r\n\r\n", request)
			if answer, _ := io.ReadAll(c); !strings.HasPrefix(string(answer), want) {
				m.Errorf("%s: %q, want %s", request, answer, want)
			}
			_ = c.Close()
		}
	}},
	{"admin.web_config_file", func(m *machine) {
		// The password is "fakepassword".
		m.write("/etc/greetd/web.yaml", "basic_auth_users: {prometheus: $2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi}\n")
		m.apply(`admin: {address: "127.0.0.1:9180", web_config_file: /etc/greetd/web.yaml}`)
		answer := func(header string) string {
			c := m.callOnly("127.0.0.1", "127.0.0.1:9180")
			defer c.Close()
			_, _ = fmt.Fprintf(c, "GET /metrics HTTP/1.0\r\n%s\r\n", header)
			text, _ := io.ReadAll(c)
			return string(text)
		}
		const authorized = "Authorization: Basic cHJvbWV0aGV1czpmYWtlcGFzc3dvcmQ=\r\n"
		if got := answer(""); !strings.HasPrefix(got, "HTTP/1.0 401 ") {
			m.Errorf("without a password: %q", got)
		}
		if got := answer(authorized); !strings.Contains(got, "greetd_build_info") {
			m.Errorf("with the password: %q", got)
		}
		m.write("/etc/greetd/web.yaml", "basic_auth_users: {prometheus: fakepassword}\n")
		for _, command := range []string{"check", "reload"} {
			if out, code := m.try("greetd", command); code != 78 || !strings.Contains(out, "is not a bcrypt hash") {
				m.Errorf("greetd %s with a bad file: %d %s", command, code, out)
			}
		}
		if got := answer(authorized); !strings.Contains(got, "greetd_build_info") {
			m.Errorf("after a refused reload: %q", got)
		}
		// A key that only root can read: both see it with the eyes of the service.
		m.write("/etc/greetd/admin.crt", "")
		m.write("/etc/greetd/admin.key", "")
		m.run("chmod", "600", "/etc/greetd/admin.key")
		m.write("/etc/greetd/web.yaml", "tls_server_config: {cert_file: admin.crt, key_file: admin.key}\n")
		if out, code := m.try("greetd", "check"); code != 78 || !strings.Contains(out, "key_file /etc/greetd/admin.key can't be read by user ") {
			m.Errorf("greetd check with a key of root's: %d %s", code, out)
		}
	}},
}

const (
	proxied = `listeners: [{name: greet, address: ":10000", proxy_trusted: [127.0.0.1]}]`
	safe    = `listeners: [{name: greet, address: ":10000", tls: {certificate: /etc/greetd/tls.pem, key: /etc/greetd/tls.key}}]`
)

func TestEveryKeyWorksByReload(t *testing.T) {
	manual, err := os.ReadFile("../../docs/greetd.yaml.5")
	if err != nil {
		t.Fatal(err)
	}
	var tried []string
	for _, k := range keys {
		tried = append(tried, k.key)
	}
	for _, item := range regexp.MustCompile(`(?m)^\.It Va (\S+) :`).FindAllStringSubmatch(string(manual), -1) {
		if !slices.Contains(tried, item[1]) {
			t.Errorf("%s is in the manual, and not tried here", item[1])
		}
	}
	onEachSystemd(t, func(m *machine) {
		m.littleRoom()
		m.run("systemctl", "start", "greetd")
		for _, k := range keys {
			daemon := m.property("greetd", "MainPID")
			m.Run(k.key, func(t *testing.T) {
				here := *m
				here.T = t
				k.try(&here)
			})
			if k.key != "timeouts.drain" && k.key != "timeouts.lameduck" && m.property("greetd", "MainPID") != daemon {
				m.Errorf("%s: the daemon is another one", k.key)
			}
		}
	})
}

// apply makes the lines the configuration, by a reload.
func (m *machine) apply(lines ...string) {
	m.Helper()
	m.configure(lines...)
	m.run("systemctl", "reload", "greetd")
}

// hear is what a client hears that comes from an address and says something first, unless
// that is "".
func (m *machine) hear(from, say string) string {
	m.Helper()
	to := overIPv4
	if net.ParseIP(from).To4() == nil {
		to = overIPv6
	}
	c := m.callOnly(from, to)
	defer c.Close()
	_, _ = io.WriteString(c, say)
	_ = c.SetDeadline(time.Now().Add(waitLimit))
	text, _ := io.ReadAll(c)
	return string(text)
}

func (m *machine) hears(from, say, want string) {
	m.Helper()
	if got := m.hear(from, say); got != want {
		m.Errorf("a client from %s hears %q, want %q", from, got, want)
	}
}

// timesOut fails the test unless the time of a client that does nothing is over some day.
func (m *machine) timesOut() {
	m.Helper()
	before := m.outcomes()["timed_out"]
	c := m.callOnly("127.0.0.1", overIPv4)
	defer c.Close()
	m.eventually("a client has timed out", func() bool { return m.outcomes()["timed_out"] == before+1 })
}

// tells waits until an entry that matches has the text in its message.
func (m *machine) tells(match, text string) {
	m.Helper()
	m.eventually("the journal says "+text, func() bool {
		return slices.ContainsFunc(m.journal(match), func(entry map[string]any) bool {
			message, _ := entry["MESSAGE"].(string)
			return strings.Contains(message, text)
		})
	})
}

// status is what greetd says about itself.
func (m *machine) status() (status struct {
	Connections struct{ Active, Lingering int }
	Listeners   []struct {
		State  string
		Active int
	}
},
) {
	m.Helper()
	if err := json.Unmarshal([]byte(m.run("greetd", "status", "--json")), &status); err != nil {
		m.Fatal(err)
	}
	return status
}
