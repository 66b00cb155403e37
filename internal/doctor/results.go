package doctor

import (
	"fmt"
	"strings"
)

// results collects the findings of one check.
type results struct {
	check    string
	findings []Finding
}

func (r *results) problem(remedy, format string, args ...any) { r.add(Problem, remedy, format, args) }

func (r *results) warning(remedy, format string, args ...any) { r.add(Warning, remedy, format, args) }

func (r *results) unknown(remedy, format string, args ...any) { r.add(Unknown, remedy, format, args) }

// ok adds a finding with OK if the check has no finding yet.
func (r *results) ok(format string, args ...any) { r.otherwise(OK, format, args) }

// notApplicable adds a finding with NotApplicable if the check has no finding yet.
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
