package exporter

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"path"
	"slices"
	"strings"
	"sync/atomic"

	"greetd.example/pkg/probe"
)

// Allow is what may be probed. The zero value allows every host and port, and no unix
// socket.
type Allow struct {
	Names    []string       // host names in lower case, where * stands for any characters; whatever they resolve to
	Networks []netip.Prefix // of addresses, and of what other names resolve to
	Unix     []string       // paths of unix sockets
	Ports    []Ports        // none: every port
}

// Ports is a range with both ends.
type Ports struct{ First, Last uint16 }

// everyHost reports whether no list of hosts was given.
func (a *Allow) everyHost() bool { return len(a.Names)+len(a.Networks)+len(a.Unix) == 0 }

// mayBe reports whether target is allowed, as far as can be known before its name is resolved.
func (a *Allow) mayBe(target probe.Target) bool {
	if target.Path != "" {
		return slices.Contains(a.Unix, target.Path)
	}
	inRange := func(p Ports) bool { return p.First <= target.Port && target.Port <= p.Last }
	if len(a.Ports) > 0 && !slices.ContainsFunc(a.Ports, inRange) {
		return false
	}
	switch {
	case a.everyHost():
		return true
	case target.Addr.IsValid(): // HOST[ADDRESS] too: the name has nothing to do with it
		return a.contains(target.Addr)
	}
	return a.named(target.Host) || len(a.Networks) > 0
}

func (a *Allow) contains(addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(a.Networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

func (a *Allow) named(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return slices.ContainsFunc(a.Names, func(pattern string) bool {
		ok, _ := path.Match(pattern, host)
		return ok
	})
}

// guard returns p for target: if that is a name which is not listed, it resolves to the
// addresses in Networks only. forbidden becomes true when it has others.
func (a *Allow) guard(p *probe.Probe, target probe.Target) (guarded *probe.Probe, forbidden *atomic.Bool) {
	forbidden = new(atomic.Bool)
	if a.everyHost() || target.Path != "" || target.Addr.IsValid() || a.named(target.Host) {
		return p, forbidden
	}
	copied := *p
	copied.Resolve = func(ctx context.Context, network, host string) ([]netip.Addr, error) {
		one := *p
		one.Family = 4
		if network == "ip6" {
			one.Family = 6
		}
		addrs, err := one.Addresses(ctx, probe.Target{Host: host, Port: target.Port})
		if err != nil { // it begins as the error of the probe will
			return nil, errors.New(strings.TrimPrefix(err.Error(), "resolve "+host+": "))
		}
		allowed := slices.DeleteFunc(addrs, func(addr netip.Addr) bool { return !a.contains(addr) })
		if len(allowed) == 0 {
			forbidden.Store(true)
			return nil, nil // after an error, localhost would be the loopback address all the same
		}
		return allowed, nil
	}
	return &copied, forbidden
}

// forbid is the answer for a target that may not be probed.
func (a *Allow) forbid(target probe.Target) *refusal {
	return &refusal{http.StatusForbidden, "forbidden", fmt.Sprintf("%s may not be probed: it is not in allow.targets or allow.ports of the configuration", target)}
}
