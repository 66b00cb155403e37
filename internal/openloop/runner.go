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
// last shots are a little late as all others are, and that is not yet a backlog.
const grace = 100 * time.Millisecond

// Runner fires shots when they are due.
type Runner struct {
	// Due holds the times, counted from the start of the run, in ascending order.
	Due iter.Seq[time.Duration]

	// Fire does the work of one shot. It runs in a goroutine of its own and must
	// return soon after its context ends.
	Fire func(ctx context.Context, s Shot)

	MaxInflight int           // shots at any one time; 0 means no limit
	End         time.Duration // no shot starts after it; 0 means no end
}

// Shot is one piece of work and its times.
type Shot struct {
	Seq     int       // from 0, in the order of Due
	Due     time.Time // when it should have started
	Started time.Time // when it did

	// Held says that the shot is late because MaxInflight was reached: it waited
	// for a place, or stood behind one that did.
	Held bool
}

// Run fires all shots, and returns once each of them has ended. A shot that finds
// MaxInflight others running waits for its turn, and delays those behind it. When
// the context or the time to the end is over, what is not started never will be.
// Run returns how many shots came due, started or not.
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
	for after := range r.Due {
		s := Shot{Seq: due, Due: start.Add(after)}
		if time.Until(s.Due) > 0 {
			held = false
			if !sleepUntil(open, s.Due) {
				break
			}
		}
		due++
		if open.Err() != nil {
			continue // it came due, and that is all
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
			r.Fire(ctx, s)
		})
	}
	return due
}

// sleepUntil reports whether the time came before the context ended.
func sleepUntil(ctx context.Context, when time.Time) bool {
	t := time.NewTimer(time.Until(when))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
