package main

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"greetd.example/internal/plugin"
	"greetd.example/pkg/probe"
)

// The maximum sizes of a status line.
const (
	maxBanner   = 80 // characters of a greeting
	maxProblems = 3  // targets with problems
)

// A checkResult is the result of a check of one target.
type checkResult struct {
	probe.Result
	state plugin.State
	words string // one sentence with the target
	perf  []plugin.Metric
}

// classify returns the check result for the result of a probe. othersGreet means that another address of the same
// name greets. Then a dead address is only a warning.
func (f *checkFlags) classify(r probe.Result, othersGreet bool, now time.Time) checkResult {
	v := checkResult{Result: r, state: f.stateOf(r), perf: f.metrics(r)}
	if othersGreet && dead(r.Status) && (r.Status != probe.Refused || !f.refusedSet) {
		v.state = plugin.Warning
	}
	name, took := r.Target.String(), r.Timing.Total.Seconds()
	switch {
	case r.Err != nil:
		v.words = fmt.Sprintf("%s: %s", name, r.Err)
	case f.settings.ConnectOnly:
		v.words = fmt.Sprintf("%s connects in %.3f s", name, took)
	default:
		v.words = fmt.Sprintf("%s greets in %.3f s", name, took)
	}
	if r.Status == probe.OK || r.Status == probe.Mismatch {
		v.hold(took, "", &f.warn, &f.crit)
	}
	if r.TLS != nil && len(r.TLS.Old) > 0 {
		v.words += ", old: " + strings.Join(r.TLS.Old, ", ")
		if f.tlsMin == "" {
			v.state = plugin.Worst(v.state, plugin.Warning)
		}
	}
	if days, known := daysLeft(r.TLS, now); known && f.warnDays.String() != "" {
		words := fmt.Sprintf(", its certificate ends on %s, in %v days", r.TLS.NotAfter.UTC().Format(time.DateOnly), days)
		if chainEnd(r.TLS).Before(r.TLS.NotAfter) {
			words = fmt.Sprintf(", its certificate's chain ends on %s, in %v days, with %s",
				r.TLS.ChainNotAfter.UTC().Format(time.DateOnly), days, clip(r.TLS.ChainSubject))
		}
		v.hold(days, words, &f.warnDays, &f.critDays)
		v.perf = append(v.perf, plugin.Metric{Label: "certificate_days", Value: days, Warn: f.warnDays, Crit: f.critDays})
	}
	if f.verbose == 1 {
		v.words += " (" + phases(r.Timing) + ")"
	}
	if g := r.Greeting; g != nil && len(g.Bytes) > 0 && r.Status != probe.RefusedByServer { // its text is already in the error
		v.words += ": " + plugin.Clean(probe.Escape(bytes.TrimRight(g.Bytes, "\r\n")), maxBanner)
	}
	return v
}

// stateOf returns the state for the status of a result, without the thresholds.
func (f *checkFlags) stateOf(r probe.Result) plugin.State {
	switch r.Status {
	case probe.OK:
		return plugin.OK
	case probe.Mismatch:
		return plugin.State(f.mismatch)
	case probe.Refused:
		return plugin.State(f.refused)
	case probe.RefusedByServer:
		if r.Refusal != nil && r.Refusal.Temporary {
			return plugin.Warning
		}
		return plugin.Critical
	case probe.LocalError, probe.Canceled:
		return plugin.Unknown
	default:
		return plugin.Critical
	}
}

// dead reports whether s, the status of a probe, means that no server works at the address.
func dead(s probe.Status) bool {
	return slices.Contains([]probe.Status{
		probe.Refused, probe.Unreachable, probe.ConnectTimeout, probe.NoGreeting, probe.Partial, probe.Closed, probe.Reset,
	}, s)
}

// hold compares a value with its thresholds. If one alerts, it sets the state and adds words.
func (v *checkResult) hold(value float64, words string, warn, crit *plugin.Range) {
	state, missed := plugin.Critical, crit
	if !crit.Alerts(value) {
		state, missed = plugin.Warning, warn
	}
	if !missed.Alerts(value) {
		return
	}
	v.state = plugin.Worst(v.state, state)
	v.words += fmt.Sprintf("%s (%s: threshold %s)", words, state, missed)
}

// daysLeft returns the number of whole days for which the certificate and its chain are still valid; below 0 if one
// of them has expired.
func daysLeft(t *probe.TLS, now time.Time) (days float64, known bool) {
	if t == nil || t.NotAfter.IsZero() {
		return 0, false
	}
	return math.Floor(chainEnd(t).Sub(now).Hours() / 24), true
}

// metrics returns the performance data of the phases that were completed.
func (f *checkFlags) metrics(r probe.Result) []plugin.Metric {
	metrics := []plugin.Metric{{
		Label: "time", Value: r.Timing.Total.Seconds(), Unit: "s",
		Warn: f.warn, Crit: f.crit, Max: f.settings.Total.Seconds(),
	}}
	for _, phase := range timings(r.Timing) {
		if phase.took != nil {
			metrics = append(metrics, plugin.Metric{Label: phase.name, Value: phase.took.Seconds(), Unit: "s"})
		}
	}
	return metrics
}

func (f *checkFlags) report(results []checkResult) *plugin.Report {
	report := &plugin.Report{Service: service}
	var states []plugin.State
	for _, v := range results {
		states = append(states, v.state)
		for _, m := range v.perf {
			if len(results) > 1 {
				m.Label = v.Target.String() + " " + m.Label
			}
			report.Perf = append(report.Perf, m)
		}
		if f.verbose >= 2 {
			report.Long = append(report.Long, f.details(v)...)
		}
	}
	report.State = plugin.Worst(states...)
	noun := "targets"
	if f.all {
		noun = "addresses"
	}
	report.Text = summary(results, noun)
	return report
}

// summary returns the text of the status line. noun is the word for the things that the results are about.
func summary(results []checkResult, noun string) string {
	if len(results) == 1 {
		return results[0].words
	}
	var words []string // worst first
	for _, state := range []plugin.State{plugin.Critical, plugin.Warning, plugin.Unknown} {
		for _, v := range results {
			if v.state == state {
				words = append(words, fmt.Sprintf("%s %s", state, v.words))
			}
		}
	}
	bad := len(words)
	if bad == 0 {
		slowest := slices.MaxFunc(results, func(a, b checkResult) int { return int(a.Timing.Total - b.Timing.Total) })
		return fmt.Sprintf("%s, the slowest is %s in %.3f s",
			greeted(results, noun), slowest.Target, slowest.Timing.Total.Seconds())
	}
	if bad > maxProblems {
		words = append(words[:maxProblems], fmt.Sprintf("and %d more", bad-maxProblems))
	}
	return fmt.Sprintf("%d of %d %s not OK; %s", bad, len(results), noun, strings.Join(words, "; "))
}

// greeted returns in words how many targets greet, if all results are OK.
func greeted(results []checkResult, noun string) string {
	n := 0
	for _, v := range results {
		if v.Status == probe.OK {
			n++
		}
	}
	if n == len(results) {
		return fmt.Sprintf("%d %s greet", n, noun)
	}
	return fmt.Sprintf("%d %s OK, %d of them as expected", len(results), noun, n)
}

// details returns the lines that -vv prints about a target. With -vvv they include the greeting.
func (f *checkFlags) details(v checkResult) []string {
	var b bytes.Buffer
	explain(&b, v.Result)
	if hint := f.hint(v.Result); hint != "" {
		fmt.Fprintf(&b, "  hint: %s\n", hint)
	}
	if f.verbose >= 3 {
		set := f.settings
		fmt.Fprintf(&b, "  limits: connect %s, read %s, all %s, idle %s, %d bytes\n", set.Connect, set.Read, set.Total, set.Idle, set.MaxBytes)
		if v.Greeting != nil {
			for line := range bytes.Lines(v.Greeting.Bytes) {
				fmt.Fprintf(&b, "  said: %s\n", safe(string(bytes.TrimSuffix(line, []byte("\n")))))
			}
		}
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}
