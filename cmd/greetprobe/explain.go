package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"greetd.example/pkg/probe"
)

// maxExplained is the maximum number of attempts or names that are listed. It is needed since the server
// determines their number.
const maxExplained = 20

func few(names []string) string {
	more := len(names) - maxExplained
	if more <= 0 {
		return clip(strings.Join(names, " "))
	}
	return fmt.Sprintf("%s and %d more (all with --output json)", clip(strings.Join(names[:maxExplained], " ")), more)
}

// explain writes the steps and attempts of a probe with their times.
func explain(w io.Writer, r probe.Result) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "greetprobe: %s: %s after %s\n", safe(r.Target.String()), r.Status, millis(r.Timing.Total))
	attempts := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, a := range r.Attempts[:min(len(r.Attempts), maxExplained)] {
		fmt.Fprintf(attempts, "  %s\t%s\tbegun at %s, ended at %s\n", a.Addr, a.Result, millis(a.Start), millis(a.End))
	}
	_ = attempts.Flush()
	if more := len(r.Attempts) - maxExplained; more > 0 {
		fmt.Fprintf(&b, "  and %d more attempts\n", more)
	}
	if words := phases(r.Timing); words != "" {
		fmt.Fprintf(&b, "  %s\n", words)
	}
	if r.TCP != nil && (r.TCP.RTT > 0 || r.TCP.SynRetrans > 0) { // after a refusal there are no values
		fmt.Fprintf(&b, "  round trip %s, %d SYN sent again\n", millis(r.TCP.RTT), r.TCP.SynRetrans)
	}
	if r.Protocol != "" {
		fmt.Fprintf(&b, "  %s\n", safe(strings.TrimRight(fmt.Sprintf("protocol %s, %s %s", r.Protocol, r.Software, r.Version), ", ")))
	}
	explainTLS(&b, r.TLS)
	explainSteps(&b, r.Steps)
	_, _ = w.Write(b.Bytes())
}

// phases returns the steps that were completed, with their times.
func phases(t probe.Timing) string {
	var words []string
	for _, phase := range timings(t) {
		if phase.took != nil {
			words = append(words, phase.name+" "+millis(*phase.took))
		}
	}
	return strings.Join(words, ", ")
}

type timing struct {
	name string
	took *time.Duration // nil: not reached
}

// timings returns the steps in their order, without the total.
func timings(t probe.Timing) []timing {
	return []timing{
		{"resolve", t.Resolve},
		{"connect", t.Connect},
		{"proxy", t.Proxy},
		{"tls", t.TLS},
		{"first_byte", t.FirstByte},
		{"greeting", t.Greeting},
	}
}

func explainTLS(w io.Writer, t *probe.TLS) {
	if t == nil {
		return
	}
	if t.Version != "" {
		fmt.Fprintf(w, "  %s, %s\n", t.Version, t.Cipher)
	}
	if len(t.Old) > 0 {
		fmt.Fprintf(w, "  old: %s\n", safe(strings.Join(t.Old, ", ")))
	}
	if t.NotAfter.IsZero() {
		return
	}
	fmt.Fprintf(w, "  certificate of %s, by %s, for %s\n", safe(clip(t.Subject)), safe(clip(t.Issuer)), safe(few(t.Names)))
	trust := "good for " + t.ServerName
	if !t.Verified {
		trust = "not trusted: " + t.Problem
	}
	fmt.Fprintf(w, "  valid until %s, %s\n", t.NotAfter.UTC().Format(time.RFC3339), safe(clip(trust)))
	if chainEnd(t).Before(t.NotAfter) {
		fmt.Fprintf(w, "  its chain is valid until %s, when %s expires\n", t.ChainNotAfter.UTC().Format(time.RFC3339), safe(clip(t.ChainSubject)))
	}
}

func explainSteps(w io.Writer, steps []probe.StepResult) {
	for i, step := range steps {
		result := "ok"
		if !step.OK {
			result = "failed"
		}
		fmt.Fprintf(w, "  step %d, %s: %s after %s\n", i+1, safe(clip(step.Step)), result, millis(step.Time))
		if said := strings.TrimRight(string(step.Received), "\r\n"); said != "" {
			fmt.Fprintf(w, "    said: %s\n", safe(clip(said)))
		}
	}
}

// millis formats d in milliseconds, as ping(8) does.
func millis(d time.Duration) string {
	return fmt.Sprintf("%.3f ms", float64(d)/float64(time.Millisecond))
}

// chainEnd returns the time when the first certificate of the chain expires.
func chainEnd(t *probe.TLS) time.Time {
	if t.ChainNotAfter.IsZero() {
		return t.NotAfter
	}
	return t.ChainNotAfter
}
