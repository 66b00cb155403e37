package openloop

import (
	"cmp"
	"context"
	"iter"
	"math"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// grace is how late after its end a run may still start what was due before: the
// last requests are as late as all others are, by a little, which is no backlog.
const grace = 100 * time.Millisecond

// A Runner starts requests when they are due.
type Runner struct {
	// Due holds the times, counted from the start of the run, in ascending order.
	Due iter.Seq[time.Duration]

	// Do does the work of one request. It runs in a goroutine of its own and must
	// return soon after its context ends.
	Do func(ctx context.Context, s Request)

	MaxInflight int           // requests at any one time; 0 means no limit
	End         time.Duration // no request starts after it; 0 means no end
	Count       int           // of requests that start, at most; 0 means no limit

	// Skip is how late a request may be. A later one, after the process was stopped for a
	// while, is skipped, and so are those after it that are late at all: they never start,
	// and have no Seq. 0 means that every request starts. Skipped, if it is not nil, is
	// called before the next request starts, with the number of those that were skipped,
	// and when the first and the last of them were due.
	Skip    time.Duration
	Skipped func(requests int, since, until time.Time)
}

// Request is one piece of work and its times.
type Request struct {
	Seq     int       // from 0, in the order of Due
	Due     time.Time // when it should have started
	Started time.Time // when it did

	// Held says that the request is late because MaxInflight was reached: it waited
	// for another one to end, or came after one that did.
	Held bool
}

// Run starts all requests, and returns when each of them has ended. A request that finds
// MaxInflight others running waits for its turn, and delays those behind it. When
// the context or the time to the end is over, no more requests start.
// Run returns how many requests came due, started or not.
func (r *Runner) Run(ctx context.Context) (due int) {
	start := time.Now()
	open, closeUp := ctx, func() {}
	if r.End > 0 {
		open, closeUp = context.WithDeadline(ctx, start.Add(r.End+grace))
	}
	defer closeUp()

	var running sync.WaitGroup
	defer running.Wait()
	places := semaphore.NewWeighted(cmp.Or(int64(r.MaxInflight), math.MaxInt64))
	held := false
	var missed gap
	for after := range r.Due {
		if r.Count > 0 && due == r.Count {
			break
		}
		s := Request{Seq: due, Due: start.Add(after)}
		onTime := time.Until(s.Due) > 0
		if onTime {
			held = false
			if !sleepUntil(open, s.Due) {
				break
			}
		}
		if r.Skip > 0 && (time.Since(s.Due) >= r.Skip || missed.requests > 0 && !onTime) {
			missed.add(s.Due)
			continue
		}
		missed.report(r.Skipped)
		due++
		if open.Err() != nil {
			continue // it was due, and does not start
		}
		if !places.TryAcquire(1) {
			held = true
			if places.Acquire(open, 1) != nil {
				continue
			}
		}
		s.Held = held
		running.Go(func() {
			defer places.Release(1)
			s.Started = time.Now()
			r.Do(ctx, s)
		})
	}
	return due
}

// A gap is a series of requests that were skipped.
type gap struct {
	requests     int
	since, until time.Time // when the first and the last of them were due
}

func (g *gap) add(due time.Time) {
	if g.requests++; g.requests == 1 {
		g.since = due
	}
	g.until = due
}

// report calls skipped for a gap that is over.
func (g *gap) report(skipped func(requests int, since, until time.Time)) {
	if g.requests > 0 && skipped != nil {
		skipped(g.requests, g.since, g.until)
	}
	*g = gap{}
}

// sleepUntil reports whether the time came before the context ended.
func sleepUntil(ctx context.Context, when time.Time) bool {
	select {
	case <-time.After(time.Until(when)):
		return true
	case <-ctx.Done():
		return false
	}
}
