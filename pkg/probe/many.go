package probe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"syscall"
	"time"
)

// DefaultParallel is the number of targets that a zero [Many] probes at once.
const DefaultParallel = 256

// Many probes many targets at once. Its methods do not change it.
type Many struct {
	// Do probes one target, and returns its results, which are reported in this order. It usually
	// calls Probe.Do or Probe.Wait. Many goroutines call Do at once.
	Do func(context.Context, Target) []Result

	// All, if not nil, is used instead of Do. Every address of the name of each target is probed,
	// as DoAll of this Probe does. The results of a target are reported together when the last one
	// has arrived. Each address counts for Parallel.
	All *Probe

	// Parallel is the maximum number of targets that are probed at once; 0 means 256.
	Parallel int

	// Lowered, if not nil, is called by the goroutine of Run if there are not enough file
	// descriptors for Parallel. parallel is the lower number of targets that are now probed at
	// once.
	Lowered func(parallel int)
}

// Run probes targets, and calls each with every result when it arrives, in the goroutine of Run. If
// a probe runs out of descriptors, its target is probed again when other probes have ended, with
// fewer at once. When ctx is canceled, no further target is begun. Run returns when all probes that
// were begun have ended. If m is not valid, each target gets a result with LocalError.
func (m *Many) Run(ctx context.Context, targets iter.Seq[Target], each func(Result)) {
	if targets == nil {
		return
	}
	if each == nil {
		each = func(Result) {}
	}
	if err := m.check(ctx); err != nil {
		for target := range targets {
			each(invalid(target, err))
		}
		return
	}
	next, stop := iter.Pull(targets)
	defer stop()
	parallel := cmp.Or(m.Parallel, DefaultParallel)
	c := batch{Many: m, limit: parallel, lowest: parallel, free: freeDescriptors(), ended: make(chan answered)}
	for {
		j, ok := c.take(next)
		if ok && ctx.Err() == nil {
			c.begin(ctx, j)
			continue
		}
		if c.running == 0 {
			break
		}
		c.end(<-c.ended, each)
	}
	for _, n := range c.names { // canceled
		n.report(each)
	}
}

func (m *Many) check(ctx context.Context) error {
	switch {
	case m == nil || m.Do == nil && m.All == nil:
		return errors.New("Many.Do and Many.All are nil; set one of them to probe a target, such as All to new(probe.Probe)")
	case m.Parallel < 0:
		return fmt.Errorf("Many.Parallel is %d, which is negative; use a positive number, or 0 for %d", m.Parallel, DefaultParallel)
	case ctx == nil:
		return errNoContext
	}
	return nil
}

// A batch is the targets that are being probed.
type batch struct {
	*Many
	limit   int   // of running
	running int   //
	free    int   // descriptors that no running target may need
	again   []job // to be begun when there are descriptors
	split   []job // addresses of names, to be begun before the next target
	names   []*name
	lowest  int // Parallel, or what Lowered was called with last
	ended   chan answered
}

// A job is one target, or one address of a name.
type job struct {
	target Target
	of     *name // nil: a target as it was given
	index  int   // among the addresses of of
}

// A name is a target that is several addresses.
type name struct {
	known   *resolved
	results []Result // by address; its Status is empty until it is there
	left    int      // that are not there
}

func (n *name) report(each func(Result)) {
	for _, r := range n.results {
		if r.Status != "" {
			each(r)
		}
	}
}

type answered struct {
	job
	results []Result
	split   []Target // the target's addresses, which are to be probed; nil: it was probed
	known   *resolved
}

// take returns the next job, if there is one and room for it.
func (c *batch) take(next func() (Target, bool)) (j job, ok bool) {
	if c.running >= c.limit {
		return job{}, false
	}
	if n := len(c.again); n > 0 {
		j, c.again = c.again[n-1], c.again[:n-1]
	} else if len(c.split) > 0 {
		j, c.split = c.split[0], c.split[1:]
	} else if j.target, ok = next(); !ok {
		return job{}, false
	}
	if c.running > 0 && descriptors(j.target) > c.free {
		c.again = append(c.again, j)
		c.lower(c.running)
		return job{}, false
	}
	return j, true
}

func (c *batch) begin(ctx context.Context, j job) {
	c.lower(c.limit) // not before: until a probe has ended well, the limit may sink further
	c.running++
	c.free -= descriptors(j.target)
	go func() { c.ended <- c.do(ctx, j) }() // Run waits for running
}

// do probes the target of j, or finds its addresses.
func (c *batch) do(ctx context.Context, j job) answered {
	now := time.Now()
	switch {
	case c.All == nil:
		return answered{job: j, results: c.Do(ctx, j.target)}
	case j.of != nil:
		known := j.of.known
		return answered{job: j, results: []Result{c.All.do(ctx, now.Add(-known.took), j.target, known)}}
	}
	known, targets := c.All.expand(ctx, now, j.target)
	if len(targets) > 1 {
		return answered{job: j, split: targets, known: known}
	}
	return answered{job: j, results: []Result{c.All.do(ctx, now, targets[0], known)}}
}

func (c *batch) end(a answered, each func(Result)) {
	c.running--
	c.free += descriptors(a.target)
	switch {
	case a.split != nil:
		n := &name{known: a.known, results: make([]Result, len(a.split)), left: len(a.split)}
		c.names = append(c.names, n)
		for i, target := range a.split {
			c.split = append(c.split, job{target, n, i})
		}
	case c.running > 0 && slices.ContainsFunc(a.results, outOfDescriptors):
		c.limit = c.running
		c.again = append(c.again, a.job)
	case a.of == nil:
		for _, r := range a.results {
			each(r)
		}
	default:
		c.endAddress(a, each)
	}
}

// endAddress keeps the result of one address, and reports all of its name after the
// last one.
func (c *batch) endAddress(a answered, each func(Result)) {
	n := a.of
	n.results[a.index] = a.results[0]
	if n.left--; n.left > 0 {
		return
	}
	n.report(each)
	c.names = slices.DeleteFunc(c.names, func(other *name) bool { return other == n })
}

// lower calls Lowered once for each new minimum.
func (c *batch) lower(room int) {
	if room >= c.lowest {
		return
	}
	c.lowest = room
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

func outOfDescriptors(r Result) bool {
	return r.Status == LocalError && shortOfDescriptors(r.Err)
}

func shortOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}
