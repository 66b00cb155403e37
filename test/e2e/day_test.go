package e2e

import (
	"crypto/tls"
	"encoding/json"
	"html"
	"io"
	"maps"
	"net"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/pkg/service"
)

// daySettings is a configuration under which visits end for every reason that clients can cause.
const daySettings = `
listeners:
  - {name: greet, address: ":10000"}
  - {name: balanced, address: ":10001", proxy_trusted: [198.51.100.9]}
  - {name: secure, address: ":10002", tls: {certificate: /etc/ssl/day.pem, key: /etc/ssl/day.key}}
  - {name: small, address: ":10003", connections: 1, tls: {certificate: /etc/ssl/day.pem, key: /etc/ssl/day.key}}
  - {name: long, address: ":10004"}
greeting: '{{if eq .Listener "long"}}{{printf "%60000s" .IP}}{{end}}Hello there, {{.IP}}!{{if eq .IP "192.0.2.66"}}{{slice .IP 99}}{{end}}{{"\n"}}'
access: {deny: [203.0.113.0/24]}
limits: {per_source: {rate: 1, burst: 10}}
timeouts: {handshake: 600ms, write: 700ms, drain: 100ms}
log: {rate: 10, burst: 20}
admin: {address: "127.0.0.1:9180"}
`

// An account is how many visits had an outcome, and an outcome and a reason: "refused" and
// "refused denied". What nobody had is missing.
type account map[string]int

func (a account) add(n int, words ...string) {
	if n != 0 {
		a[strings.Join(words, " ")] += n
	}
}

// outcomesAndReasons calls f for all that there are.
func outcomesAndReasons(f func(outcome, reason string)) {
	for _, outcome := range service.Outcomes() {
		f(string(outcome), "")
		for _, reason := range outcome.Reasons() {
			f(string(outcome), string(reason))
		}
	}
}

// inStatus is what `greetd status --json` says, and whether no visit is under way.
func (m *machine) inStatus() (a account, calm bool) {
	m.Helper()
	var status struct {
		Connections struct{ Active int }
		Outcomes    map[string]int
		Reasons     map[string]map[string]int
	}
	if err := json.Unmarshal([]byte(m.run("greetd", "status", "--json")), &status); err != nil {
		m.Fatal(err)
	}
	a = account{}
	for outcome, n := range status.Outcomes {
		a.add(n, outcome)
	}
	for outcome, reasons := range status.Reasons {
		for reason, n := range reasons {
			a.add(n, outcome, reason)
		}
	}
	return a, status.Connections.Active == 0
}

// inStatusText is what `greetd status` prints.
func (m *machine) inStatusText() account {
	m.Helper()
	a := account{}
	var table []string
	for line := range strings.Lines(m.run("greetd", "status")) {
		switch cells := strings.Fields(line); {
		case len(cells) == 0:
			table = nil
		case len(table) == 0:
			table = cells
		case table[0] == "VISITS" && cells[0] == "all":
			for i, outcome := range table[1:] {
				a.add(m.count(cells[i+1]), strings.ToLower(outcome))
			}
		case table[0] == "NOT":
			a.add(m.count(cells[3]), cells[1], cells[2])
		}
	}
	return a
}

// count is a number, which may have commas.
func (m *machine) count(text string) int {
	m.Helper()
	n, err := strconv.Atoi(strings.ReplaceAll(text, ",", ""))
	if err != nil {
		m.Fatal(err)
	}
	return n
}

// ask returns what the admin address answers.
func (m *machine) ask(path string) string {
	m.Helper()
	answer, err := m.httpClient().Get("http://127.0.0.1:9180" + path)
	if err != nil {
		m.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		m.Fatal(err)
	}
	return string(body)
}

var (
	tile   = regexp.MustCompile(`<b>([\d,]+)</b> ([a-z ]+)</div>`)
	reason = regexp.MustCompile(`([\d,]+) ([a-z ]+) \((\w+)\)`)
	sample = regexp.MustCompile(`(?m)^(greetd_visits_total|greetd_visits_not_greeted_total){(.*)} (\S+)$`)
	label  = regexp.MustCompile(`(\w+)="(\w+)"`)
)

// onPage is what the status page shows.
func (m *machine) onPage() account {
	m.Helper()
	page, a := m.ask("/"), account{}
	for _, found := range tile.FindAllStringSubmatch(page, -1) {
		if outcome := strings.ReplaceAll(found[2], " ", "_"); slices.Contains(service.Outcomes(), service.Outcome(outcome)) {
			a.add(m.count(found[1]), outcome)
		}
	}
	_, words, _ := strings.Cut(page, "<dt>Not greeted<dd>")
	words, _, _ = strings.Cut(words, "<dt>")
	for _, found := range reason.FindAllStringSubmatch(html.UnescapeString(words), -1) {
		a.add(m.count(found[1]), strings.ReplaceAll(found[2], " ", "_"), found[3])
	}
	return a
}

// inMetrics is what Prometheus gets.
func (m *machine) inMetrics() account {
	m.Helper()
	a := account{}
	for _, found := range sample.FindAllStringSubmatch(m.ask("/metrics"), -1) {
		labels := map[string]string{}
		for _, l := range label.FindAllStringSubmatch(found[2], -1) {
			labels[l[1]] = l[2]
		}
		words := []string{labels["outcome"]}
		if labels["reason"] != "" {
			words = append(words, labels["reason"])
		}
		a.add(m.count(found[3]), words...)
	}
	return a
}

// inInvocation is what the journal has of one run of the daemon: entries, and what entries count.
func (m *machine) inInvocation(id string) (visits account, totals account) {
	m.Helper()
	visits, totals = account{}, account{}
	for _, entry := range m.journal("_SYSTEMD_INVOCATION_ID=" + id) {
		outcome, _ := entry["GREETD_OUTCOME"].(string)
		why, _ := entry["GREETD_REASON"].(string)
		if outcome != "" {
			visits.add(1, outcome)
		}
		if outcome != "" && why != "" {
			visits.add(1, outcome, why)
		}
		outcomesAndReasons(func(outcome, reason string) {
			words := slices.DeleteFunc([]string{outcome, reason}, func(s string) bool { return s == "" })
			field := strings.ToUpper(strings.Join(words, "_"))
			visits.add(m.number(entry, "GREETD_SUPPRESSED_"+field)+m.number(entry, "GREETD_DROPPED_"+field), words...)
			totals.add(m.number(entry, "GREETD_"+field), words...)
		})
	}
	return visits, totals
}

// agree fails the test unless status, page, metrics and journal say the same of the running daemon, and
// returns that.
func (m *machine) agree(when string) (a account) {
	m.Helper()
	m.eventually("no visit is under way", func() (calm bool) {
		a, calm = m.inStatus()
		return calm
	})
	id := m.property("greetd", "InvocationID")
	var visits account
	for range 100 { // a summary comes after a second
		if visits, _ = m.inInvocation(id); maps.Equal(visits, a) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	for where, says := range map[string]account{
		"greetd status": m.inStatusText(), "the page": m.onPage(), "the metrics": m.inMetrics(), "the journal": visits,
	} {
		if !maps.Equal(says, a) {
			m.Errorf("%s: %s says %v, and status --json %v", when, where, says, a)
		}
	}
	return a
}

// dayVisitors lets visits end for every reason that a client can cause.
func (m *machine) dayVisitors() {
	m.Helper()
	reset := func(c net.Conn) {
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	}
	shake := func(address string, settings *tls.Config) {
		c := m.callOnly("127.0.0.1", address)
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(waitLimit))
		_, _ = io.Copy(io.Discard, tls.Client(c, settings))
	}
	m.call(phone, server+":10000", "")
	m.call(sixth, "["+sixth+"]:10000", "")
	m.call(proxy, server+":10001", "PROXY TCP4 "+phone+" "+server+" 41000 10001\r\n")
	shake("127.0.0.1:10002", &tls.Config{InsecureSkipVerify: true})
	m.call(denied, server+":10000", "")
	m.call(broken, server+":10000", "")
	for range 15 {
		m.call(greedy, server+":10000", "")
	}
	m.call(proxy, server+":10001", "GET / HTTP/1.0\r\n\r\n")
	m.call(proxy, server+":10001", "PROXY TCP4 nobody nowhere\r\n")
	m.call("127.0.0.2", "127.0.0.1:10002", "GET / HTTP/1.0\r\n\r\n")
	shake("127.0.0.1:10002", &tls.Config{ServerName: "greet.example"}) // it trusts nobody
	reset(m.callOnly(proxy, server+":10001"))
	reset(m.callOnly("127.0.0.3", "127.0.0.1:10002"))
	reset(m.callOnly("127.0.0.4", "127.0.0.1:10004"))
	for _, silent := range []net.Conn{
		m.callOnly(proxy, server+":10001"), m.callOnly("127.0.0.5", "127.0.0.1:10002"), m.callOnly("127.0.0.6", "127.0.0.1:10004"),
		m.callOnly("127.0.0.7", "127.0.0.1:10003"), // and here another one needs its place
	} {
		defer silent.Close()
	}
	shake("127.0.0.1:10003", &tls.Config{InsecureSkipVerify: true})
	m.eventually("the time of the silent ones is over", func() bool { _, calm := m.inStatus(); return calm })
}

// withoutMemory is a visit for which the kernel has no memory. The log has none either, and waits.
func (m *machine) withoutMemory() {
	m.Helper()
	var said strings.Builder
	tracer := exec.Command(debian.Program(m.T, "strace", "strace"), "-f", "-p", strconv.Itoa(m.daemon()), "-o", "/dev/null",
		"-e", "trace=sendto", "-e", "inject=sendto:error=ENOBUFS")
	tracer.Stderr = &said
	if err := tracer.Start(); err != nil {
		m.Fatal(err)
	}
	m.eventually("a greeting fails", func() bool {
		m.call("127.0.0.8", "127.0.0.1:10000", "")
		a, _ := m.inStatus()
		return a["failed system"] > 0
	})
	_ = tracer.Process.Signal(syscall.SIGINT) // it detaches
	_ = tracer.Wait()
	m.Logf("strace: %s", said.String())
}

// ordinaryDay lets visits end for all reasons, through every kind of restart, and fails the test unless
// all that tells of them agrees.
func (m *machine) ordinaryDay() {
	m.Helper()
	m.littleRoom()
	certificate(m, "/etc/ssl/day")
	m.run("chmod", "644", "/etc/ssl/day.key")
	m.configure(daySettings)
	m.run("systemctl", "restart", "greetd")
	m.dayVisitors()
	m.withoutMemory()
	first := m.agree("at first")
	outcomesAndReasons(func(outcome, reason string) {
		// No client can cause a panic, and cut takes a stop.
		if key := strings.TrimSpace(outcome + " " + reason); first[key] == 0 && outcome != "cut" && reason != "panic" {
			m.Errorf("nobody was %s", key)
		}
	})

	m.run("systemctl", "reload", "greetd")
	m.dayVisitors()
	last := m.agree("after a reload")
	for key, n := range last {
		if n <= first[key] && key != "failed system" {
			m.Errorf("after a reload: %s is %d, and was %d", key, n, first[key])
		}
	}

	for _, restart := range []struct {
		name string
		do   func()
	}{
		{"SIGKILL", func() { m.run("sh", "-c", crash("KILL")) }},
		{"restart", func() { m.run("systemctl", "restart", "greetd") }},
		{"stop and start", func() {
			m.run("systemctl", "stop", "greetd")
			m.run("systemctl", "start", "greetd")
		}},
	} {
		id := m.property("greetd", "InvocationID")
		want := maps.Clone(last)
		if restart.name != "SIGKILL" { // which nobody can finish
			slow := m.callOnly("127.0.0.9", "127.0.0.1:10004")
			m.eventually("a visit is under way", func() bool { _, calm := m.inStatus(); return !calm })
			restart.do()
			_ = slow.Close()
			want.add(1, "cut")
			want.add(1, "cut", "shutdown")
		} else {
			restart.do()
		}
		visits, totals := m.inInvocation(id)
		if !maps.Equal(visits, want) {
			m.Errorf("the journal of the run before %s has %v, want %v", restart.name, visits, want)
		}
		if restart.name != "SIGKILL" && !maps.Equal(totals, want) {
			m.Errorf("the last entry before %s has %v, want %v", restart.name, totals, want)
		}
		m.dayVisitors()
		last = m.agree("after " + restart.name)
	}
}
