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

// of returns the budget for visits that are logged as event.
func (b *budgets) of(event Event) *limiter {
	if event == VisitGreeted {
		return &b[greetedBudget]
	}
	return &b[problemBudget]
}

func (b *budgets) set(perSecond, burst int) {
	for i := range b {
		b[i].set(perSecond, burst)
	}
}

// suppressed returns the number of visits that were not admitted.
func (b *budgets) suppressed() (n uint64) {
	for i := range b {
		n += b[i].rest.total()
	}
	return n
}

// left returns the number of visits that are in no entry yet, and resets it.
func (b *budgets) left() (n uint64) {
	for i := range b {
		t, _, _ := b[i].rest.take(0)
		n += t.total()
	}
	return n
}

// A limiter admits visits to the log up to a rate, and counts the others. Its methods may be called
// concurrently.
type limiter struct {
	mu     sync.Mutex
	bucket *rate.Limiter // nil: no limit
	rest   pending[tally]
}

// A tally counts visits without an entry.
type tally struct {
	visitCounts
	sources topSources
	err     error // of the last visit that failed
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

// admit reports whether a visit may be logged. If not, it counts the visit with suppress.
func (l *limiter) admit(outcome int, v service.Visit) (admitted, first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bucket == nil || l.bucket.Allow() {
		return true, false
	}
	return false, l.suppress(outcome, v)
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
	return l.rest.add(func(t *tally) {
		t.add(outcome, v.Reason)
		t.sources.add(v.Remote.Addr())
		if outcomes[outcome] == service.Failed {
			t.err = v.Err
		}
	})
}
