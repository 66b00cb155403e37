package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A drillReport is what greetprobe drill -o json prints, as far as the tests need it.
type drillReport struct {
	Before drillLine   `json:"before"`
	Steps  []drillLine `json:"steps"`
	All    drillLine   `json:"all"`
	Exit   int         `json:"exit"`

	SliceUS int64 `json:"slice_us"`
	Course  []struct {
		Served int `json:"served"`
		Lost   int `json:"lost"`
	} `json:"course"`
}

type drillLine struct {
	Step  string `json:"step"`
	Asked int    `json:"asked"`
	Lost  int    `json:"lost"`
	AtUS  int64  `json:"at_us"`
	GapUS int64  `json:"longest_gap_us"`

	WorstUS int64  `json:"worst_us"`
	Example string `json:"example"`
	Error   string `json:"error"`

	AnsweredUS int64          `json:"answered_us"`
	Clients    map[string]int `json:"clients"`
}

// drill runs greetprobe drill in the machine.
func (m *machine) drill(args ...string) (r drillReport) {
	m.Helper()
	cmd := m.command(append([]string{"greetprobe", "drill", "--yes", "-o", "json", "--rate", "500", "--each", "300ms"}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err := json.Unmarshal(out, &r); err != nil {
		m.Fatalf("%v: %v: %s%s", cmd.Args, err, out, said.String())
	}
	m.Logf("%v: %v: %d of %d lost", args, err, r.All.Lost, r.All.Asked)
	return r
}

// greetedAs are the arguments for clients of greetd.service that must hear exactly one of these texts.
func greetedAs(texts ...string) []string {
	var quoted []string
	for _, text := range texts {
		quoted = append(quoted, regexp.QuoteMeta(text))
	}
	return []string{"--unit", "greetd.service", "--regex", `\A(` + strings.Join(quoted, "|") + `)\z`, overIPv4}
}

// check fails the test if a step failed or is missing.
func (r drillReport) check(t *testing.T, steps int) {
	t.Helper()
	for _, s := range r.Steps {
		if s.Error != "" {
			t.Errorf("%s: %s", s.Step, s.Error)
		}
	}
	if len(r.Steps) != steps {
		t.Errorf("%d steps, want %d", len(r.Steps), steps)
	}
}

// loadRate is the number of clients a second in the tests that promise something at 2,000 a second.
const loadRate = 2500

// atLoadRate are the arguments for loadRate clients a second, each from another address, and with more time to connect and
// to read than the kernel's retries take.
var atLoadRate = []string{
	"--rate", strconv.Itoa(loadRate), "--source", "127.64.0.0/10", "--rst=false", "-t", "2m", "--connect-timeout", "1m", "--read-timeout", "1m",
}

// everybody are the arguments for clients of greetd, at loadRate, that must hear the whole default greeting.
var everybody = append(slices.Clip(atLoadRate), "--regex", `\AHello there, 127\.(\d+\.){2}\d+!\n\z`, overIPv4)

// lostNobody fails the test if a client was lost, a step failed or is missing, or fewer clients were asked than promised.
func (r drillReport) lostNobody(t *testing.T, steps int) {
	t.Helper()
	r.check(t, steps)
	r.checkRate(t)
	if r.All.Lost > 0 {
		t.Errorf("%d of %d clients were lost: %v, the first: %s", r.All.Lost, r.All.Asked, r.All.Clients, r.All.Example)
	}
}

// checkRate fails the test if fewer clients than 2,000 a second were asked.
func (r drillReport) checkRate(t *testing.T) {
	t.Helper()
	seconds := float64(r.SliceUS) * float64(len(r.Course)) / 1e6 // rounded up, by less than a slice
	if rate := float64(r.All.Asked) / seconds; rate < 2000 {
		t.Errorf("only %.0f clients a second were asked: %v", rate, r.All.Clients)
	}
}

// lostDuringStepsOnly fails the test if a client was lost when no step was in progress.
func (r drillReport) lostDuringStepsOnly(t *testing.T) {
	t.Helper()
	for i, slice := range r.Course {
		from := int64(i) * r.SliceUS
		during := func(s drillLine) bool { return from+r.SliceUS > s.AtUS && from <= s.AtUS+s.AnsweredUS }
		if slice.Lost > 0 && !slices.ContainsFunc(r.Steps, during) {
			t.Errorf("%d clients were lost after %d ms, when no step was in progress", slice.Lost, from/1000)
		}
	}
}

// drillEnv set: measure the table and the picture of docs/drill.md, with more steps.
const drillEnv = "GREETD_DRILL"

const drillPage, drillPicture = "../../docs/drill.md", "../../docs/images/drill.svg"

// web is the conversation with the servers of the table that wait for their clients.
var web = []string{"-s", `GET / HTTP/1.0\r\n\r\n`, "-e", "200"}

// haproxyPage makes HAProxy, as Debian configures it, answer by itself.
const haproxyPage = `
frontend web
	bind :8083
	http-request return status 200 content-type text/plain string "hello\n"
`

// drilled are the servers of the table in docs/drill.md.
var drilled = []struct {
	name    string
	unit    string // which is restarted, reloaded and killed
	start   string // the unit to start
	prepare func(m *machine)
	stop    []string // afterwards, for the next one
	args    []string
}{
	{"greetd, own bind", "greetd.service", "greetd.service", func(*machine) {}, []string{"greetd.service"}, []string{"127.0.0.1:10000"}},
	{
		"greetd, socket unit", "greetd.service", "greetd.socket",
		func(m *machine) { m.example("greetd.service", "socket-only.conf") },
		[]string{"greetd.socket", "greetd.service"},
		[]string{"127.0.0.1:10000"},
	},
	{"nginx", "nginx.service", "nginx.service", func(*machine) {}, []string{"nginx.service"}, append(web, "127.0.0.1:80")},
	{
		"HAProxy", "haproxy.service", "haproxy.service",
		func(m *machine) { m.write(haproxyConfig, m.read(haproxyConfig)+haproxyPage) },
		[]string{"haproxy.service"},
		append(web, "127.0.0.1:8083"),
	},
	{
		"`net/http`, own bind", "plain.service", "plain.service",
		func(m *machine) { m.installExample("plain") },
		[]string{"plain.service"},
		append(web, plainAddress),
	},
	{
		"go-systemd, socket unit", "plain.service", "plain.socket", func(*machine) {},
		[]string{"plain.socket", "plain.service"},
		append(web, plainAddress),
	},
	{
		"tableflip", "tableflip.service", "tableflip.service",
		func(m *machine) { m.installDaemon("../tableflip") },
		[]string{"tableflip.service"},
		append(web, "127.0.0.1:8082"),
	},
}

const haproxyConfig = "/etc/haproxy/haproxy.cfg"

// Greetd loses nobody at a restart and a reload, and at a kill only replies under way. What
// others lose is measured beside it.
func TestDrill(t *testing.T) {
	steps := []string{"--restart", "3", "--reload", "3", "--kill", "2"}
	if os.Getenv(drillEnv) != "" {
		steps = []string{"--restart", "10", "--reload", "10", "--kill", "5"}
	}
	reports := make([][]drillReport, len(releases)) // of each release, one for each server
	t.Run("systemd", func(t *testing.T) {
		for i, r := range releases {
			t.Run(r.systemd, func(t *testing.T) {
				if os.Getenv(drillEnv) == "" {
					t.Parallel()
				}
				if drillsAll(r) {
					r = r.with("nginx-light", "haproxy", "procps")
				}
				m := boot(t, r)
				for _, server := range drilled {
					if !drillsAll(r) && !strings.HasPrefix(server.name, "greetd") {
						continue
					}
					server.prepare(m)
					m.run("systemctl", "start", server.start)
					m.eventually(server.name+" accepts connections", func() bool { // not each of them has READY=1
						c, err := m.dial("tcp", server.args[len(server.args)-1])
						if err == nil {
							_ = c.Close()
						}
						return err == nil
					})
					report := m.drill(append(append([]string{"--unit", server.unit}, steps...), server.args...)...)
					reports[i] = append(reports[i], report)
					m.checkDrill(server.name, report)
					m.run(append([]string{"systemctl", "stop"}, server.stop...)...)
				}
			})
		}
	})
	page, err := os.ReadFile(drillPage)
	if err != nil {
		t.Fatal(err)
	}
	for _, server := range drilled {
		if !strings.Contains(string(page), "\n| "+server.name+" |") {
			t.Errorf("the table in %s lacks %s: make drill", drillPage, server.name)
		}
	}
	if os.Getenv(drillEnv) == "" || t.Failed() {
		return
	}
	before, rest, _ := strings.Cut(string(page), tableBegin)
	_, after, found := strings.Cut(rest, tableEnd)
	if !found {
		t.Fatalf("%s lacks %q and %q", drillPage, tableBegin, tableEnd)
	}
	writeFile(t, drillPage, before+tableBegin+"\n"+drillTable(reports)+tableEnd+after)
	writeFile(t, drillPicture, drillSVG(reports[1]))
}

// drillsAll reports whether servers other than greetd are measured on a release: on one of them
// that shows that the table can be made.
func drillsAll(r release) bool { return os.Getenv(drillEnv) != "" || r.systemd == releases[1].systemd }

// checkDrill holds what must hold for a server.
func (m *machine) checkDrill(name string, r drillReport) {
	m.Helper()
	if r.All.Asked < 500 {
		m.Errorf("%s: only %d clients", name, r.All.Asked)
	}
	for _, s := range r.Steps {
		ours := strings.HasPrefix(name, "greetd")
		if s.Error != "" && (ours || s.Step != "kill") { // a unit may be without Restart=
			m.Errorf("%s: %s: %s", name, s.Step, s.Error)
		}
		if ours && s.Lost > 0 && (s.Step != "kill" || s.Lost > 10) {
			m.Errorf("%s: %+v", name, s)
		}
	}
}

// The table is between these lines.
const tableBegin, tableEnd = "<!-- make drill begins -->", "<!-- make drill ends -->"

// drillTable has a row for each server, and in each cell what a step cost on each systemd.
func drillTable(reports [][]drillReport) string {
	var b strings.Builder
	b.WriteString("| server | restart | reload | SIGKILL |\n| --- | --- | --- | --- |\n")
	for i, server := range drilled {
		fmt.Fprintf(&b, "| %s |", server.name)
		for _, step := range []string{"restart", "reload", "kill"} {
			var cells []string
			var gaps []int64
			for _, of := range reports {
				lost, n := 0, 0
				for _, s := range of[i].Steps {
					if s.Step == step && s.Error == "" {
						lost, n = lost+s.Lost, n+1
						gaps = append(gaps, s.GapUS)
					}
				}
				cell := "stays down"
				if n > 0 {
					cell = strconv.FormatFloat(math.Round(10*float64(lost)/float64(n))/10, 'f', -1, 64)
				}
				cells = append(cells, cell)
			}
			text := strings.Join(cells, ", ")
			if len(gaps) > 0 {
				text += fmt.Sprintf("; %d ms", slices.Max(gaps)/1000)
			} else {
				text = "stays down"
			}
			fmt.Fprintf(&b, " %s |", text)
		}
		b.WriteString("\n")
	}
	return b.String()
}

// drillSVG draws the course of the restarts and reloads of greetd, and below it that of nginx: in
// red is the share of the clients that were lost in each slice.
func drillSVG(reports []drillReport) string {
	const width, height, left, row = 880.0, 90.0, 20.0, 160.0
	var b strings.Builder
	b.WriteString(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 920 320" font-family="sans-serif" font-size="14">` + "\n" +
		`<rect width="920" height="320" fill="#fff"/>` + "\n")
	y := 30.0
	for i, server := range drilled {
		if server.name != "greetd, own bind" && server.name != "nginx" {
			continue
		}
		r := reports[i]
		end := r.SliceUS * int64(len(r.Course))
		var all drillLine
		n := slices.IndexFunc(r.Steps, func(s drillLine) bool { return s.Step == "kill" })
		for _, s := range r.Steps[:n] {
			all.Lost, all.Asked, all.WorstUS, end = all.Lost+s.Lost, all.Asked+s.Asked, max(all.WorstUS, s.WorstUS), r.Steps[n].AtUS
		}
		fmt.Fprintf(&b, `<text x="%g" y="%g"><tspan font-weight="bold">%s</tspan>: %d of %d clients lost in %d steps; slowest answer %d ms</text>`+"\n",
			left, y, server.name, all.Lost, all.Asked, n, all.WorstUS/1000)
		fmt.Fprintf(&b, `<rect x="%g" y="%g" width="%g" height="%g" fill="#9ecae1"/>`+"\n", left, y+10, width, height)
		at := func(us int64) float64 { return left + width*float64(us)/float64(end) }
		for k, slice := range r.Course {
			if from := int64(k) * r.SliceUS; from < end && slice.Lost > 0 {
				lost := height * float64(slice.Lost) / float64(slice.Served+slice.Lost)
				fmt.Fprintf(&b, `<rect x="%.1f" y="%g" width="%.1f" height="%.1f" fill="#d62728"/>`+"\n", at(from), y+10, at(r.SliceUS)-left, lost)
			}
		}
		for _, s := range r.Steps[:n] {
			fmt.Fprintf(&b, `<path d="M%.1f %gv%g" stroke="#222"/><text x="%.1f" y="%g" font-size="10">%s</text>`+"\n",
				at(s.AtUS), y+10, height+8, at(s.AtUS), y+height+30, s.Step)
		}
		y += row
	}
	return b.String() + "</svg>\n"
}

// A server that drops its listener is seen to lose clients, and a unit that is down, or that
// does not come back, is an error.
func TestDrillSeesLosses(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.installExample("plain")
		m.run("systemctl", "start", "plain.service")
		args := append([]string{"--unit", "plain.service", plainAddress}, web...)
		r := m.drill(append([]string{"--restart", "3", "--max-lost", "0"}, args...)...)
		if r.All.Lost == 0 || r.Exit != 4 {
			m.Errorf("a plain server's restart cost nobody: %+v", r)
		}
		again := m.drill(append([]string{"--stop-start", "7", "--each", "100ms"}, args...)...) // more than StartLimitBurst=
		if len(again.Steps) != 7 || again.Exit != 0 {
			m.Errorf("%d of 7 steps: %+v", len(again.Steps), again)
		}
		m.write("/etc/systemd/system/needs.service", "[Unit]\nRequires=plain.service\n[Service]\nExecStart=/bin/sleep infinity\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "start", "needs.service")
		pid := m.property("needs.service", "MainPID")
		out, code := m.try(append([]string{"greetprobe", "drill", "--yes", "--rate", "10", "--restart", "1"}, args...)...)
		if code != 5 || !strings.Contains(out, "systemd would stop needs.service together with plain.service") || m.property("needs.service", "MainPID") != pid {
			m.Errorf("a unit that is not named: exit %d: %s", code, out)
		}
		m.run("systemctl", "stop", "needs.service")
		m.interruptWhileStopped(args)
		m.dropIn("plain.service", "[Service]", "Restart=no")
		down := m.drill(append([]string{"--kill", "3"}, args...)...)
		if got := m.property("plain.service", "ActiveState"); len(down.Steps) != 1 || down.Exit != 5 || got != "active" {
			m.Errorf("killed with Restart=no, the unit is left %s: %+v", got, down)
		}
		m.write("/etc/systemd/system/done.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n")
		m.run("systemctl", "daemon-reload")
		m.run("systemctl", "start", "done.service")
		for _, c := range [][2]string{
			{"done.service", "done.service has no main process: leave out --kill"},
			{"plain.servic", "--kill needs a service, which plain.servic is not"},
			{"pl ain.service", "pl ain.service is not a valid name of a unit: see systemctl list-units"},
			{"getty@.service", "getty@.service is not a valid name of a unit: see systemctl list-units"},
			{"nosuch.service", "there is no unit nosuch.service: see systemctl list-units"},
		} {
			out, code := m.try(append([]string{"greetprobe", "drill", "--yes", "--rate", "10", "--kill", "1", "--unit", c[0], plainAddress}, web...)...)
			if code == 0 || !strings.Contains(out, c[1]) {
				m.Errorf("--kill of %s: exit %d: %s", c[0], code, out)
			}
		}
		m.run("systemctl", "stop", "plain.service")
		m.run("systemctl", "start", "plain.socket")
		out, code = m.try(append([]string{"greetprobe", "drill", "--yes", "--rate", "10", "--restart", "1", "--unit", "plain.socket", plainAddress}, web...)...)
		if code != 5 || !strings.Contains(out, "systemd does not start plain.socket while plain.service is active: use --unit plain.service") {
			m.Errorf("a socket unit whose service is active: exit %d: %s", code, out)
		}
		m.run("systemctl", "stop", "plain.socket", "plain.service")
		out, code = m.try(append([]string{"greetprobe", "drill", "--yes", "--rate", "10", "--restart", "1"}, args...)...)
		if code != 5 || !strings.Contains(out, "plain.service is inactive: start it first (systemctl start plain.service)") {
			m.Errorf("inactive: exit %d: %s", code, out)
		}
		if got := m.property("plain.service", "ActiveState"); got != "inactive" {
			m.Errorf("drill started what was stopped: %s", got)
		}
	})
}

// interruptWhileStopped sends SIGINT, and SIGTERM at once, to a drill between the stop of plain.service and its start:
// the unit is left active, as it was found.
func (m *machine) interruptWhileStopped(args []string) {
	m.Helper()
	m.dropIn("plain.service", "[Service]", "ExecStopPost=/bin/sleep 1")
	m.write("/run/interrupt", `greetprobe drill --yes --rate 100 --each 100ms --stop-start 3 "$@" >/run/interrupted 2>&1 &
		until [ "$(systemctl show -P ActiveState plain.service)" = deactivating ]; do :; done
		kill -INT $!; kill -TERM $!
		wait $!
		echo "exit $?, $(systemctl is-active plain.service)"
		cat /run/interrupted`)
	out, _ := m.try(append([]string{"sh", "/run/interrupt"}, args...)...)
	if !strings.HasPrefix(out, "exit 130, active\n") || !strings.Contains(out, " lost in 1 step") {
		m.Errorf("interrupted while the unit was stopped: %s", out)
	}
}

// A soft reboot with fd-store-preserve.conf refuses nobody.
func TestDrillSoftReboot(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.example("greetd.service", "fd-store-preserve.conf")
		m.run("systemctl", "enable", "--now", "greetd.service")
		m.greeted("tcp", overIPv4, hello)
		args := []string{"greetprobe", "drill", "--yes", "--unit", "greetd.service", "--soft-reboot", "--rate", "50", "-t", "60s", "--read-timeout", "60s", "-o", "json", "127.0.0.1:10000"}
		out, code := m.try(args...)
		if m.release.systemd == "252" {
			if code != 1 || !strings.Contains(out, "--soft-reboot needs systemd 255 or later, and this is 252") {
				m.Errorf("exit %d: %s", code, out)
			}
			return
		}
		survive := []string{"systemd-run", "-p", "SurviveFinalKillSignal=yes", "-p", "IgnoreOnIsolate=yes", "-p", "DefaultDependencies=no"}
		if told := strings.ReplaceAll(out, "\\\n    ", ""); code != 1 || !strings.Contains(told, strings.Join(survive, " ")) {
			m.Errorf("exit %d: %s", code, out)
		}
		before := m.property("greetd", "MainPID")
		m.run(append(append(survive, "-p", "StandardOutput=file:/run/drill.json"), args...)...)
		var report []byte
		m.eventually("the report is there", func() bool {
			report, _ = os.ReadFile(m.path("/run/drill.json"))
			if len(report) > 0 && report[0] != '{' {
				m.Fatalf("%s", report)
			}
			return strings.HasSuffix(string(report), "}\n")
		})
		var r drillReport
		if err := json.Unmarshal(report, &r); err != nil {
			m.Fatal(err)
		}
		m.Logf("%d of %d lost: %+v", r.All.Lost, r.All.Asked, r.Steps)
		if r.Exit != 0 || r.All.Lost != 0 || len(r.Steps) != 1 || m.property("greetd", "MainPID") == before {
			m.Errorf("a soft reboot: %s", report)
		}
	})
}
