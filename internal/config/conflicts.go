package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"greetd.example/internal/words"
)

// conflicts reports values that are valid by themselves, but not together. It ignores a missing name or
// address of a listener, which is another problem.
func (c Config) conflicts(report func(key, reason string)) {
	c.listenerConflicts(report)
	if c.GreetingFile != "" && c.Greeting != Default().Greeting {
		report("greeting_file", "takes the place of greeting, which is set too: leave one of them out")
	}
	if c.Admin.WebConfigFile != "" && !c.Admin.OverTCP() {
		report("admin.web_config_file", "is for admin.address over TCP alone: give that a host:port, or remove this key; unix sockets are protected by their permissions")
	}
	if c.Log.Rate > 0 && c.Log.Burst == 0 {
		report("log.burst", "must be above 0 where log.rate is: with 0 no visit could be logged")
	}
}

// OverTCP reports whether Address is a TCP address.
func (a Admin) OverTCP() bool { return a.Address != "" && !strings.HasPrefix(a.Address, "unix:") }

func (c Config) listenerConflicts(report func(key, reason string)) {
	names := make(map[string]int)
	endpoints := make([]endpoint, len(c.Listeners))
	for i, ln := range c.Listeners {
		key := fmt.Sprintf("listeners[%d]", i)
		if first, again := names[ln.Name]; again && ln.Name != "" {
			report(key+".name", fmt.Sprintf("%s is the name of listeners[%d] too: give each its own", words.Quote(ln.Name), first))
		} else {
			names[ln.Name] = i
		}

		endpoints[i], _ = parseAddress(ln.Address)
		for j := range i {
			if endpoints[i].overlaps(endpoints[j]) {
				report(key+".address", fmt.Sprintf("%s overlaps %s of listeners[%d]: change one, or remove it", words.Quote(ln.Address), words.Quote(c.Listeners[j].Address), j))
				break
			}
		}

		ln.transportConflicts(key, report)
		switch {
		case ln.TLS.Certificate != "" && ln.TLS.Key == "":
			report(key+".tls.key", "is missing: a certificate needs its key")
		case ln.TLS.Key != "" && ln.TLS.Certificate == "":
			report(key+".tls.certificate", "is missing: a key needs its certificate")
		}
	}

	admin, _ := parseAddress(c.Admin.Address)
	for i, ln := range c.Listeners {
		if admin.overlaps(endpoints[i]) {
			report("admin.address", fmt.Sprintf("%s overlaps %s of listeners[%d]: give admin its own", words.Quote(c.Admin.Address), words.Quote(ln.Address), i))
			break
		}
	}
}

// transportConflicts reports keys that do not apply to the kind of the address, TCP or unix.
func (ln Listener) transportConflicts(key string, report func(key, reason string)) {
	path, isUnix := strings.CutPrefix(ln.Address, "unix:")
	if ln.ReusePort && isUnix {
		report(key+".reuse_port", "must be false for a unix address: there are no ports to reuse")
	}
	if !isUnix || strings.HasPrefix(path, "@") {
		const none = "has no effect on %s, which has no file: remove it (for a socket unit, set %s there)"
		if ln.Mode != DefaultMode {
			report(key+".mode", fmt.Sprintf(none, words.Quote(ln.Address), "SocketMode="))
		}
		if ln.Group != "" {
			report(key+".group", fmt.Sprintf(none, words.Quote(ln.Address), "SocketGroup="))
		}
	}
	if len(ln.ProxyTrusted) == 0 || ln.Address == "" {
		return
	}
	fromUnix := func(p netip.Prefix) bool { return !p.IsValid() }
	switch trustsUnix := slices.ContainsFunc(ln.ProxyTrusted, fromUnix); {
	case isUnix && !trustsUnix:
		report(key+".proxy_trusted", "has only addresses, and the peers of a unix socket have none: write [unix] to trust all of them")
	case !isUnix && trustsUnix && len(ln.ProxyTrusted) == 1:
		report(key+".proxy_trusted", fmt.Sprintf("has only unix, and the peers of %s have addresses: write the addresses of the load balancers", words.Quote(ln.Address)))
	}
}
