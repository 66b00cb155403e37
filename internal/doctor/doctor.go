// Package doctor says which promises of greetd's units hold on a machine, and what to
// do about the others. [Gather] looks at the machine, and [Examine] judges what it saw.
//
// systemd is lenient: what the kernel, the container or its own version doesn't allow
// is often left out without an error. Here is who notices.
package doctor

import (
	"fmt"
)

// A Verdict is what came of one check.
type Verdict string

// From worst to best.
const (
	Problem       Verdict = "problem" // a promise does not hold, and clients or the machine pay for it
	Warning       Verdict = "warning" // weaker than it could be: by choice, or since nothing more is possible here
	Unknown       Verdict = "unknown" // it could not be looked at
	OK            Verdict = "ok"
	NotApplicable Verdict = "n/a" // there is no such promise in this place
)

var worstFirst = []Verdict{Problem, Warning, Unknown, OK, NotApplicable}

// A Finding is the outcome of one check. A check that has more to say than one thing
// has several.
type Finding struct {
	Check   string  `json:"check"` // its name, from a closed set
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"`  // in words, without a full stop
	Remedy  string  `json:"remedy"` // a command or a setting; "" if there is nothing to do
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
// Names and verdicts are for programs, and stay. What is found and what helps is for
// people, and gets better.
type Report struct {
	Healthy  bool            `json:"healthy"`
	Counts   map[Verdict]int `json:"counts"` // of every verdict
	Findings []Finding       `json:"findings"`
}

// checks are all that there are, in the order of a report.
var checks = []struct {
	name string
	look func(*Facts) []Finding
}{
	{"permission", permission},
	{"daemon", answers},
	{"configuration", configuration},
	{"systemd", startedBySystemd},
	{"unit", unitFile},
	{"notify", notify},
	{"reload", reload},
	{"watchdog", watchdog},
	{"restart", restart},
	{"journal", journalNative},
	{"journal-rate", journalRate},
	{"socket-units", socketUnits},
	{"fd-store", fdStore},
	{"descriptors", descriptors},
	{"backlog", backlog},
	{"resources", resources},
	{"address-filters", addressFilters},
	{"sandbox", sandbox},
	{"name-collision", nameCollision},
}

// Examine judges the facts, and nothing else: the same facts give the same report.
func Examine(f Facts) Report {
	r := Report{Counts: make(map[Verdict]int)}
	found := make(map[Verdict][]Finding)
	for _, c := range checks {
		for _, finding := range c.look(&f) {
			finding.Check = c.name
			found[finding.Verdict] = append(found[finding.Verdict], finding)
		}
	}
	for _, v := range worstFirst {
		r.Findings = append(r.Findings, found[v]...)
		r.Counts[v] = len(found[v])
	}
	r.Healthy = r.Counts[Problem] == 0
	return r
}

func problem(remedy, format string, args ...any) Finding {
	return Finding{Verdict: Problem, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func warning(remedy, format string, args ...any) Finding {
	return Finding{Verdict: Warning, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func unknown(remedy, format string, args ...any) Finding {
	return Finding{Verdict: Unknown, Found: fmt.Sprintf(format, args...), Remedy: remedy}
}

func ok(format string, args ...any) []Finding {
	return []Finding{{Verdict: OK, Found: fmt.Sprintf(format, args...)}}
}

func notApplicable(format string, args ...any) []Finding {
	return []Finding{{Verdict: NotApplicable, Found: fmt.Sprintf(format, args...)}}
}

// orOK is what was found, or that all is well if that is nothing.
func orOK(found []Finding, format string, args ...any) []Finding {
	if len(found) > 0 {
		return found
	}
	return ok(format, args...)
}
