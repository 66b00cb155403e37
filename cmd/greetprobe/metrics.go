package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"greetd.example/pkg/probe"
)

// metrics are the results in the text format of Prometheus. Of two for the same
// target, the later counts.
type metrics struct {
	results []probe.Result
	index   map[string]int
}

func (m *metrics) add(r probe.Result) {
	name := r.Target.String()
	if i, ok := m.index[name]; ok {
		m.results[i] = r
		return
	}
	if m.index == nil {
		m.index = make(map[string]int)
	}
	m.index[name] = len(m.results)
	m.results = append(m.results, r)
}

// text returns all metrics, each family under its HELP and TYPE.
func (m *metrics) text() []byte {
	var b bytes.Buffer
	family(&b, "greetprobe_success", "Whether the greeting came and was as expected.")
	for _, r := range m.results {
		success := 0
		if r.Status == probe.OK {
			success = 1
		}
		fmt.Fprintf(&b, "greetprobe_success{%s} %d\n", label("target", r.Target.String()), success)
	}
	family(&b, "greetprobe_duration_seconds", "How long each phase took; those that were not completed are missing.")
	for _, r := range m.results {
		for _, phase := range append(timings(r.Timing), timing{"total", &r.Timing.Total}) {
			if phase.took != nil {
				fmt.Fprintf(&b, "greetprobe_duration_seconds{%s,%s} %.6f\n",
					label("target", r.Target.String()), label("phase", phase.name), phase.took.Seconds())
			}
		}
	}
	family(&b, "greetprobe_status", "How the probe ended.")
	for _, r := range m.results {
		fmt.Fprintf(&b, "greetprobe_status{%s,%s} 1\n", label("target", r.Target.String()), label("status", string(r.Status)))
	}
	m.certificates(&b)
	return b.Bytes()
}

func (m *metrics) certificates(b *bytes.Buffer) {
	headed := false
	for _, r := range m.results {
		if r.TLS == nil || r.TLS.NotAfter.IsZero() {
			continue
		}
		if !headed {
			family(b, "greetprobe_tls_not_after_seconds", "When the server's certificate expires, in seconds since 1970.")
			headed = true
		}
		fmt.Fprintf(b, "greetprobe_tls_not_after_seconds{%s} %d\n", label("target", r.Target.String()), r.TLS.NotAfter.Unix())
	}
}

func family(b *bytes.Buffer, name, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
}

// label writes a label as the text format wants it. Its value must be UTF-8.
func label(name, value string) string {
	value = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
	return name + `="` + strings.ToValidUTF8(value, "\ufffd") + `"`
}

// save writes the metrics beside path and renames, so that nobody reads half of them.
func (m *metrics) save(path string) error {
	// node_exporter reads *.prom only, and as another user.
	file, err := os.CreateTemp(filepath.Dir(path), ".greetprobe-*.tmp")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, bare(err))
	}
	_, err = file.Write(m.text())
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		_ = os.Remove(file.Name())
		return fmt.Errorf("write %s: %w", path, bare(err))
	}
	return nil
}

// bare strips from err the name of a file that its reader doesn't know.
func bare(err error) error {
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno
	}
	return err
}
