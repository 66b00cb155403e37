package probe

import (
	"context"
	"slices"
	"sync"
	"time"
)

// DoAll probes every address of target's name at the same time, each as a target of
// its own with that name and address, IPv6 first. Where there are less than two, it
// does what Do does.
func (p *Probe) DoAll(ctx context.Context, target Target) []Result {
	now := time.Now()
	known, targets := p.expand(ctx, now, target)
	results := make([]Result, len(targets))
	var all sync.WaitGroup
	for i, one := range targets {
		all.Go(func() { results[i] = p.do(ctx, now, one, known) })
	}
	all.Wait()
	return results
}

// expand resolves target and returns it once for each address, or as it is.
func (p *Probe) expand(ctx context.Context, now time.Time, target Target) (*resolved, []Target) {
	name, err := target.name()
	if target.Path != "" || target.Addr.IsValid() || err != nil {
		return nil, []Target{target}
	}
	ctx, cancel := p.within(ctx, now)
	defer cancel()
	known := p.resolve(ctx, name)
	var targets []Target
	for _, answer := range known.answers {
		for _, addr := range answer.addrs {
			one := target
			one.Addr = addr.Unmap()
			if !slices.Contains(targets, one) {
				targets = append(targets, one)
			}
		}
	}
	if len(targets) < 2 {
		return known, []Target{target}
	}
	return known, targets
}

// resolved is what the lookups of a name found.
type resolved struct {
	answers []answer
	took    time.Duration
}

// resolve waits for all lookups of name.
func (p *Probe) resolve(ctx context.Context, name string) *resolved {
	began := time.Now()
	families := p.families()
	known := resolved{answers: make([]answer, len(families))}
	var lookups sync.WaitGroup
	for i, family := range families {
		lookups.Go(func() { known.answers[i] = p.lookup(ctx, networks[family], name) })
	}
	lookups.Wait()
	known.took = time.Since(began)
	return &known
}
