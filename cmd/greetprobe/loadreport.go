package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"greetd.example/internal/words"
	"greetd.example/pkg/probe"
)

// A loadReport has the results of a load. Its JSON form is the schema greetprobe-load/1.
type loadReport struct {
	Schema      string                  `json:"schema"`
	Time        string                  `json:"time"` // RFC 3339, when the first probe was due
	Target      string                  `json:"target"`
	Arrivals    string                  `json:"arrivals"` // constant or poisson
	Seed        *uint64                 `json:"seed"`     // for poisson; null for constant
	DurationUS  int64                   `json:"duration_us"`
	Asked       float64                 `json:"asked_per_second"`
	Achieved    float64                 `json:"achieved_per_second"` // probes that were started
	Due         int                     `json:"due"`
	Started     int                     `json:"started"`
	Outcomes    map[probe.Status]int    `json:"outcomes"`
	Examples    map[probe.Status]string `json:"examples"`   // the first error of each outcome
	LatencyUS   *distribution           `json:"latency_us"` // of greeted probes, from when they were due
	ServiceUS   *distribution           `json:"service_us"` // of greeted probes, from when they started
	LateUS      *distribution           `json:"late_us"`    // delay of started probes that no limit has delayed
	Inflight    int                     `json:"inflight"`   // maximum number of probes in flight at once
	MaxInflight int                     `json:"max_inflight"`
	Held        int                     `json:"held"`       // number of probes that started late because of MaxInflight
	Bottleneck  []string                `json:"bottleneck"` // reasons why this machine, and not the server, limited the load; one sentence each
	Interrupted bool                    `json:"interrupted"`
	Exit        int                     `json:"exit"`
}

// A distribution summarizes a histogram, in microseconds.
type distribution struct {
	Count int64   `json:"count"`
	Min   float64 `json:"min"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	Max   float64 `json:"max"`
}

// distributionOf returns the distribution of h. It returns nil for an empty histogram.
func distributionOf(h *hdrhistogram.Histogram) *distribution {
	if h.TotalCount() == 0 {
		return nil
	}
	us := func(ns int64) float64 { return float64(ns/100) / 10 }
	return &distribution{
		Count: h.TotalCount(),
		Min:   us(h.Min()),
		Mean:  us(int64(h.Mean())),
		P50:   us(h.ValueAtPercentile(50)),
		P90:   us(h.ValueAtPercentile(90)),
		P99:   us(h.ValueAtPercentile(99)),
		P999:  us(h.ValueAtPercentile(99.9)),
		Max:   us(h.Max()),
	}
}

// report returns the report of a load. took is the time from the start to the end of the schedule, or to the
// interrupt.
func (t *tally) report(f *loadFlags, target string, start time.Time, took time.Duration, due int, interrupted bool) *loadReport {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.loadReport
	r.Schema, r.Time, r.Target, r.Arrivals = "greetprobe-load/1", wireTime(start), target, f.arrivals
	r.DurationUS, r.Due, r.Interrupted = took.Microseconds(), due, interrupted
	r.Asked, r.Achieved, r.MaxInflight = f.rate, float64(t.Started)/max(took, 1).Seconds(), f.maxInflight
	r.LatencyUS, r.ServiceUS, r.LateUS = distributionOf(t.latency), distributionOf(t.service), distributionOf(t.lag)
	if interrupted {
		r.Exit = exitCanceled
	}
	if f.arrivals == "poisson" {
		r.Seed = &f.seed
	}
	r.Bottleneck = append([]string{}, slices.Concat(r.limitReached(), r.startedLate(), t.shortage())...)
	return r
}

func (r *loadReport) limitReached() []string {
	never := r.Due - r.Started
	var note string
	switch {
	case r.Held > 0:
		note = fmt.Sprintf("%s had to wait because --max-inflight %d was reached, and that counts in the latency",
			words.Count(r.Held, "probe"), r.MaxInflight)
		if never > 0 {
			note += fmt.Sprintf("; %d never started", never)
		}
	case never > 0:
		note = words.Count(never, "probe") + " never started: this machine can't start them at the rate asked for"
	default:
		return nil
	}
	return []string{note}
}

// startedLate returns a sentence if the start delay of this machine distorts the latency: if it is more than a
// millisecond, and more than a tenth of the latency at the same percentile.
func (r *loadReport) startedLate() []string {
	late, latency := r.LateUS, r.LatencyUS
	if late == nil || latency == nil {
		return nil
	}
	for _, at := range []struct {
		name          string
		late, latency float64
	}{
		{"a tenth", late.P90, latency.P90},
		{"one in a hundred", late.P99, latency.P99},
	} {
		if at.late > 1000 && at.late > at.latency/10 {
			return []string{fmt.Sprintf("%s of the probes started %s ms late or later: this machine was busy, and that counts in the latency",
				at.name, threeDigits(at.late))}
		}
	}
	return nil
}

// remedies has the remedy for each resource that this machine can lack.
var remedies = map[syscall.Errno]string{
	syscall.EADDRNOTAVAIL: "no local address or port left: spread the source with --source CIDR, or leave no TIME_WAIT with --rst",
	syscall.EADDRINUSE:    "no local port left: spread the source with --source CIDR, or leave no TIME_WAIT with --rst",
	syscall.EMFILE:        "no descriptor left: lower --max-inflight, or raise the limit with ulimit -n",
	syscall.ENFILE:        "no descriptor left on this machine: lower --max-inflight, or raise fs.file-max",
	syscall.ENOBUFS:       "no memory left for sockets: lower --max-inflight",
	syscall.ENOMEM:        "no memory left: lower --max-inflight",
}

func (t *tally) shortage() (notes []string) {
	for _, errno := range slices.Sorted(maps.Keys(t.local)) {
		remedy := remedies[errno]
		switch {
		case errno == 0:
			remedy = "see " + string(probe.LocalError) + " above"
		case remedy == "":
			remedy = errno.Error()
		}
		notes = append(notes, fmt.Sprintf("%s failed on this machine: %s", words.Count(t.local[errno], "probe"), remedy))
	}
	return notes
}

func (r *loadReport) print(w io.Writer) {
	var b strings.Builder
	took := time.Duration(r.DurationUS) * time.Microsecond
	fmt.Fprintf(&b, "--- %s load statistics ---\n", r.Target)
	fmt.Fprintf(&b, "asked %s/s %s for %.1f s, achieved %.1f/s: %d due, %d started, at most %d at once\n",
		strconv.FormatFloat(r.Asked, 'f', -1, 64), r.arrivals(), took.Seconds(), r.Achieved, r.Due, r.Started, r.Inflight)
	for _, s := range probe.Statuses() {
		if n := r.Outcomes[s]; n > 0 {
			line := fmt.Sprintf("%-15s %8d %7.2f%%  %s", s, n, float64(n)*100/float64(r.Started), r.Examples[s])
			fmt.Fprintln(&b, strings.TrimRight(line, " "))
		}
	}
	if r.Started > 0 {
		r.times(&b)
	}
	for _, note := range r.Bottleneck {
		fmt.Fprintf(&b, "\nThe client was the bottleneck: %s.\n", note)
	}
	_, _ = io.WriteString(w, b.String())
}

func (r *loadReport) times(b *strings.Builder) {
	fmt.Fprintf(b, "\n%-15s %8s %8s %8s %8s %8s %8s %8s\n", "ms", "min", "mean", "p50", "p90", "p99", "p99.9", "max")
	for _, row := range []struct {
		name string
		*distribution
	}{{"from due", r.LatencyUS}, {"from start", r.ServiceUS}, {"started late by", r.LateUS}} {
		if d := row.distribution; d != nil {
			fmt.Fprintf(b, "%-15s", row.name)
			for _, us := range []float64{d.Min, d.Mean, d.P50, d.P90, d.P99, d.P999, d.Max} {
				fmt.Fprintf(b, " %8s", threeDigits(us))
			}
			b.WriteByte('\n')
		}
	}
}

func (r *loadReport) arrivals() string {
	if r.Seed != nil {
		return fmt.Sprintf("%s (--seed %d)", r.Arrivals, *r.Seed)
	}
	return r.Arrivals
}

// threeDigits formats microseconds as milliseconds, with the precision of the histograms.
func threeDigits(us float64) string {
	switch ms := us / 1000; {
	case ms < 10:
		return fmt.Sprintf("%.3f", ms)
	case ms < 100:
		return fmt.Sprintf("%.2f", ms)
	case ms < 1000:
		return fmt.Sprintf("%.1f", ms)
	default:
		return fmt.Sprintf("%.0f", ms)
	}
}
