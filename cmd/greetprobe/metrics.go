package main

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"greetd.example/pkg/probe"
)

// metrics collects results, and writes them in the text format of Prometheus. If there are several results for a
// target, the last one counts.
type metrics struct {
	labels  []string // of --label, each as NAME="VALUE"; every sample has them
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

// text returns all metrics, each family after its HELP and TYPE.
func (m *metrics) text() []byte {
	var b bytes.Buffer
	family(&b, "greetprobe_success", "Whether the greeting came and was as expected.")
	for _, r := range m.results {
		success := 0
		if r.Status == probe.OK {
			success = 1
		}
		m.sample(&b, "greetprobe_success", r, strconv.Itoa(success))
	}
	family(&b, "greetprobe_duration_seconds", "How long each phase took; those that were not completed are missing.")
	for _, r := range m.results {
		for _, phase := range append(timings(r.Timing), timing{"total", &r.Timing.Total}) {
			if phase.took != nil {
				m.sample(&b, "greetprobe_duration_seconds", r, fmt.Sprintf("%.6f", phase.took.Seconds()), label("phase", phase.name))
			}
		}
	}
	family(&b, "greetprobe_status", "How the probe ended.")
	for _, r := range m.results {
		m.sample(&b, "greetprobe_status", r, "1", label("status", string(r.Status)))
	}
	m.refusals(&b)
	m.certificates(&b)
	return b.Bytes()
}

func (m *metrics) refusals(b *bytes.Buffer) {
	headed := false
	for _, r := range m.results {
		if r.Refusal == nil {
			continue
		}
		if !headed {
			family(b, "greetprobe_refused_by_server", "The server's own code for its refusal, and whether it says that it is temporary.")
			headed = true
		}
		m.sample(b, "greetprobe_refused_by_server", r, "1", label("protocol", string(r.Protocol)), label("code", r.Refusal.Code),
			label("temporary", strconv.FormatBool(r.Refusal.Temporary)))
	}
}

func (m *metrics) certificates(b *bytes.Buffer) {
	for _, f := range []struct {
		name, help string
		end        func(*probe.TLS) time.Time
	}{
		{"greetprobe_tls_not_after_seconds", "When the server's certificate expires, in seconds since 1970.", func(t *probe.TLS) time.Time { return t.NotAfter }},
		{"greetprobe_tls_chain_not_after_seconds", "When the first certificate of the server's chain expires, in seconds since 1970.", func(t *probe.TLS) time.Time { return t.ChainNotAfter }},
	} {
		headed := false
		for _, r := range m.results {
			if r.TLS == nil || f.end(r.TLS).IsZero() {
				continue
			}
			if !headed {
				family(b, f.name, f.help)
				headed = true
			}
			m.sample(b, f.name, r, strconv.FormatInt(f.end(r.TLS).Unix(), 10))
		}
	}
}

// sample writes one line. Its labels are the target, then labels, then those of --label.
func (m *metrics) sample(b *bytes.Buffer, name string, r probe.Result, value string, labels ...string) {
	all := slices.Concat([]string{label("target", r.Target.String())}, labels, m.labels)
	fmt.Fprintf(b, "%s{%s} %s\n", name, strings.Join(all, ","), value)
}

func family(b *bytes.Buffer, name, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
}

// label formats a label for the text format. It replaces bytes of value that are not UTF-8.
func label(name, value string) string {
	value = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(value)
	return name + `="` + strings.ToValidUTF8(value, "\ufffd") + `"`
}

// labelName matches the names that Prometheus accepts for a label.
var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// parseLabels parses the values of --label. The error joins all problems.
func parseLabels(flags []string) (labels []string, err error) {
	taken := []string{"target", "phase", "status"}
	var errs []error
	for _, flag := range flags {
		name, value, both := strings.Cut(flag, "=")
		switch {
		case !both:
			errs = append(errs, fmt.Errorf("--label %q: write NAME=VALUE", flag))
		case !labelName.MatchString(name):
			errs = append(errs, fmt.Errorf("--label %q: a name has letters, digits and _, and begins with no digit", flag))
		case strings.HasPrefix(name, "__"):
			errs = append(errs, fmt.Errorf("--label %q: names that begin with __ are reserved by Prometheus", flag))
		case slices.Contains(taken, name):
			errs = append(errs, fmt.Errorf("--label %q: there is a label %s already", flag, name))
		case !utf8.ValidString(value):
			errs = append(errs, fmt.Errorf("--label %q: the value is not UTF-8", flag))
		default:
			taken = append(taken, name)
			labels = append(labels, label(name, value))
		}
	}
	return labels, errors.Join(errs...)
}
