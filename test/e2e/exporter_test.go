package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
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
}
