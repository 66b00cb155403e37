// Package doctor checks whether greetd and its units work on a machine as they should, and suggests a
// remedy for each problem. [Gather] collects facts from systemd, the daemon and /proc. [Examine] makes
// findings from these facts.
//
// To add a check, write a function that reads Facts and adds to results, and add a line to the table checks.
package doctor

import (
	"slices"
)

// A Severity is the severity of a finding.
type Severity string

// The severities, from worst to best.
const (
	Problem       Severity = "problem" // something does not work as it should, and clients or the machine can be affected
	Warning       Severity = "warning" // it works, but less well than possible: by choice, or because of this machine
	Unknown       Severity = "unknown" // the check could not be made
	OK            Severity = "ok"
	NotApplicable Severity = "n/a" // the check does not apply here
)

var worstFirst = []Severity{Problem, Warning, Unknown, OK, NotApplicable}

// A Finding is a result of a check. A check has one finding or several.
type Finding struct {
	Check    string   `json:"check"` // its name, from a closed set
	Severity Severity `json:"verdict"`
	Found    string   `json:"found"`  // in words, without a full stop
	Remedy   string   `json:"remedy"` // a command or a setting; "" if there is nothing to do
}

// A Report has all findings, the worst first, and findings of the same severity in the order of the checks.
// Every check has at least one finding. `greetd doctor --json` prints the Report:
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
// The names of checks and verdicts are for programs, and do not change. The texts of found and remedy are for
// people, and can change.
type Report struct {
	Healthy  bool             `json:"healthy"`
	Counts   map[Severity]int `json:"counts"` // number of findings with each verdict, also 0
	Findings []Finding        `json:"findings"`
}

// checks are all checks, in the order of a report. Checks with aboutUnit are only called if there is a unit,
// and greetd is started by it.
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

// Examine returns the report about the facts. It looks at nothing else.
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
