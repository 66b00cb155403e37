package probe

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// DoAll probes every address of the name of target, IPv6 first, and [DefaultParallel] of them at
// the same time. Each Result has a Target with the name and one address. If there are fewer than
// two addresses, DoAll does the same as Do.
func (p *Probe) DoAll(ctx context.Context, target Target) []Result {
	whole, err := p.valid(ctx, target)
	if err != nil || whole.Path != "" || whole.Addr.IsValid() {
		return []Result{p.Do(ctx, target)}
	}
	var results []Result
	many := Many{All: p}
	many.Run(ctx, slices.Values([]Target{target}), func(r Result) { results = append(results, r) })
	if len(results) == 0 { // canceled before it began
		return []Result{p.Do(ctx, target)}
	}
	return results
}

// expand resolves target, and returns one target for each address. If there is nothing to resolve, it
// returns target unchanged.
func (p *Probe) expand(ctx context.Context, now time.Time, target Target) (*resolved, []Target) {
	target, known, err := p.lookUp(ctx, now, target)
	if err != nil || known == nil {
		return nil, []Target{target}
	}
	var targets []Target
	for _, addr := range known.addrs() {
		one := target
		one.Addr = addr
		targets = append(targets, one)
	}
	if len(targets) < 2 {
		return known, []Target{target}
	}
	return known, targets
}

// lookUp resolves the name of target; known is nil if there is nothing to resolve. It returns the target with all its
// parts.
func (p *Probe) lookUp(ctx context.Context, now time.Time, target Target) (whole Target, known *resolved, err error) {
	whole, err = p.valid(ctx, target)
	if err != nil || whole.Path != "" || whole.Addr.IsValid() {
		return whole, nil, err
	}
	name, err := whole.name()
	if err != nil {
		return whole, nil, err
	}
	ctx, cancel := p.within(ctx, now)
	defer cancel()
	return whole, p.resolve(ctx, name), nil
}

// resolved has the results of the lookups of a name.
type resolved struct {
	answers []answer
	took    time.Duration
}

// addrs returns each address once, in the order of the answers.
func (k *resolved) addrs() []netip.Addr {
	var addrs []netip.Addr
	for _, answer := range k.answers {
		for _, addr := range answer.addrs {
			if addr = addr.Unmap(); !slices.Contains(addrs, addr) {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

// Addresses resolves the name of target as Do would, and returns the IPv6 addresses first. For an
// address it returns this address, and for a unix socket nil. The error is one that Do would return
// in a Result.
func (p *Probe) Addresses(ctx context.Context, target Target) ([]netip.Addr, error) {
	now := time.Now()
	target, known, err := p.lookUp(ctx, now, target)
	switch {
	case err != nil || target.Path != "":
		return nil, err
	case known == nil:
		return []netip.Addr{target.Addr}, nil
	}
	if addrs := known.addrs(); len(addrs) > 0 {
		return addrs, nil
	}
	ctx, cancel := p.within(ctx, now)
	defer cancel()
	r := run{p: p, Result: Result{Time: now, Target: target}}
	r.race(ctx, filled(known.answers), len(known.answers))
	return nil, r.Err
}

// resolve looks up name for all families. When it has IPv4 addresses, it waits only a short time for
// IPv6 addresses: some name servers never answer queries for these.
func (p *Probe) resolve(ctx context.Context, name string) *resolved {
	began := time.Now()
	families := p.families()
	known := resolved{answers: make([]answer, len(families))}
	ctx, cancel := context.WithCancel(ctx)
	var lookups sync.WaitGroup
	defer lookups.Wait()
	defer cancel()
	type numbered struct {
		answer
		i int
	}
	answers := make(chan numbered, len(families))
	for i, family := range families {
		known.answers[i] = answer{err: fmt.Errorf("no answer for its %s addresses", family)}
		lookups.Go(func() { answers <- numbered{p.lookup(ctx, networks[family], name), i} })
	}
	var enough <-chan time.Time
	for left := len(families); left > 0; {
		select {
		case a := <-answers:
			left--
			known.answers[a.i] = a.answer
			if len(a.addrs) > 0 && families[a.i] == "IPv4" {
				enough = time.After(min(max(resolutionDelay, resolutionFactor*time.Since(began)), resolutionLimit))
			}
		case <-enough:
			left = 0
		}
	}
	known.took = time.Since(began)
	return &known
}

// The time for an answer with IPv6 addresses, after the answer for IPv4, when all addresses are wanted: the
// delay of RFC 8305, or a multiple of the time that IPv4 took, with a maximum.
const (
	resolutionFactor = 4
	resolutionLimit  = time.Second
)
