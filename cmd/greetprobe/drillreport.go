package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"greetd.example/internal/drill"
	"greetd.example/internal/words"
)

// A drillReport has the results of a drill. Its JSON form is the schema greetprobe-drill/1.
type drillReport struct {
	Schema  string     `json:"schema"`
	Time    string     `json:"time"` // RFC 3339, when the first probe was due
	Target  string     `json:"target"`
	Unit    string     `json:"unit"` // "" for --do alone
	Rate    float64    `json:"rate"`
	Due     int        `json:"due"`            // number of clients: those that were started, and those of not_asked
	LateUS  int64      `json:"start_delay_us"` // longest time from when a client was due until this machine started it
	Before  stepLine   `json:"before"`         // the time before the first step
	Steps   []stepLine `json:"steps"`
	All     stepLine   `json:"all"`
	SliceUS int64      `json:"slice_us"` // the width of each slice of the course
	Course  []slice    `json:"course"`
	Summary string     `json:"summary"`
	Exit    int        `json:"exit"`

	unasked string // the reason why the first client of not_asked was not started; "" if it was too late
}

// A stepLine has the results of one step, or of all steps together.
type stepLine struct {
	Step          string                `json:"step"`
	AtUS          int64                 `json:"at_us"`           // time of the request, from the beginning of the drill
	AnsweredUS    int64                 `json:"answered_us"`     // from the request until systemd reported the end of the step, or the command ended
	ServedAgainUS *int64                `json:"served_again_us"` // from the request until clients were served again, see [drill.Summary.Again]; null: no client was
	Clients       map[drill.Outcome]int `json:"clients"`
	Asked         int                   `json:"asked"`
	Lost          int                   `json:"lost"`
	GapUS         int64                 `json:"longest_gap_us"` // longest time without a served client
	P50US         int64                 `json:"p50_us"`         // latency, from when a client was due
	P99US         int64                 `json:"p99_us"`
	WorstUS       int64                 `json:"worst_us"`
	Example       string                `json:"example"` // the error of the first client that was lost
	Error         string                `json:"error"`   // the reason why the step failed
}

// A slice has the results of the clients that were due in one short period of a drill.
type slice struct {
	Served  int   `json:"served"`
	Lost    int   `json:"lost"`
	WorstUS int64 `json:"worst_us"` // worst latency of the served clients
}

// courseSlices is the maximum number of slices of the course in JSON.
const courseSlices = 400

func (d *drilling) report() *drillReport {
	begin, end := d.begin, *d.end.Load()
	all := d.record.Summary(drill.Window{From: begin, To: end, Last: true})
	r := &drillReport{
		Schema: "greetprobe-drill/1", Time: wireTime(begin), Target: d.load.target.String(), Unit: d.unit(), Rate: d.rate,
		Due: max(d.due, all.Asked+all.Counts[drill.NotAsked]), LateUS: all.Late.Microseconds(),
		Steps: []stepLine{}, All: d.lineOf("all", begin, all), unasked: all.Unasked,
	}
	r.All.Clients[drill.NotAsked] = r.Due - all.Asked
	until := func(i int) drill.Window { // a window that ends with the request of step i
		if i < len(d.steps) {
			return drill.Window{To: d.steps[i].requested}
		}
		return drill.Window{To: end, Last: true}
	}
	before := until(0)
	before.From = begin
	r.Before = d.lineOf("before", begin, d.record.Summary(before))
	for i, s := range d.steps {
		during := until(i + 1)
		during.From = s.requested
		line := d.lineOf(s.name, s.requested, d.record.Summary(during))
		line.AtUS = s.requested.Sub(begin).Microseconds()
		line.AnsweredUS = s.answered.Sub(s.requested).Microseconds()
		if s.err != nil {
			line.Error = s.err.Error()
		}
		r.Steps = append(r.Steps, line)
	}
	width := max(end.Sub(begin)/courseSlices, 10*time.Millisecond).Truncate(time.Millisecond) + time.Millisecond
	r.SliceUS = width.Microseconds()
	for _, s := range d.record.Course(begin, end, width) {
		r.Course = append(r.Course, slice{s.Served, s.Lost, s.Worst.Microseconds()})
	}
	r.Summary = fmt.Sprintf("%s of %s lost in %s", thousands(r.All.Lost), thousands(r.All.Asked), words.Count(len(r.Steps), "step"))
	if n := len(d.steps); n > 0 && d.steps[n-1].err != nil {
		r.Summary += fmt.Sprintf("; step %d did not succeed", n)
	}
	return r
}

func (d *drilling) lineOf(name string, from time.Time, s drill.Summary) stepLine {
	line := stepLine{
		Step: name, Clients: s.Counts, Asked: s.Asked, Lost: s.Lost(), GapUS: s.Gap.Microseconds(),
		P50US: s.Percentile(50).Microseconds(), P99US: s.Percentile(99).Microseconds(), WorstUS: s.Percentile(100).Microseconds(),
		Example: s.Example,
	}
	usual := max(50*time.Millisecond, time.Duration(5*float64(time.Second)/d.rate))
	if at := s.Again(usual); !at.IsZero() {
		again := at.Sub(from).Microseconds()
		line.ServedAgainUS = &again
	}
	return line
}

func (r *drillReport) print(w io.Writer, course string) {
	var b strings.Builder
	row := func(name string, cells ...string) {
		var line strings.Builder
		fmt.Fprintf(&line, "%-17s", name)
		for _, cell := range cells {
			fmt.Fprintf(&line, " %8s", cell)
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
	row("milliseconds", "answer", "again", "gap", "p50", "p99", "worst")
	row("before", r.Before.times()...)
	for i, s := range r.Steps {
		row(s.label(i), s.times()...)
	}
	row("all", r.All.times()...)
	b.WriteByte('\n')
	row("clients", "asked", "served", "refused", "reset", "cut", "late", "other")
	row("before", r.Before.counts()...)
	for i, s := range r.Steps {
		row(s.label(i), s.counts()...)
	}
	row("all", r.All.counts()...)
	if limits := r.limits(); limits != "" {
		b.WriteString("\n" + limits)
	}
	if r.All.Example != "" {
		fmt.Fprintf(&b, "\nThe first loss: %s\n", r.All.Example)
	}
	if r.All.Clients[drill.Served] > 0 {
		b.WriteString("\n" + course)
	}
	fmt.Fprintf(&b, "\n%s\n", r.Summary)
	_, _ = io.WriteString(w, b.String())
}

// startDelay is the delay of started clients from which the report mentions it.
const startDelay = 100 * time.Millisecond

// limits returns in words how many clients this machine did not start, and how late it started others. Clients
// that were not started do not count as lost.
func (r *drillReport) limits() string {
	var b strings.Builder
	missing := r.All.Clients[drill.NotAsked]
	switch {
	case missing == 0:
	case r.Exit == exitCanceled:
		fmt.Fprintf(&b, "The interrupt ended %s, which is no loss.\n", words.Count(missing, "client"))
	default:
		why := "it would have started them more than 1s late"
		if r.unasked != "" {
			why = r.unasked
		}
		fmt.Fprintf(&b, "This machine asked only %s of %s clients, which is no loss:\n%s.\n"+
			"Lower --rate, spread --source, or raise --max-inflight and ulimit -n.\n", thousands(r.All.Asked), thousands(r.Due), why)
	}
	if r.LateUS > startDelay.Microseconds() {
		fmt.Fprintf(&b, "This machine started clients up to %s ms late, which their latencies include.\n", threeDigits(float64(r.LateUS)))
	}
	return b.String()
}

// label returns the name of step i in the table and in the plot.
func (s stepLine) label(i int) string {
	return fmt.Sprintf("%d %s", i+1, cut(strings.Join(strings.Fields(safe(s.Step)), " "), 14))
}

func (s stepLine) times() []string {
	ms := func(us int64) string { return threeDigits(float64(us)) }
	answer, again := "", ""
	if s.AnsweredUS > 0 {
		answer, again = ms(s.AnsweredUS), "never"
	}
	switch {
	case s.Asked == 0:
		return []string{answer, "", "", "", "", ""}
	case answer != "" && s.ServedAgainUS != nil:
		again = ms(*s.ServedAgainUS)
	}
	if s.Clients[drill.Served] == 0 {
		return []string{answer, again, ms(s.GapUS), "", "", ""}
	}
	return []string{answer, again, ms(s.GapUS), ms(s.P50US), ms(s.P99US), ms(s.WorstUS)}
}

func (s stepLine) counts() []string {
	counts := []string{strconv.Itoa(s.Asked)}
	for _, o := range []drill.Outcome{drill.Served, drill.Refused, drill.Reset, drill.Cut, drill.TimedOut, drill.Other} {
		counts = append(counts, strconv.Itoa(s.Clients[o]))
	}
	return counts
}

// course returns a plot of the worst latency over time. An x marks a lost client. Below the plot are the steps.
func (d *drilling) course() string {
	begin, end, on := d.begin, *d.end.Load(), screenOf(d.out)
	width := max(end.Sub(begin)/time.Duration(on.curve())+1, time.Millisecond)
	var values []float64
	for i, s := range d.record.Course(begin, end, width) {
		switch {
		case s.Lost > 0:
			values = append(values, math.NaN())
		case s.Served == 0 && i > 0 && !math.IsNaN(values[i-1]): // no client was due
			values = append(values, values[i-1])
		default:
			values = append(values, s.Worst.Seconds()*1000)
		}
	}
	marks := []byte(strings.Repeat(" ", len(values)))
	for i, s := range d.steps {
		at := int(s.requested.Sub(begin) / width)
		for j, digit := range []byte(strconv.Itoa(i + 1)) {
			if at+j < len(marks) {
				marks[at+j] = digit
			}
		}
	}
	seconds := float64(len(values)) * width.Seconds()
	picture := overTime(values, seconds, "worst ms from due; x: a client was lost; below: the steps").draw(on)
	return picture + on.cut(strings.Repeat(" ", labelWidth)+strings.TrimRight(string(marks), " ")+"\n")
}

func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// unit returns the name of the unit; "" if there is none.
func (f *drillFlags) unit() string {
	if len(f.units) == 0 {
		return ""
	}
	return f.units[0]
}
