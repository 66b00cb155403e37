package logging

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"greetd.example/pkg/service"
)

// A pending has the counts of what has no entry of its own, until an entry reports them. Its methods may be
// called concurrently. The zero value has no counts.
type pending[T any] struct {
	mu     sync.Mutex
	since  time.Time // of the first count; the zero time if there is none
	counts T
	ever   uint64 // number of calls of add
}

// add changes the counts. first reports whether this is the first change since the last take.
func (p *pending[T]) add(change func(*T)) (first bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if first = p.since.IsZero(); first {
		p.since = time.Now()
	}
	p.ever++
	change(&p.counts)
	return first
}

// take returns the counts since the last take, and the time of the first one, if it is at least age ago.
// Otherwise since is the zero time, and due is the time when it will be; due is the zero time, too, if there
// are no counts.
func (p *pending[T]) take(age time.Duration) (counts T, since, due time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.since.IsZero() {
		return counts, time.Time{}, time.Time{}
	}
	if due = p.since.Add(age); time.Now().Before(due) {
		return counts, time.Time{}, due
	}
	p.counts, counts = counts, p.counts
	p.since, since = time.Time{}, p.since
	return counts, since, time.Time{}
}

func (p *pending[T]) total() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ever
}

const visitKinds = int(VisitFailed-VisitGreeted) + 1

// reasons has the reasons of each outcome, in the order of outcomes.
var reasons = func() (all [visitKinds][]service.Reason) {
	for i, outcome := range outcomes {
		all[i] = outcome.Reasons()
	}
	return all
}()

// visitCounts counts visits by outcome, in the order of outcomes, and by reason, in the order of reasons.
type visitCounts struct {
	outcomes [visitKinds]uint64
	reasons  [visitKinds][6]uint64
}

// add counts a visit. A greeted visit has no reason.
func (c *visitCounts) add(outcome int, reason service.Reason) {
	c.outcomes[outcome]++
	if i := slices.Index(reasons[outcome], reason); i >= 0 {
		c.reasons[outcome][i]++
	}
}

func (c *visitCounts) total() (n uint64) {
	for _, count := range c.outcomes {
		n += count
	}
	return n
}

// addTo adds to e a field for each outcome, with this prefix, and one for each reason that has occurred.
func (c *visitCounts) addTo(e *entry, prefix string) {
	for i, outcome := range outcomes {
		key := prefix + string(outcome)
		e.addNumber(key, c.outcomes[i])
		for j, reason := range reasons[i] {
			if n := c.reasons[i][j]; n > 0 {
				e.addNumber(key+"_"+string(reason), n)
			}
		}
	}
}

// String returns the outcomes that have occurred, with their numbers and reasons: "2 greeted, 1 refused (1 denied)".
func (c *visitCounts) String() string {
	var all []string
	for i, outcome := range outcomes {
		var why []string
		for j, reason := range reasons[i] {
			if n := c.reasons[i][j]; n > 0 {
				why = append(why, fmt.Sprintf("%d %s", n, reason))
			}
		}
		switch {
		case why != nil:
			all = append(all, fmt.Sprintf("%d %s (%s)", c.outcomes[i], outcome, strings.Join(why, ", ")))
		case c.outcomes[i] > 0:
			all = append(all, fmt.Sprintf("%d %s", c.outcomes[i], outcome))
		}
	}
	return strings.Join(all, ", ")
}
