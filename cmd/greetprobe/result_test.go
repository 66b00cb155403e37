package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"greetd.example/internal/plugin"
	"greetd.example/pkg/probe"
)

// checkWith returns the flags of a check, as the command line sets them.
func checkWith(t *testing.T, args ...string) *checkFlags {
	t.Helper()
	var f checkFlags
	var cmd cobra.Command
	f.register(&cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if err := f.setDays(cmd.Flags()); err != nil {
		t.Fatal(err)
	}
	return &f
}

func mail(status probe.Status, took time.Duration) probe.Result {
	r := probe.Result{
		Target: probe.Target{Host: "mail", Port: 25}, Status: status,
		Timing: probe.Timing{Resolve: new(time.Millisecond), Total: took},
	}
	if status != probe.OK {
		r.Err = errors.New("the reason")
	}
	return r
}

// The table of exit codes: each status has its state.
func TestStates(t *testing.T) {
	f := checkWith(t)
	want := map[probe.Status]plugin.State{
		probe.OK: plugin.OK, probe.Mismatch: plugin.Warning, probe.LocalError: plugin.Unknown, probe.Canceled: plugin.Unknown,
	}
	for _, status := range probe.Statuses() {
		state, found := want[status]
		if !found {
			state = plugin.Critical
		}
		if got := f.classify(mail(status, time.Second), false, time.Now()); got.state != state {
			t.Errorf("%s is %s, want %s", status, got.state, state)
		}
	}
}

func TestTimeIsHeldAgainstThresholds(t *testing.T) {
	f := checkWith(t, "-w", "0.1:0.5", "-c", "2")
	for took, want := range map[time.Duration]plugin.State{
		50 * time.Millisecond:   plugin.Warning,
		100 * time.Millisecond:  plugin.OK,
		500 * time.Millisecond:  plugin.OK,
		501 * time.Millisecond:  plugin.Warning,
		2 * time.Second:         plugin.Warning,
		2001 * time.Millisecond: plugin.Critical,
	} {
		if got := f.classify(mail(probe.OK, took), false, time.Now()); got.state != want {
			t.Errorf("%v is %s, want %s", took, got.state, want)
		}
	}
	if got := f.classify(mail(probe.Mismatch, 3*time.Second), false, time.Now()); got.state != plugin.Critical {
		t.Errorf("unexpected and much too slow is %s, want CRITICAL", got.state)
	}
	f = checkWith(t, "-M", "crit", "-w", "0.1")
	if got := f.classify(mail(probe.Mismatch, time.Second), false, time.Now()); got.state != plugin.Critical {
		t.Errorf("unexpected with -M crit, and a little slow, is %s, want CRITICAL", got.state)
	}
	// How fast it was refused says nothing of the service.
	f = checkWith(t, "-r", "ok", "-c", "0.1")
	if got := f.classify(mail(probe.Refused, time.Second), false, time.Now()); got.state != plugin.OK {
		t.Errorf("refused, with -r ok, is %s, want OK", got.state)
	}
}

func TestCertificateAge(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		flag  string
		left  time.Duration
		state plugin.State
		words string
		perf  string
	}{
		{"30,14", 30 * 24 * time.Hour, plugin.OK, "mail:25 greets in 1.000 s", "certificate_days=30;30:;14:;0"},
		{"30,14", 30*24*time.Hour - 1, plugin.Warning, "mail:25 greets in 1.000 s, its certificate ends on 2026-12-23, in 29 days (WARNING: threshold 30:)", "certificate_days=29;30:;14:;0"},
		{"30,14", 13 * 24 * time.Hour, plugin.Critical, "mail:25 greets in 1.000 s, its certificate ends on 2026-12-06, in 13 days (CRITICAL: threshold 14:)", "certificate_days=13;30:;14:;0"},
		{"30", time.Hour, plugin.Warning, "mail:25 greets in 1.000 s, its certificate ends on 2026-11-23, in 0 days (WARNING: threshold 30:)", "certificate_days=0;30:;0:;0"},
		{"30", -time.Hour, plugin.Critical, "mail:25 greets in 1.000 s, its certificate ends on 2026-11-23, in -1 days (CRITICAL: threshold 0:)", "certificate_days=-1;30:;0:;0"},
	} {
		r := mail(probe.OK, time.Second)
		r.TLS = &probe.TLS{NotAfter: now.Add(tt.left)}
		got := checkWith(t, "--tls", "-D", tt.flag).classify(r, false, now)
		if got.state != tt.state || got.words != tt.words {
			t.Errorf("-D %s, %v left: %s %q, want %s %q", tt.flag, tt.left, got.state, got.words, tt.state, tt.words)
		}
		if perf := got.perf[len(got.perf)-1]; perf.String() != tt.perf {
			t.Errorf("-D %s, %v left: performance data %s, want %s", tt.flag, tt.left, &perf, tt.perf)
		}
	}
}

func TestReportTellsTheWorstFirstAndNotAll(t *testing.T) {
	f := checkWith(t)
	var results []checkResult
	for i, status := range []probe.Status{probe.OK, probe.LocalError, probe.Mismatch, probe.Refused, probe.Closed} {
		r := mail(status, time.Second)
		r.Target.Port = uint16(i + 1)
		results = append(results, f.classify(r, false, time.Now()))
	}
	report := f.report(results)
	want := "4 of 5 targets not OK; CRITICAL mail:4: the reason; CRITICAL mail:5: the reason; " +
		"WARNING mail:3: the reason; and 1 more"
	if report.State != plugin.Critical || report.Text != want {
		t.Errorf("report = %s %q, want CRITICAL %q", report.State, report.Text, want)
	}
	if len(report.Perf) != 10 || report.Perf[2].Label != "mail:2 time" {
		t.Errorf("performance data %+v, want two of each target, in the order given", report.Perf)
	}
	if got := checkWith(t, "--all").report(results).Text; !strings.HasPrefix(got, "4 of 5 addresses not OK; ") {
		t.Errorf("with --all: %q", got)
	}
}

// A server can fill neither the status line nor the place of another target in it.
func TestManyLongGreetingsMakeOneShortLine(t *testing.T) {
	f := checkWith(t)
	var results []checkResult
	for i := range 100 {
		r := mail(probe.Mismatch, time.Second)
		r.Target.Port = uint16(i + 1)
		r.Greeting = &probe.Greeting{Bytes: []byte(strings.Repeat("|\x1b", 2000))}
		results = append(results, f.classify(r, false, time.Now()))
	}
	line, _, _ := strings.Cut(f.report(results).String(), "|")
	if len(line) > 450 || !strings.Contains(line, "mail:3: the reason") || !strings.HasSuffix(line, "and 97 more") {
		t.Errorf("status line of %d bytes: %s", len(line), line)
	}
}

// Of several addresses a dead one is a WARNING while others greet, and a wrong one is
// what it always is.
func TestOneAddressOfSeveralIsDead(t *testing.T) {
	for status, want := range map[probe.Status]plugin.State{
		probe.OK: plugin.OK, probe.Refused: plugin.Warning, probe.Unreachable: plugin.Warning, probe.ConnectTimeout: plugin.Warning,
		probe.NoGreeting: plugin.Warning, probe.Partial: plugin.Warning, probe.Closed: plugin.Warning, probe.Reset: plugin.Warning,
		probe.TLSFailed: plugin.Critical, probe.Rejected: plugin.Critical, probe.Mismatch: plugin.Warning, probe.LocalError: plugin.Unknown,
	} {
		r := mail(status, time.Second)
		if got := checkWith(t, "--all").classify(r, true, time.Now()); got.state != want {
			t.Errorf("%s, and others greet: %s, want %s", status, got.state, want)
		}
		if got, alone := checkWith(t, "--all").classify(r, false, time.Now()), checkWith(t).classify(r, false, time.Now()); got.state != alone.state {
			t.Errorf("%s, and nobody greets: %s, want %s", status, got.state, alone.state)
		}
	}
}
