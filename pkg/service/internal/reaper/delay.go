package reaper

import "time"

// The limits of the delay from Add to the first check. The delay adapts to the clients, which may be
// near or far, so that most have hung up by then.
const (
	minFirstCheckDelay = 2 * time.Millisecond
	maxFirstCheckDelay = 512 * time.Millisecond
)

// nextFirstCheckDelay returns the next delay. After the last delay, checked connections were checked
// for the first time, and gone of these had been closed by their clients.
func nextFirstCheckDelay(delay time.Duration, checked, gone int) time.Duration {
	if 2*gone < checked {
		return min(2*delay, maxFirstCheckDelay)
	}
	return max(delay/2, minFirstCheckDelay)
}
