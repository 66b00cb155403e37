package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/manpage"
)

// A watcher is a Prometheus that is in a machine's network.
type watcher struct {
	*machine
	client *http.Client
}

// serve starts a program of this machine's in the network of m, until the test ends.
func (m *machine) serve(name string, args ...string) {
	m.Helper()
	var log bytes.Buffer
	ctx, stop := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = waitLimit
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := m.inside(cmd.Start); err != nil {
		m.Fatal(err)
	}
	m.Cleanup(func() {
		stop()
		_ = cmd.Wait()
		if m.Failed() {
			m.Logf("%s said:\n%s", name, log.String())
		}
	})
}

// watch starts Prometheus with the rules that are shipped. It looks each second.
func (m *machine) watch() *watcher {
	m.Helper()
	prometheus := debian.Program(m.T, "prometheus", "prometheus")
	rules, err := filepath.Abs("../../deploy/prometheus/greetd.rules.yml")
	if err != nil {
		m.Fatal(err)
	}
	dir := m.TempDir()
	config := `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: ['` + rules + `']
scrape_configs:
- {job_name: greetd, static_configs: [{targets: ['127.0.0.1:9180']}]}
- {job_name: node, static_configs: [{targets: ['127.0.0.1:9100']}]}
`
	if err := os.WriteFile(dir+"/prometheus.yml", []byte(config), 0o600); err != nil {
		m.Fatal(err)
	}
	m.serve(prometheus, "--config.file="+dir+"/prometheus.yml", "--storage.tsdb.path="+dir+"/data", "--web.listen-address=127.0.0.1:9090")
	return &watcher{m, m.httpClient()}
}

// httpClient returns a client in the machine.
func (m *machine) httpClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(_ context.Context, network, address string) (net.Conn, error) { return m.dial(network, address) },
	}}
}

// ask returns what the API of Prometheus answers, nil while it can't.
func (w *watcher) ask(path string, pairs ...string) json.RawMessage {
	w.Helper()
	values := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		values.Add(pairs[i], pairs[i+1])
	}
	answer, err := w.client.Get("http://127.0.0.1:9090/api/v1/" + path + "?" + values.Encode())
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	var body struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil {
		return nil
	}
	if body.Status != "success" {
		w.Fatalf("Prometheus, asked for %s %q: %s", path, pairs, body.Error)
	}
	return body.Data
}

// samples returns how many samples that are numbers a query has, and the last value.
func (w *watcher) samples(query string) (n int, value string) {
	w.Helper()
	var data struct {
		Result []struct{ Value [2]any }
	}
	_ = json.Unmarshal(w.ask("query", "query", query), &data)
	for _, series := range data.Result {
		if text, _ := series.Value[1].(string); text != "NaN" {
			n, value = n+1, text
		}
	}
	return n, value
}

// labels returns the values that a label has, of all series or of those that match.
func (w *watcher) labels(name string, match ...string) (values []string) {
	w.Helper()
	pairs := []string{}
	for _, m := range match {
		pairs = append(pairs, "match[]", m)
	}
	_ = json.Unmarshal(w.ask("label/"+name+"/values", pairs...), &values)
	return values
}

// hasData waits until a query has an answer.
func (w *watcher) hasData(query string) {
	w.Helper()
	w.eventually("there is data for "+query, func() bool {
		n, _ := w.samples(query)
		return n > 0
	})
}

// A dashboard is what Grafana would ask Prometheus for.
type dashboard struct {
	Panels []struct {
		Title   string
		Targets []struct{ Expr string }
	}
	Annotations struct{ List []struct{ Expr string } }
	Templating  struct {
		List []struct{ Name, Definition string }
	}
}

var labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)

// variables fills in those that somebody could choose at the top of the dashboard: each is
// what its own query finds, as it depends on those before.
func (w *watcher) variables(d dashboard) *strings.Replacer {
	w.Helper()
	chosen := []string{"$__rate_interval", "1m"}
	for _, v := range d.Templating.List {
		if v.Definition == "" {
			continue // the data source
		}
		query := labelValues.FindStringSubmatch(v.Definition)
		if query == nil {
			w.Fatalf("$%s is found by %q", v.Name, v.Definition)
		}
		match := strings.NewReplacer(chosen...).Replace(query[1])
		var values []string
		w.eventually("$"+v.Name+" can be chosen", func() bool {
			values = w.labels(query[2], match)
			return len(values) > 0
		})
		for i, value := range values { // as Grafana escapes them
			values[i] = strings.ReplaceAll(regexp.QuoteMeta(value), `\`, `\\`)
		}
		if len(values) > 1 {
			values = []string{"(" + strings.Join(values, "|") + ")"}
		}
		chosen = append(chosen, "$"+v.Name, values[0])
	}
	return strings.NewReplacer(chosen...)
}

// install puts units of deploy/prometheus into the machine.
func (m *machine) install(units ...string) {
	m.Helper()
	for _, unit := range units {
		text, err := os.ReadFile("../../deploy/prometheus/" + unit)
		if err != nil {
			m.Fatal(err)
		}
		m.write("/etc/systemd/system/"+unit, strings.ReplaceAll(string(text), "/usr/local/", "/usr/"))
	}
	for _, unit := range units {
		unit = strings.Replace(unit, "@.", "@1.", 1)
		if out, code := m.try("systemd-analyze", "verify", unit); code != 0 || out != "" {
			m.Errorf("verify %s: exit %d\n%s", unit, code, out)
		}
	}
	m.run("systemctl", "daemon-reload")
}

// monitored starts everything that the monitoring needs, as an operator would install it.
func (m *machine) monitored() *watcher {
	m.Helper()
	m.town()
	certificate(m, "/etc/ssl/greetd")
	m.configure(strings.Replace(visitSettings, "\ngreeting:", "\n"+`  - {name: safe, address: ":10443", tls: {certificate: tls.pem, key: tls.key}}`+"\ngreeting:", 1))
	m.dropIn("greetd.service", "[Service]", "LoadCredential=tls.pem:/etc/ssl/greetd.pem", "LoadCredential=tls.key:/etc/ssl/greetd.key")
	m.run("systemctl", "start", "greetd")

	const textfiles = "/var/lib/prometheus/node-exporter"
	m.run("install", "-d", textfiles) // as the package prometheus-node-exporter makes it
	m.write("/etc/greetprobe/targets", "127.0.0.1:10443\n127.0.0.1:9\n")
	m.dropIn("greetprobe.service", "[Service]", "ExecStart=",
		"ExecStart=/usr/bin/greetprobe --quiet --tls --insecure --textfile "+textfiles+"/greetprobe.prom --file /etc/greetprobe/targets")
	m.run("systemctl", "start", "greetprobe.timer")
	m.run("systemctl", "start", "greetprobe.service") // and does not fail, though nobody is on port 9
	m.serve(debian.Program(m.T, "prometheus-node-exporter", "prometheus-node-exporter"), "--collector.disable-defaults",
		"--collector.textfile", "--collector.textfile.directory="+m.path(textfiles), "--web.listen-address=127.0.0.1:9100")
	return m.watch()
}

// ours is a metric of one of the two programs, and selector finds those of scraped metrics
// in PromQL that is written as ours is.
var (
	ours     = regexp.MustCompile(`^(greetd|greetprobe)_`)
	selector = regexp.MustCompile(`(?:^|[^\w:])((?:greetd|greetprobe|process|go|node)_\w+(?:\{[^}]*\})?)`)
)

// TestDashboardAndRulesHaveData asks a Prometheus, which scrapes greetd as it is installed
// and has its rules, everything that the dashboard asks and the rules need.
func TestDashboardAndRulesHaveData(t *testing.T) {
	var board dashboard
	text, err := os.ReadFile("../../deploy/grafana/greetd.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Record, Expr string }
		}
	}
	if text, err = os.ReadFile("../../deploy/prometheus/greetd.rules.yml"); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, &rules); err != nil {
		t.Fatal(err)
	}
	onEachSystemd(t, func(m *machine) {
		w := m.monitored()
		w.eventually("both are scraped, before there is something to count", func() bool {
			_, up := w.samples(`count(up == 1)`)
			return up == "2"
		})
		m.visitors()
		m.configure("greeting: '{{.Nobody}}'")
		if _, code := m.try("systemctl", "reload", "greetd"); code == 0 {
			m.Error("a bad configuration was not refused")
		}

		variables, asked := w.variables(board), 0
		for _, panel := range board.Panels {
			for _, target := range panel.Targets {
				w.hasData(variables.Replace(target.Expr))
				asked++
			}
		}
		for _, annotation := range board.Annotations.List {
			w.hasData(variables.Replace(annotation.Expr))
		}
		if asked < 20 {
			m.Errorf("the dashboard asks for only %d things", asked)
		}
		for _, group := range rules.Groups {
			for _, rule := range group.Rules {
				for _, s := range selector.FindAllStringSubmatch(rule.Expr, -1) {
					w.hasData(s[1])
				}
				if rule.Record != "" {
					w.hasData(rule.Record)
				}
			}
		}
		// Two of them fire at once.
		w.hasData(`ALERTS{alertname="GreetdVisitsFail", alertstate="firing"}`)
		w.hasData(`ALERTS{alertname="GreetdReloadFailed", alertstate="pending"}`)
		w.hasData(`ALERTS{alertname="GreetprobeFails", target="127.0.0.1:9", alertstate="pending"}`)

		names := w.labels("__name__")
		for page, section := range map[string]string{"greetd.8": "ADMIN", "greetprobe.1": "Metrics"} {
			for _, word := range manpage.Read(m.T, page).Section(m.T, section).Words("Li") {
				name, _, _ := strings.Cut(word, "{")
				if name == "greetprobe_refused_by_server" { // no server here refuses
					continue
				}
				if ours.MatchString(name) && !slices.Contains(names, name) && !slices.Contains(names, name+"_bucket") {
					m.Errorf("%s tells of %s, which is in no scrape", page, name)
				}
			}
		}
		// What the manual and the status have, the scrape has too.
		if _, limit := w.samples("greetd_connections_limit"); limit != "10000" {
			m.Errorf("greetd_connections_limit = %s, want 10000", limit)
		}
		started, err := strconv.ParseFloat(m.run("stat", "--format=%Y", "/proc/"+m.property("greetd", "MainPID")), 64)
		if err != nil {
			m.Fatal(err)
		}
		if _, text := w.samples("greetd_start_time_seconds"); text == "" {
			m.Error("greetd does not tell when it was started")
		} else if at, _ := strconv.ParseFloat(text, 64); at < started-5 || at > started+5 {
			m.Errorf("greetd was started at %s, its process at %.0f", text, started)
		}

		m.configure(visitSettings)
		m.run("systemctl", "reload", "greetd")
		w.eventually("the reload is known to be well again", func() bool {
			_, ok := w.samples("greetd_config_last_reload_successful")
			return ok == "1"
		})
	})
}

// TestMetricsOfADaemonWithoutANetwork has them from the admin socket, of which nothing else
// gets out.
func TestMetricsOfADaemonWithoutANetwork(t *testing.T) {
	onEachSystemd(t, func(m *machine) {
		m.example("greetd.service", "socket-only.conf")
		m.install("greetd-metrics.socket", "greetd-metrics@.service")
		m.run("systemctl", "start", "greetd.socket", "greetd-metrics.socket")
		m.greeted("tcp", overIPv4, hello)
		client := m.httpClient()
		const address = "http://127.0.0.1:9180"
		for range 20 { // an answer that is cut off by a reset would be so now and then
			metrics := read(m, func() (*http.Response, error) { return client.Get(address + "/metrics") })
			if !strings.Contains(metrics, `greetd_visits_total{listener="greet",outcome="greeted"} 1`) {
				m.Fatalf("the scrape is\n%s", metrics)
			}
		}
		read(m, func() (*http.Response, error) { return client.Post(address+"/reload", "text/plain", nil) })
		if text := read(m, func() (*http.Response, error) { return client.Get(address + "/metrics") }); !strings.Contains(text, `greetd_reloads_total{result="success"} 0`) {
			m.Errorf("who asks for metrics can reload:\n%s", text)
		}
	})
}

// read returns the whole of an answer.
func read(m *machine, ask func() (*http.Response, error)) string {
	m.Helper()
	answer, err := ask()
	if err != nil {
		m.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		m.Fatalf("%s, %v\n%s", answer.Status, err, text)
	}
	return string(text)
}
