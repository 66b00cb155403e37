package daemon

import "testing"

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
