package reaper

import "time"

// The delay from Add to the first check. It follows the clients, which may be near or far, so that
// most have hung up by then.
const (
	minFirstCheckDelay = 2 * time.Millisecond
	maxFirstCheckDelay = 512 * time.Millisecond
)

// nextFirstCheckDelay returns the delay that follows delay, after which gone of the checked
// connections had been closed by their clients.
func nextFirstCheckDelay(delay time.Duration, checked, gone int) time.Duration {
	if 2*gone < checked {
		return min(2*delay, maxFirstCheckDelay)
	}
	return max(delay/2, minFirstCheckDelay)
}
