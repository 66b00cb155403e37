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

// Allow has the targets that may be probed. The zero value allows every host and port, and no unix socket.
type Allow struct {
	Names    []string       // host names in lower case, with * for any characters; they may resolve to any address
	Networks []netip.Prefix // networks of allowed addresses, also of those to which other names resolve
	Unix     []string       // paths of unix sockets
	Ports    []Ports        // empty: every port
}

// Ports is a range of ports, including First and Last.
type Ports struct{ First, Last uint16 }

// everyHost reports whether every host is allowed, since there is no list of hosts.
func (a *Allow) everyHost() bool { return len(a.Names)+len(a.Networks)+len(a.Unix) == 0 }

// mayBe reports whether target can be allowed. A name is not resolved for this.
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
	case target.Addr.IsValid(): // includes HOST[ADDRESS], for which only the address counts
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

// guard returns p for target. If target has a name that is not in Names, the guarded probe uses only the addresses of this
// name that are in Networks. forbidden becomes true if the name has other addresses.
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
		if err != nil { // the error of the probe will have the same beginning
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

// forbid returns the refusal for a target that may not be probed.
func (a *Allow) forbid(target probe.Target) *refusal {
	return &refusal{http.StatusForbidden, "forbidden", fmt.Sprintf("%s may not be probed: it is not in allow.targets or allow.ports of the configuration", target)}
}
