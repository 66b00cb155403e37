package reaper

import (
	"testing"
	"time"
)

func TestFirstCheckDelayFollowsTheClients(t *testing.T) {
	delay := minFirstCheckDelay
	for _, step := range []struct {
		checked, gone int
		want          time.Duration
	}{
		{1, 1, 2 * time.Millisecond},
		{1, 0, 4 * time.Millisecond},
		{100, 49, 8 * time.Millisecond},
		{100, 50, 4 * time.Millisecond},
		{3, 1, 8 * time.Millisecond},
	} {
		if delay = nextFirstCheckDelay(delay, step.checked, step.gone); delay != step.want {
			t.Fatalf("the delay is %v when %d of %d have gone, want %v", delay, step.gone, step.checked, step.want)
		}
	}
	for range 20 {
		delay = nextFirstCheckDelay(delay, 1, 0)
	}
	if delay != maxFirstCheckDelay {
		t.Errorf("the delay grows to %v, want %v", delay, maxFirstCheckDelay)
	}
}
