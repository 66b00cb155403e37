package doctor

import (
	"fmt"
	"strings"
	"time"
)

// journalNative is about the fields of the log: do they reach the journal?
func journalNative(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	var found []Finding
	stderr := f.Unit.Properties["StandardError"]
	if stderr == "inherit" {
		stderr = f.Unit.Properties["StandardOutput"]
	}
	output := f.Config.LogOutput
	if f.Daemon != nil {
		output = f.Daemon.LogOutput
	}
	if stderr == "null" {
		found = append(found, problem(f.set("StandardError=journal"), "StandardError=null: why greetd does not start is told to nobody"))
	}
	switch {
	case !f.Config.Valid && f.Daemon == nil, output == "auto" && strings.HasPrefix(stderr, "journal"), output == "journald", output == "syslog":
	case f.Config.LogOutput == "auto" && stderr != "null":
		found = append(found, warning(f.set("StandardError=journal"),
			"the log goes to StandardError=%s, as text without fields: journalctl GREETD_OUTCOME=failed finds nothing", stderr))
	case output == "stdout", stderr != "null":
		found = append(found, warning("log: {output: auto} in greetd.yaml; then "+f.systemctl("reload", f.Unit.Name),
			"the log goes to %s, as text without fields: journalctl GREETD_OUTCOME=failed finds nothing", output))
	}
	if f.Daemon != nil && f.Daemon.LogDropped > 0 {
		found = append(found, warning("lower log.rate in greetd.yaml, and see what keeps the receiver: systemctl status systemd-journald",
			"%d entries were lost since the start, since %s was too slow", f.Daemon.LogDropped, output))
	}
	switch {
	case output == "syslog":
		return orOK(found, "to syslog, as log.output says")
	case f.Daemon == nil:
		return orOK(found, "the log goes to the journal")
	}
	return orOK(found, "by its native protocol, every entry with its fields")
}

// journalRate is about entries that journald suppresses by itself.
func journalRate(f *Facts) []Finding {
	if aside := f.withoutUnit(); aside != nil {
		return aside
	}
	if f.Daemon != nil && f.Daemon.LogOutput != "journald" {
		return notApplicable("the log does not go to journald")
	}
	limit := f.Journald
	interval, _ := parseSpan(f.Unit.Properties["LogRateLimitIntervalUSec"])
	if burst := f.Unit.number("LogRateLimitBurst"); interval > 0 || burst > 0 {
		limit = RateLimit{Known: true, Interval: interval, Burst: burst}
	}
	c := f.Config
	visits := float64(c.LogRate)*limit.Interval.Seconds() + float64(c.LogBurst)
	switch {
	case !c.Valid:
		return []Finding{unknown("greetd check", "without a good configuration there is no log.rate")}
	case !limit.Known:
		return []Finding{unknown("systemd-analyze cat-config systemd/journald.conf", "journald's own limit can't be seen")}
	case c.LogVisits == "none":
		return ok("visits are not logged")
	case limit.Interval < time.Millisecond || limit.Burst == 0:
		return ok("journald does not limit %s", f.Unit.Name)
	case c.LogRate == 0:
		return []Finding{warning("log: {rate: 300, burst: 1000} in greetd.yaml; then "+f.systemctl("reload", f.Unit.Name),
			"log.rate is 0, no limit, and journald suppresses what exceeds %d entries in %v, other entries of greetd's too", limit.Burst, limit.Interval)}
	case visits > float64(limit.Burst):
		return []Finding{warning(f.set(fmt.Sprintf("LogRateLimitIntervalSec=%g", limit.Interval.Seconds()), fmt.Sprintf("LogRateLimitBurst=%.0f", visits*1.1)),
			"log.rate and log.burst allow %.0f visits in %v, and journald suppresses what exceeds %d", visits, limit.Interval, limit.Burst)}
	}
	return ok("%.0f visits in %v at most: journald takes them", visits, limit.Interval)
}
