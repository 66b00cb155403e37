package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// exporterAddress is where greetprobe-exporter listens.
const exporterAddress = "127.0.0.1:9181"

// askExporter asks the exporter for a path; what went wrong is the answer.
func (m *machine) askExporter(path string) string {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return m.dial("tcp", exporterAddress) },
	}}
	request, err := http.NewRequestWithContext(m.Context(), http.MethodGet, "http://"+exporterAddress+path, http.NoBody)
	if err != nil {
		return err.Error()
	}
	answer, err := client.Do(request)
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// exporterServes goes through the life of greetprobe-exporter: by itself, reloaded, and by
// its socket.
func exporterServes(m *machine) {
	m.Helper()
	const greeted = "\nprobe_success 1\n"
	probe := "/probe?target=127.0.0.1:10000&module="
	m.run("systemctl", "start", "greetd", "greetprobe-exporter") // returns when it is ready
	if text := m.askExporter(probe + "greeting"); !strings.Contains(text, greeted) {
		m.Errorf("not greeted:\n%s", text)
	}
	m.write("/etc/greetprobe/exporter.yaml", "modules: {hello: {expect: Hello}}\n")
	m.run("systemctl", "reload", "greetprobe-exporter")
	if text := m.askExporter(probe + "hello"); !strings.Contains(text, greeted) {
		m.Errorf("the new module is not there:\n%s", text)
	}
	m.write("/etc/greetprobe/exporter.yaml", "modules: {hello: {expct: Hello}}\n")
	if out, code := m.try("systemctl", "reload", "greetprobe-exporter"); code == 0 {
		m.Errorf("a bad file was reloaded: %s", out)
	}
	if log := m.run("journalctl", "--unit=greetprobe-exporter", "--output=cat"); !strings.Contains(log, `exporter.yaml:1: module "hello": unknown key "expct"; did you mean expect?`) {
		m.Errorf("the log has no reason:\n%s", log)
	}
	if text := m.askExporter(probe + "hello"); !strings.Contains(text, greeted) {
		m.Errorf("the previous configuration is gone:\n%s", text)
	}
	m.run("rm", "/etc/greetprobe/exporter.yaml")

	m.run("systemctl", "stop", "greetprobe-exporter")
	m.run("systemctl", "start", "greetprobe-exporter.socket")
	if text := m.askExporter(probe + "greeting"); !strings.Contains(text, greeted) {
		m.Errorf("not greeted through the socket:\n%s", text)
	}
	m.run("systemctl", "stop", "greetprobe-exporter.socket", "greetprobe-exporter.service", "greetd")
	if got := m.property("greetprobe-exporter", "Result"); got != "success" {
		m.Errorf("the stop's result is %q", got)
	}
	exporterWaitsForRepair(m)
}

// exporterWaitsForRepair: a scrape that starts the exporter while its file is invalid waits, and is answered when the file
// has been corrected. The exporter is not started again and again meanwhile; nor is it with a flag that does not exist.
func exporterWaitsForRepair(m *machine) {
	m.Helper()
	starts := func() int {
		return strings.Count(m.run("journalctl", "--unit=greetprobe-exporter", "--output=cat"), "Starting greetprobe-exporter")
	}
	m.write("/etc/greetprobe/exporter.yaml", "modules: {hello: {expct: Hello}}\n")
	m.run("systemctl", "start", "greetprobe-exporter.socket")
	before := starts()
	answer := make(chan string, 1)
	go func() { answer <- m.askExporter("/-/healthy") }()
	m.eventually("the exporter waits", func() bool {
		return strings.HasPrefix(m.property("greetprobe-exporter", "StatusText"), "configuration refused, waiting for its change: /etc/greetprobe/exporter.yaml:1:")
	})
	time.Sleep(3 * time.Second)
	m.run("rm", "/etc/greetprobe/exporter.yaml")
	if text := <-answer; text != "ok\n" {
		m.Errorf("after the repair, the waiting client got %q", text)
	}
	if n := starts() - before; n > 2 {
		m.Errorf("%d starts until the file was repaired, want 2", n)
	}

	m.dropIn("greetprobe-exporter.service", "[Service]", "ExecStart=", "ExecStart=greetprobe serve --unknown")
	m.run("systemctl", "stop", "greetprobe-exporter.service", "greetprobe-exporter.socket")
	m.run("systemctl", "start", "greetprobe-exporter.socket")
	before = starts()
	if c, err := m.dial("tcp", exporterAddress); err != nil {
		m.Error(err)
	} else {
		defer c.Close()
	}
	time.Sleep(5 * time.Second)
	if n := starts() - before; n < 1 || n > 6 {
		m.Errorf("%d starts in 5 s with an unknown flag, want one in a second", n)
	}
	m.run("systemctl", "stop", "greetprobe-exporter.socket", "greetprobe-exporter.service")
	m.run("rm", "-r", "/etc/systemd/system/greetprobe-exporter.service.d")
	m.run("systemctl", "daemon-reload")
}
