package logging

import (
	"sync"
	"time"
)

// A limiter lets visits into the log up to a rate and counts the rest. It is a
// token bucket. All its methods may be called at once.
type limiter struct {
	mu          sync.Mutex
	rate, burst int // rate 0: no limit
	tokens      float64
	filled      time.Time // when tokens was right
	rest        tally
	ever        uint64 // visits that were not admitted
}

// A tally counts visits by outcome.
type tally struct {
	since  time.Time // when the first one was counted
	counts [visitKinds]uint64
	err    error // of the last that failed
}

const visitKinds = int(VisitFailed-VisitGreeted) + 1

func (t *tally) total() (n uint64) {
	for _, count := range t.counts {
		n += count
	}
	return n
}

// set changes the limit. One that differs from the limit so far begins with a full
// bucket. What was counted stays counted.
func (l *limiter) set(rate, burst int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	burst = max(burst, 1)
	if rate == l.rate && burst == l.burst {
		return
	}
	l.rate, l.burst = rate, burst
	l.tokens, l.filled = float64(burst), time.Now()
}

// admit reports whether a visit may be logged. If it may not, the visit is counted,
// and first reports whether nothing was counted before it.
func (l *limiter) admit(outcome int, err error) (admitted, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rate == 0 {
		return true, false
	}
	now := time.Now()
	l.tokens = min(l.tokens+now.Sub(l.filled).Seconds()*float64(l.rate), float64(l.burst))
	l.filled = now
	if l.tokens >= 1 {
		l.tokens--
		return true, false
	}
	return false, l.count(outcome, err, now)
}

// suppress counts a visit that is not to be logged, and reports whether nothing was
// counted before it.
func (l *limiter) suppress(outcome int, err error) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count(outcome, err, time.Now())
}

func (l *limiter) count(outcome int, err error, now time.Time) (first bool) {
	first = l.rest.since.IsZero()
	if first {
		l.rest.since = now
	}
	l.rest.counts[outcome]++
	l.ever++
	if VisitGreeted+Event(outcome) == VisitFailed {
		l.rest.err = err
	}
	return first
}

// suppressed returns how many visits were not admitted.
func (l *limiter) suppressed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ever
}

// take returns what was counted since the last take, if the first of it was counted
// at least age ago; else it returns when that will be, or the zero time if nothing
// was counted.
func (l *limiter) take(age time.Duration) (t tally, due time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.rest.since.IsZero() {
		return tally{}, time.Time{}
	}
	if due = l.rest.since.Add(age); time.Now().Before(due) {
		return tally{}, due
	}
	t, l.rest = l.rest, tally{}
	return t, time.Time{}
}
