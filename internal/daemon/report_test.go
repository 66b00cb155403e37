package daemon

import (
	"slices"
	"testing"

	"greetd.example/pkg/service"
)

func TestTrimIsDueOnceForEachHighWater(t *testing.T) {
	var trim memoryTrim
	var due []int
	for i, connections := range []int{0, 900, 20, 1000, 150, 101, 100, 40, 0, 0, 30_000, 3001, 3000, 0} {
		if trim.due(connections) {
			due = append(due, i)
		}
	}
	// 3,000 of 30,000 have memory of their own when they go.
	if len(due) != 3 || due[0] != 6 || due[1] != 12 || due[2] != 13 {
		t.Errorf("due at %v, want at 6, 12 and 13", due)
	}
}

// TestSum: what JSON shows has every outcome and every reason, also without listeners.
func TestSum(t *testing.T) {
	one := service.ListenerStats{
		Active: 1, Lingering: 2, Bytes: 3, Visits: map[service.Outcome]uint64{service.Greeted: 4},
		Reasons: map[service.Outcome]map[service.Reason]uint64{service.Refused: {service.ReasonDenied: 5}},
	}
	for n := range 3 {
		total := sum(slices.Repeat([]service.ListenerStats{one}, n))
		if n := uint64(n); total.Active != int(n) || total.Lingering != int(2*n) || total.Bytes != 3*n || total.Visits[service.Greeted] != 4*n || total.Reasons[service.Refused][service.ReasonDenied] != 5*n {
			t.Errorf("%d listeners: %+v", n, total)
		}
		for _, o := range service.Outcomes() {
			if _, known := total.Visits[o]; !known || len(total.Reasons[o]) != len(o.Reasons()) {
				t.Errorf("%d listeners: %s lacks entries: %+v", n, o, total)
			}
		}
	}
}
