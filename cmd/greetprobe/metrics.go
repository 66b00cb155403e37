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

// A sample is a value of a metric, with the labels that it has besides those of all metrics.
type sample struct {
	value  string
	labels []string
}

var families = []struct {
	name, help string
	samples    func(probe.Result) []sample
}{
	{"greetprobe_success", "Whether the greeting came and was as expected.", func(r probe.Result) []sample {
		if r.Status == probe.OK {
			return []sample{{"1", nil}}
		}
		return []sample{{"0", nil}}
	}},
	{"greetprobe_duration_seconds", "How long each phase took; those that were not completed are missing.", func(r probe.Result) (all []sample) {
		for _, phase := range append(timings(r.Timing), timing{"total", &r.Timing.Total}) {
			if phase.took != nil {
				all = append(all, sample{fmt.Sprintf("%.6f", phase.took.Seconds()), []string{label("phase", phase.name)}})
			}
		}
		return all
	}},
	{"greetprobe_status", "How the probe ended.", func(r probe.Result) []sample {
		return []sample{{"1", []string{label("status", string(r.Status))}}}
	}},
	{"greetprobe_refused_by_server", "The server's own code for its refusal, and whether it says that it is temporary.", func(r probe.Result) []sample {
		if r.Refusal == nil {
			return nil
		}
		temporary := strconv.FormatBool(r.Refusal.Temporary)
		return []sample{{"1", []string{label("protocol", string(r.Protocol)), label("code", r.Refusal.Code), label("temporary", temporary)}}}
	}},
	{"greetprobe_tls_not_after_seconds", "When the server's certificate expires, in seconds since 1970.", func(r probe.Result) []sample {
		return expiry(r.TLS, func(t *probe.TLS) time.Time { return t.NotAfter })
	}},
	{"greetprobe_tls_chain_not_after_seconds", "When the first certificate of the server's chain expires, in seconds since 1970.", func(r probe.Result) []sample {
		return expiry(r.TLS, func(t *probe.TLS) time.Time { return t.ChainNotAfter })
	}},
}

func expiry(t *probe.TLS, end func(*probe.TLS) time.Time) []sample {
	if t == nil || end(t).IsZero() {
		return nil
	}
	return []sample{{strconv.FormatInt(end(t).Unix(), 10), nil}}
}

// text returns all metrics that have samples, each after its HELP and TYPE. The labels are the target, then those of
// the sample, then those of --label.
func (m *metrics) text() []byte {
	var b bytes.Buffer
	for _, f := range families {
		head := fmt.Sprintf("# HELP %s %s\n# TYPE %[1]s gauge\n", f.name, f.help)
		for _, r := range m.results {
			for _, s := range f.samples(r) {
				labels := slices.Concat([]string{label("target", r.Target.String())}, s.labels, m.labels)
				fmt.Fprintf(&b, "%s%s{%s} %s\n", head, f.name, strings.Join(labels, ","), s.value)
				head = ""
			}
		}
	}
	return b.Bytes()
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
