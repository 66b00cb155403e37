package logging

import (
	"net/netip"
	"slices"
)

const (
	countedSources = 32 // maximum number of sources whose visits a tally counts at once
	namedSources   = 10 // maximum number of sources in a summary
)

// topSources counts visits by source in bounded memory, with the space-saving algorithm of Metwally et al.
// (2005): if there is no room for a new source, it replaces the source with the fewest visits, and continues
// the count of that source. So a count can be too high, but no source with many visits is missing.
type topSources struct {
	n   int
	all [countedSources]sourceCount
}

type sourceCount struct {
	source netip.Prefix // an IPv4 address, or the /64 of an IPv6 address
	visits uint64
}

// add counts a visit. It ignores a client without an address, on a unix socket.
func (t *topSources) add(addr netip.Addr) {
	addr = addr.Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	source, err := addr.Prefix(bits)
	if err != nil {
		return
	}
	counted := t.all[:t.n]
	if i := slices.IndexFunc(counted, func(c sourceCount) bool { return c.source == source }); i >= 0 {
		counted[i].visits++
		return
	}
	if t.n < countedSources {
		t.all[t.n] = sourceCount{source, 1}
		t.n++
		return
	}
	least := &t.all[0]
	for i := range counted {
		if counted[i].visits < least.visits {
			least = &counted[i]
		}
	}
	*least = sourceCount{source, least.visits + 1}
}

// most returns the sources with the most visits, in descending order.
func (t *topSources) most() []sourceCount {
	counted := slices.Clone(t.all[:t.n])
	slices.SortStableFunc(counted, func(a, b sourceCount) int { return int(b.visits) - int(a.visits) }) //nolint:gosec // far below 2^63
	return counted[:min(t.n, namedSources)]
}

// name returns the address, or the prefix of several ones.
func (c sourceCount) name() string {
	if c.source.IsSingleIP() {
		return c.source.Addr().String()
	}
	return c.source.String()
}
