package main

import "testing"

func TestTideEbbsOnceForEachCrowd(t *testing.T) {
	var now tide
	var ebbs []int
	for i, connections := range []int{0, 900, 20, 1000, 150, 101, 100, 40, 0, 0, 30_000, 3001, 3000, 0} {
		if now.ebbs(connections) {
			ebbs = append(ebbs, i)
		}
	}
	// 3,000 of 30,000 have memory of their own when they go.
	if len(ebbs) != 3 || ebbs[0] != 6 || ebbs[1] != 12 || ebbs[2] != 13 {
		t.Errorf("it ebbed at %v, want at 6, 12 and 13", ebbs)
	}
}
