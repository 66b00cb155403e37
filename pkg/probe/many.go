package probe

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"math"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultParallel is how many targets a zero [Many] probes at once.
const DefaultParallel = 256

// Many probes many targets at once. It is not changed by its methods.
type Many struct {
	// Do probes one target. It may be Probe.Do, Probe.Wait or Probe.DoAll, and what
	// it returns is reported in that order. It is called by many goroutines at once.
	Do func(context.Context, Target) []Result

	// Parallel is how many targets are probed at once; 0 means 256.
	Parallel int

	// Lowered is told, if not nil, that there are descriptors for so many targets
	// only, which is less than Parallel. It is called by Run's goroutine.
	Lowered func(parallel int)
}

// Run probes targets and calls each with every result as it comes, in its own
// goroutine. Targets that ran out of descriptors are probed again when others have
// ended, fewer at once. When ctx is canceled no further target is begun. Run returns
// when all that were begun have ended.
func (m *Many) Run(ctx context.Context, targets iter.Seq[Target], each func(Result)) {
	next, stop := iter.Pull(targets)
	defer stop()
	parallel := cmp.Or(m.Parallel, DefaultParallel)
	c := crowd{Many: m, limit: parallel, told: parallel, free: freeDescriptors(), ended: make(chan answered)}
	for {
		target, ok := c.take(next)
		if ok && ctx.Err() == nil {
			c.begin(ctx, target)
			continue
		}
		if c.running == 0 {
			return
		}
		c.end(<-c.ended, each)
	}
}

// A crowd is the targets that are being probed.
type crowd struct {
	*Many
	limit   int      // of running
	running int      //
	free    int      // descriptors that are not spoken for
	again   []Target // to be probed when there are descriptors
	told    int      // Parallel, or what Lowered was told
	ended   chan answered
}

type answered struct {
	target  Target
	results []Result
}

// take returns the next target, if there is one and room for it.
func (c *crowd) take(next func() (Target, bool)) (target Target, ok bool) {
	if c.running >= c.limit {
		return Target{}, false
	}
	if n := len(c.again); n > 0 {
		target, c.again = c.again[n-1], c.again[:n-1]
	} else if target, ok = next(); !ok {
		return Target{}, false
	}
	if c.running > 0 && descriptors(target) > c.free {
		c.again = append(c.again, target)
		c.tell(c.running)
		return Target{}, false
	}
	return target, true
}

func (c *crowd) begin(ctx context.Context, target Target) {
	c.tell(c.limit) // not before: until a probe has ended well, the limit may sink further
	c.running++
	c.free -= descriptors(target)
	go func() { c.ended <- answered{target, c.Do(ctx, target)} }() // Run waits for running
}

func (c *crowd) end(a answered, each func(Result)) {
	c.running--
	c.free += descriptors(a.target)
	if c.running > 0 && slices.ContainsFunc(a.results, outOfDescriptors) {
		c.limit = c.running
		c.again = append(c.again, a.target)
		return
	}
	for _, r := range a.results {
		each(r)
	}
}

// tell says once for each new low that there is room for so many only.
func (c *crowd) tell(room int) {
	if room >= c.told {
		return
	}
	c.told = room
	if c.Lowered != nil {
		c.Lowered(room)
	}
}

// descriptors returns how many a probe of target may need at once: a name takes two
// lookups, or some attempts.
func descriptors(target Target) int {
	if target.Addr.IsValid() || target.Path != "" {
		return 1
	}
	return 4
}

// spareDescriptors are left for what the rest of the process opens in passing.
const spareDescriptors = 8

// freeDescriptors returns how many this process may open still.
func freeDescriptors() int {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil || limit.Cur > math.MaxInt32 {
		return math.MaxInt32
	}
	open, _ := os.ReadDir("/dev/fd") // none if it can't be read: then the limit is found by running into it
	return int(limit.Cur) - len(open) - spareDescriptors
}

// outOfDescriptors reports whether a probe failed for want of descriptors.
func outOfDescriptors(r Result) bool {
	return r.Status == LocalError && shortOfDescriptors(r.Err)
}

func shortOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
