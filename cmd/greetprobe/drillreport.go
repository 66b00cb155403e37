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

// A drillReport is the outcome of a drill. Its JSON form is the schema greetprobe-drill/1.
type drillReport struct {
	Schema  string     `json:"schema"`
	Time    string     `json:"time"` // RFC 3339, when the first probe was due
	Target  string     `json:"target"`
	Unit    string     `json:"unit"` // "" for --do alone
	Rate    float64    `json:"rate"`
	Steps   []stepLine `json:"steps"`
	All     stepLine   `json:"all"`
	Summary string     `json:"summary"`
	Exit    int        `json:"exit"`
}

// A stepLine is what one step cost, or all of them together.
type stepLine struct {
	Step          string                `json:"step"`
	AtUS          int64                 `json:"at_us"`           // of the request, from the beginning
	AnsweredUS    int64                 `json:"answered_us"`     // from the request until systemd, or the command, said that it is done
	ServedAgainUS *int64                `json:"served_again_us"` // from the request until clients were served again, see [drill.Summary.Again]; null: none was
	Clients       map[drill.Outcome]int `json:"clients"`
	Asked         int                   `json:"asked"`
	Lost          int                   `json:"lost"`
	GapUS         int64                 `json:"longest_gap_us"` // without a client served
	P50US         int64                 `json:"p50_us"`         // from when a client was due
	P99US         int64                 `json:"p99_us"`
	WorstUS       int64                 `json:"worst_us"`
	Example       string                `json:"example"` // the error of the first client that was lost
	Error         string                `json:"error"`   // why the step failed
}

// report sums up.
func (d *drilling) report(begin, end time.Time) *drillReport {
	r := &drillReport{
		Schema: "greetprobe-drill/1", Time: wireTime(begin), Target: d.load.target.String(), Unit: d.unit, Rate: d.rate,
		Steps: []stepLine{}, All: d.lineOf("all", begin, d.record.Summary(drill.Window{From: begin, To: end})),
	}
	for i, s := range d.steps {
		until := end
		if i+1 < len(d.steps) {
			until = d.steps[i+1].requested
		}
		line := d.lineOf(s.name, s.requested, d.record.Summary(drill.Window{From: s.requested, To: until}))
		line.AtUS = s.requested.Sub(begin).Microseconds()
		line.AnsweredUS = s.answered.Sub(s.requested).Microseconds()
		if s.err != nil {
			line.Error = s.err.Error()
		}
		r.Steps = append(r.Steps, line)
	}
	r.Summary = fmt.Sprintf("%s of %s lost in %s", thousands(r.All.Lost), thousands(r.All.Asked), words.Count(len(r.Steps), "step"))
	return r
}

func (d *drilling) lineOf(name string, from time.Time, s drill.Summary) stepLine {
	line := stepLine{
		Step: name, Clients: s.Counts, Asked: s.Asked, Lost: s.Lost(), GapUS: s.Gap.Microseconds(),
		P50US: s.Percentile(50).Microseconds(), P99US: s.Percentile(99).Microseconds(), WorstUS: s.Percentile(100).Microseconds(),
		Example: s.Example,
	}
	usual := max(10*time.Millisecond, time.Duration(3*float64(time.Second)/d.rate))
	if at := s.Again(usual); !at.IsZero() {
		again := at.Sub(from).Microseconds()
		line.ServedAgainUS = &again
	}
	return line
}

// print writes the report for people, with a picture of the course.
func (r *drillReport) print(w io.Writer, course string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%-12s %9s %9s %7s %7s %7s %6s %7s %6s %8s %8s %8s %8s %8s\n",
		"step", "answer ms", "again ms", "asked", "served", "refused", "reset", "cut", "late", "other", "gap ms", "p50 ms", "p99 ms", "worst ms")
	for i, s := range r.Steps {
		s.print(&b, fmt.Sprintf("%d %s", i+1, clipTo(s.Step, 9)))
	}
	r.All.print(&b, "all")
	if n := r.All.Clients[drill.NotAsked]; n > 0 {
		fmt.Fprintf(&b, "\n%s could not be started on this machine, and are no loss: lower --rate, or spread --source.\n", words.Count(n, "client"))
	}
	if r.All.Example != "" {
		fmt.Fprintf(&b, "\nThe first loss: %s\n", r.All.Example)
	}
	if course != "" {
		b.WriteString("\n" + course)
	}
	fmt.Fprintf(&b, "\n%s\n", r.Summary)
	_, _ = io.WriteString(w, b.String())
}

func (s stepLine) print(b *strings.Builder, name string) {
	ms := func(us int64) string { return threeDigits(float64(us)) }
	answer, again := "", "never"
	if s.Step != "all" {
		answer = ms(s.AnsweredUS)
	}
	switch {
	case s.Step == "all":
		again = ""
	case s.ServedAgainUS != nil:
		again = ms(*s.ServedAgainUS)
	}
	fmt.Fprintf(b, "%-12s %9s %9s %7d %7d %7d %6d %7d %6d %8d %8s %8s %8s %8s\n", name, answer, again, s.Asked,
		s.Clients[drill.Served], s.Clients[drill.Refused], s.Clients[drill.Reset], s.Clients[drill.Cut], s.Clients[drill.TimedOut],
		s.Clients[drill.Other], ms(s.GapUS), ms(s.P50US), ms(s.P99US), ms(s.WorstUS))
}

// course draws the worst latency over time. x is a client that was lost; below are the steps.
func (d *drilling) course(begin, end time.Time) string {
	columns := columns(d.out) - labelWidth
	width := max(end.Sub(begin)/time.Duration(columns), time.Millisecond)
	values := d.record.Course(begin, end, width)
	marks := []byte(strings.Repeat(" ", len(values)))
	for i, v := range values {
		if v < 0 {
			values[i] = math.NaN()
		}
	}
	for i, s := range d.steps {
		at := int(s.requested.Sub(begin) / width)
		for j, digit := range []byte(strconv.Itoa(i + 1)) {
			if at+j < len(marks) {
				marks[at+j] = digit
			}
		}
	}
	picture := plot(values, columns+labelWidth, "worst ms from due; x: a client was lost; below: the steps")
	indent := 0
	if line, _, _ := strings.Cut(picture, "\n"); strings.ContainsAny(line, "┤┼") {
		indent = len([]rune(line[:strings.IndexAny(line, "┤┼")])) + 1
	}
	return picture + strings.Repeat(" ", indent) + strings.TrimRight(string(marks), " ") + "\n"
}

// thousands writes n with commas.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// clipTo cuts text to n characters.
func clipTo(text string, n int) string {
	if runes := []rune(text); len(runes) > n {
		return string(runes[:n])
	}
	return text
}
