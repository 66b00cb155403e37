// Package doctor says which promises of greetd's units hold on a machine, and what to
// do about the others. [Gather] asks systemd, the daemon and /proc, and [Examine] makes
// findings of their answers.
//
// A new check is a function of Facts that adds to results, and a line in the table of checks.
package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// A Severity says how bad a finding is.
type Severity string

// From worst to best.
const (
	Problem       Severity = "problem" // a promise does not hold, and clients or the machine pay for it
	Warning       Severity = "warning" // weaker than it could be: by choice, or since nothing more is possible here
	Unknown       Severity = "unknown" // it could not be looked at
	OK            Severity = "ok"
	NotApplicable Severity = "n/a" // there is no such promise in this place
)

var worstFirst = []Severity{Problem, Warning, Unknown, OK, NotApplicable}

// A Finding is the outcome of one check. A check that has more to say than one thing
// has several.
type Finding struct {
	Check    string   `json:"check"` // its name, from a closed set
	Severity Severity `json:"verdict"`
	Found    string   `json:"found"`  // in words, without a full stop
	Remedy   string   `json:"remedy"` // a command or a setting; "" if there is nothing to do
}

// A Report is what `greetd doctor --json` prints: every finding, the worst first, and
// equally bad ones in the order of the checks. Every check is in it at least once.
//
//	{
//	  "healthy": false,            no finding is a problem
//	  "counts": {"problem": 1, "warning": 0, "unknown": 0, "ok": 13, "n/a": 1},
//	  "findings": [
//	    {
//	      "check": "descriptors",
//	      "verdict": "problem",    or warning, unknown, ok, n/a
//	      "found": "limits.connections is 70000, but ...",
//	      "remedy": "systemctl edit greetd.service: ..."
//	    }
//	  ]
//	}
//
// The names of checks and verdicts are for programs, and stay. What is found and what helps is for
// people, and gets better.
type Report struct {
	Healthy  bool             `json:"healthy"`
	Counts   map[Severity]int `json:"counts"` // of every verdict
	Findings []Finding        `json:"findings"`
}

// checks are all that there are, in the order of a report. Those that are about the unit
// are only called where there is one, and greetd runs by it.
var checks = []struct {
	name      string
	aboutUnit bool
	look      func(*Facts, *results)
}{
	{"permission", false, permission},
	{"daemon", false, answers},
	{"configuration", false, configuration},
	{"systemd", false, startedBySystemd},
	{"unit", false, unitFile},
	{"notify", true, notify},
	{"reload", true, reload},
	{"watchdog", true, watchdog},
	{"restart", true, restart},
	{"journal", false, journal},
	{"journal-rate", true, journalRate},
	{"ports", false, ports},
	{"socket-units", true, socketUnits},
	{"fd-store", true, fdStore},
	{"descriptors", false, descriptors},
	{"backlog", false, backlog},
	{"resources", true, resources},
	{"address-filters", true, addressFilters},
	{"unix-sockets", false, unixSockets},
	{"certificates", false, certificates},
	{"sandbox", false, sandbox},
	{"name-collision", false, nameCollision},
}

// Examine makes a report of the facts, and of nothing else.
func Examine(f Facts) Report {
	r := Report{Counts: make(map[Severity]int)}
	for _, s := range worstFirst {
		r.Counts[s] = 0
	}
	for _, c := range checks {
		found := results{check: c.name}
		if !c.aboutUnit || f.hasUnit(&found) {
			c.look(&f, &found)
		}
		for _, finding := range found.findings {
			r.Findings = append(r.Findings, finding)
			r.Counts[finding.Severity]++
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return slices.Index(worstFirst, a.Severity) - slices.Index(worstFirst, b.Severity)
	})
	r.Healthy = r.Counts[Problem] == 0
	return r
}

// results collects the findings of one check.
type results struct {
	check    string
	findings []Finding
}

func (r *results) problem(remedy, format string, args ...any) { r.add(Problem, remedy, format, args) }

func (r *results) warning(remedy, format string, args ...any) { r.add(Warning, remedy, format, args) }

func (r *results) unknown(remedy, format string, args ...any) { r.add(Unknown, remedy, format, args) }

// ok is for a check that has found nothing, and else adds nothing.
func (r *results) ok(format string, args ...any) { r.otherwise(OK, format, args) }

// notApplicable is as ok.
func (r *results) notApplicable(format string, args ...any) {
	r.otherwise(NotApplicable, format, args)
}

func (r *results) otherwise(s Severity, format string, args []any) {
	if len(r.findings) == 0 {
		r.add(s, "", format, args)
	}
}

func (r *results) add(s Severity, remedy, format string, args []any) {
	r.findings = append(r.findings, Finding{Check: r.check, Severity: s, Found: fmt.Sprintf(format, args...), Remedy: remedy})
}

func firstLine(text string) string {
	first, rest, _ := strings.Cut(strings.TrimSpace(text), "\n")
	if rest != "" {
		first += " …"
	}
	return first
}
