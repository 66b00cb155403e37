package logging

import (
	"fmt"
	"time"

	"greetd.example/internal/words"
	"greetd.example/pkg/journal"
)

// summaryEvery is the time after which suppressed visits are reported. It also applies to dropped entries
// while other entries wait.
const summaryEvery = time.Second

// An account reports what is missing in the log: suppressed visits, dropped entries, and times in which the
// output failed.
type account struct {
	limit    budgets
	untraced pending[uint64] // visits whose steps were not logged
	recent   recent
	drops    pending[dropCounts]
	warn     func(output, message string) // on stderr

	report *entry // about a failure of the output, to be written before all others; used only by the writer's goroutine
}

func (a *account) hooks() journal.Hooks[*entry] {
	return journal.Hooks[*entry]{Next: a.next, Done: a.done, Failing: a.failing, Recovered: a.recovered}
}

// next implements [journal.Hooks]. It reports dropped entries together, as soon as no entry waits. If
// entries wait all the time, it reports them once a second.
func (a *account) next(s journal.State) (e *entry, ok bool, again time.Time) {
	age := summaryEvery
	if s.Idle {
		age = 0
	}
	switch {
	case a.report != nil:
		e, a.report = a.report, nil
	case s.Closing && !s.Idle:
	case s.Closing:
		if e = a.dropped(s.Output, 0); e == nil {
			e, _ = a.suppressed(0)
		}
	default:
		if e, again = a.suppressed(summaryEvery); e == nil {
			e = a.dropped(s.Output, age)
		}
	}
	return e, e != nil, again
}

// suppressed returns the summary of the suppressed visits, or of the visits whose steps were left out, if
// the first of them is older than age. Otherwise it returns the time when it will be, or the zero time if
// there are no such visits.
func (a *account) suppressed(age time.Duration) (e *entry, due time.Time) {
	for i := range a.limit {
		t, since, next := a.limit[i].rest.take(age)
		if !since.IsZero() {
			return summary(t, budgetNames[i], time.Since(since)), time.Time{}
		}
		due = earlier(due, next)
	}
	n, since, next := a.untraced.take(age)
	if !since.IsZero() {
		return newEntry(Detail, time.Now(), "log.rate reached: did not log the steps of "+words.Count(n, "visit")), time.Time{}
	}
	return nil, earlier(due, next)
}

// earlier returns the earlier one of two times. It ignores a zero time.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// dropped returns the entry that reports the dropped entries, if the first of them was dropped longer than
// age ago. Otherwise it returns nil.
func (a *account) dropped(output string, age time.Duration) *entry {
	d, since, _ := a.drops.take(age)
	if since.IsZero() {
		return nil
	}
	e := newEntry(EntriesDropped, time.Now(), fmt.Sprintf(
		"dropped %s: %s did not accept them in time", words.Count(d.entries, "log entry"), output))
	e.visits = d.visits
	e.addNumber("dropped", d.entries)
	d.single.addTo(e, "dropped_")
	a.recent.add(e)
	return e
}

func (a *account) done(e *entry, written bool) {
	if !written {
		a.drops.add(func(d *dropCounts) {
			d.entries++
			d.visits += e.visits
			if outcome, ok := e.event.outcomeIndex(); ok {
				d.single.add(outcome, e.reason)
			}
		})
	}
	e.free()
}

func (a *account) failing(output string, err error) {
	a.warn(output, fmt.Sprintf("cannot log to %s: %s; queueing up to %d entries, then dropping", output, err, journal.QueueSize))
}

func (a *account) recovered(output string, failed time.Duration, err error) {
	a.report = newEntry(OutputTroubled, time.Now(), fmt.Sprintf(
		"could not log to %s for %s: %s", output, duration(failed), printable(err)))
	a.report.addNumber("duration_usec", uint64(failed.Microseconds()))
	a.report.addError(err)
	a.recent.add(a.report)
}

// left returns the number of entries that are not in the log after the writer has given up, and the number
// of visits that are in these entries or in no entry.
func (a *account) left() (entries, visits uint64) {
	d, _, _ := a.drops.take(0)
	return d.entries, d.visits + a.limit.left()
}

type dropCounts struct {
	entries uint64
	visits  uint64      // number of visits in the entries
	single  visitCounts // entries of single visits
}
