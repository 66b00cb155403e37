package logging

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"greetd.example/pkg/service"
)

// budgets limit the entries for visits. Greeted visits and other visits have separate limits, so that many
// greeted visits do not suppress the entries of problems.
type budgets [2]limiter

// The indexes of the budgets; budgetNames has their names in the log.
const (
	greetedBudget = iota
	problemBudget
)

var budgetNames = [...]string{"greeted", "problems"}

// of returns the budget for visits with an outcome.
func (b *budgets) of(outcome int) *limiter {
	if VisitGreeted+Event(outcome) == VisitGreeted {
		return &b[greetedBudget]
	}
	return &b[problemBudget]
}

// set changes the limit of both budgets with [limiter.set].
func (b *budgets) set(perSecond, burst int) {
	for i := range b {
		b[i].set(perSecond, burst)
	}
}

// suppressed returns the number of visits that were not admitted.
func (b *budgets) suppressed() (n uint64) {
	for i := range b {
		n += b[i].suppressed()
	}
	return n
}

// left returns the number of visits that are in no entry yet, and resets it.
func (b *budgets) left() (n uint64) {
	for i := range b {
		t, _ := b[i].take(0)
		n += t.total()
	}
	return n
}

// A limiter admits visits to the log up to a rate, and counts the others. Its methods may be called
// concurrently.
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
	err     error // of the last visit that failed
}

const visitKinds = int(VisitFailed-VisitGreeted) + 1

func (t *tally) total() (n uint64) {
	for _, count := range t.counts {
		n += count
	}
	return n
}

// set changes the limit to perSecond; 0 means no limit. If the limit differs from the previous one, the
// bucket is full again. The counts do not change.
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

// admit reports whether a visit may be logged. If not, it counts the visit, and first reports whether this
// is the first one since the last take.
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

// admitSteps reports whether the steps of a visit may be logged. If so, it takes mostSteps from the bucket
// in advance. If the burst is smaller than mostSteps, it reserves the others from the future.
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

// suppress counts a visit without an entry. first reports whether this is the first one since the last take.
func (l *limiter) suppress(outcome int, v service.Visit) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.count(outcome, v, time.Now())
}

// count counts a visit that was not admitted. l.mu is held.
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

// suppressed returns the number of visits that were not admitted.
func (l *limiter) suppressed() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ever
}

// take returns the counts since the last take, if the first visit was counted at least age ago. Otherwise
// due is the time when it will be, or the zero time if no visit was counted.
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
