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
	Count       int           // of shots that start, at most; 0 means no limit

	// Skip is how late a shot may be; one that is later, because the process was
	// stopped, is skipped, with all behind it that are late at all: they never start,
	// and have no Seq. 0 means that every shot starts. Skipped is told how many, and until when they were due, before the next
	// one starts, if not nil.
	Skip    time.Duration
	Skipped func(shots int, since, until time.Time)
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
	var missed gap
	for after := range r.Due {
		if r.Count > 0 && due == r.Count {
			break
		}
		s := Shot{Seq: due, Due: start.Add(after)}
		onTime := time.Until(s.Due) > 0
		if onTime {
			held = false
			if !sleepUntil(open, s.Due) {
				break
			}
		}
		if r.Skip > 0 && (time.Since(s.Due) >= r.Skip || missed.shots > 0 && !onTime) {
			missed.add(s.Due)
			continue
		}
		missed.report(r.Skipped)
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

// A gap is a row of shots that were skipped.
type gap struct {
	shots        int
	since, until time.Time // when the first and the last of them were due
}

func (g *gap) add(due time.Time) {
	if g.shots++; g.shots == 1 {
		g.since = due
	}
	g.until = due
}

// report calls skipped for a gap that is over.
func (g *gap) report(skipped func(shots int, since, until time.Time)) {
	if g.shots > 0 && skipped != nil {
		skipped(g.shots, g.since, g.until)
	}
	*g = gap{}
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
