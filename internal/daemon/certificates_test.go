package daemon

import (
	"testing"
	"time"
)

func TestExpiryIsReportedOnceADay(t *testing.T) {
	const day = 24 * time.Hour
	warnings := make(expiryWarnings)
	start := time.Date(2026, 11, 29, 2, 0, 0, 0, time.UTC)
	due := func(listener string, end, now time.Duration) bool {
		return warnings.due(listener, start.Add(end), start.Add(now))
	}
	var days []time.Duration
	for now := time.Duration(0); now < 32*day; now += 30 * time.Second {
		if due("a", 30*day, now) {
			days = append(days, now/day)
		}
	}
	if len(days) != 23 || days[0] != 9 || days[22] != 31 {
		t.Errorf("on days %v, want each from 9 to 31", days)
	}
	if !due("a", 31*day, 32*day) || due("a", 31*day, 32*day+time.Hour) || due("a", 60*day, 32*day+2*time.Hour) {
		t.Error("a renewed certificate is one of its own")
	}
	if due("b", 0, day) || !due("b", 0, 2*day) {
		t.Error("of one that had expired at the start the start has warned, and the days after it")
	}
}
