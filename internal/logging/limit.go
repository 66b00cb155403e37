package logging

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"greetd.example/pkg/service"
)

// budgets are what visits may take of the log: those that were greeted, and the others, so that a flood
// of greetings hides no problem.
type budgets [2]limiter

// The budgets, and what they are called.
const (
	greetedBudget = iota
	problemBudget
)

var budgetNames = [...]string{"greeted", "problems"}

// of returns the budget of visits with an outcome.
func (b *budgets) of(outcome int) *limiter {
	if VisitGreeted+Event(outcome) == VisitGreeted {
		return &b[greetedBudget]
	}
	return &b[problemBudget]
}

// set changes the limit of both, as [limiter.set] does.
func (b *budgets) set(perSecond, burst int) {
	for i := range b {
		b[i].set(perSecond, burst)
	}
}

// suppressed returns how many visits were not admitted.
func (b *budgets) suppressed() (n uint64) {
	for i := range b {
		n += b[i].suppressed()
	}
	return n
}

// left counts the visits that are in no entry yet, and forgets them.
func (b *budgets) left() (n uint64) {
	for i := range b {
		t, _ := b[i].take(0)
		n += t.total()
	}
	return n
}

// A limiter lets visits into the log up to a rate and counts the rest. All its methods
// may be called at once.
type limiter struct {
	mu     sync.Mutex
	bucket *rate.Limiter // nil: no limit
	rest   tally
	ever   uint64 // visits that were not admitted
}

// A tally counts visits by outcome.
type tally struct {
	since   time.Time // when the first one was counted
	counts  [visitKinds]uint64
	reasons reasonCounts
	sources topSources
	err     error // of the last that failed
}

const visitKinds = int(VisitFailed-VisitGreeted) + 1

func (t *tally) total() (n uint64) {
	for _, count := range t.counts {
		n += count
	}
	return n
}

// set changes the limit to perSecond, or none if that is 0. One that differs from the
// limit so far begins with a full bucket. What was counted stays counted.
func (l *limiter) set(perSecond, burst int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	burst = max(burst, 1)
	switch {
	case perSecond == 0:
		l.bucket = nil
	case l.bucket == nil || l.bucket.Limit() != rate.Limit(perSecond) || l.bucket.Burst() != burst:
		l.bucket = rate.NewLimiter(rate.Limit(perSecond), burst)
	}
}

// admit reports whether a visit may be logged. If it may not, the visit is counted,
// and first reports whether nothing was counted before it.
func (l *limiter) admit(outcome int, v service.Visit) (admitted, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bucket == nil {
		return true, false
	}
	now := time.Now()
	if l.bucket.AllowN(now, 1) {
		return true, false
	}
	return false, l.count(outcome, v, now)
}

// admitSteps reports whether the steps of a visit may be logged. They count in advance; those
// that exceed the burst reserve what comes next.
func (l *limiter) admitSteps() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bucket == nil {
		return true
	}
	now := time.Now()
	atOnce := min(mostSteps, l.bucket.Burst())
	if !l.bucket.AllowN(now, atOnce) {
		return false
	}
	for range mostSteps - atOnce {
		l.bucket.ReserveN(now, 1)
	}
	return true
}

// suppress counts a visit that is not to be logged, and reports whether nothing was
// counted before it.
func (l *limiter) suppress(outcome int, v service.Visit) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count(outcome, v, time.Now())
}

func (l *limiter) count(outcome int, v service.Visit, now time.Time) (first bool) {
	first = l.rest.since.IsZero()
	if first {
		l.rest.since = now
	}
	l.rest.counts[outcome]++
	l.rest.reasons.add(outcome, v.Reason)
	l.rest.sources.add(v.Remote.Addr())
	l.ever++
	if VisitGreeted+Event(outcome) == VisitFailed {
		l.rest.err = v.Err
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
