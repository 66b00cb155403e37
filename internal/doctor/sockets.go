package doctor

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"greetd.example/internal/admin"
	"greetd.example/internal/config"
	"greetd.example/pkg/systemd"
)

// overlap reports whether no other socket can be bound to address, because there is one at used. It returns
// false for a host name and for a unix socket.
func overlap(address string, used netip.AddrPort) bool {
	host, port, err := net.SplitHostPort(address)
	if err != nil || port != strconv.Itoa(int(used.Port())) {
		return false
	}
	if host == "" {
		return true // all addresses of both families
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	ip, there := ip.WithZone("").Unmap(), used.Addr()
	return ip == there || ip.IsUnspecified() && ip.Is4() == there.Is4() ||
		there.IsUnspecified() && (there.Is6() || ip.Is4())
}

// activeSockets returns the socket units that listen.
func (f *Facts) activeSockets() []Unit {
	return slices.DeleteFunc(slices.Clone(f.Sockets), func(s Unit) bool { return !s.active() })
}

// needed returns the listeners that must still be opened: none if greetd runs, else those of its inactive socket
// units, or of the configuration if it uses no socket unit.
func (f *Facts) needed() []config.Listener {
	switch {
	case f.Daemon != nil || f.Unit.active():
		return nil
	case !f.bySocket():
		return f.Config.Listeners
	}
	var all []config.Listener
	for _, s := range f.Sockets {
		for _, address := range s.streams() {
			if !s.active() {
				all = append(all, config.Listener{Name: s.Name, Address: strings.TrimPrefix(address, "[::]")}) // BindIPv6Only=both
			}
		}
	}
	return all
}

// bySocket reports whether listeners of the daemon come from a socket unit, or, if there are no listeners,
// whether they would.
func (f *Facts) bySocket() bool {
	if f.Daemon != nil && len(f.Daemon.Listeners) > 0 {
		return len(f.from(systemd.SocketUnit)) > 0
	}
	return slices.ContainsFunc(f.Sockets, func(s Unit) bool { return s.active() || f.requires(s) })
}

// from returns the listeners of the daemon with these origins.
func (f *Facts) from(origins ...systemd.Origin) []admin.Listener {
	if f.Daemon == nil {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(f.Daemon.Listeners), func(l admin.Listener) bool { return !slices.Contains(origins, l.Origin) })
}

// requires reports whether the service has Requires= for s.
func (f *Facts) requires(s Unit) bool { return slices.Contains(f.Unit.Requires, s.Name) }
