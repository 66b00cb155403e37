package service

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// connects connects to the listener at addr, and reports whether its accept loop accepted the connection
// before ctx ended.
func connects(ctx context.Context, addr net.Addr, dials *ownDials) bool {
	network, to, from, ok := route(addr)
	if !ok {
		return false
	}
	var own *ownDial
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		var here string
		failed := c.Control(func(fd uintptr) {
			if err = syscall.Bind(int(fd), from); err == nil { // the loop must know us before we connect
				here, err = boundTo(int(fd))
			}
		})
		if err = cmp.Or(failed, err); err == nil {
			dials.giveUp(own) // net tries again in rare cases
			own = dials.add(here)
		}
		return err
	}}
	defer func() { dials.giveUp(own) }() // also after an error: it may have connected just when ctx ended
	c, err := dialer.DialContext(ctx, network, to)
	if err != nil {
		return false
	}
	defer c.Close()
	select {
	case <-own.accepted:
		return true
	case <-ctx.Done():
		return false
	}
}

// route says how to connect to a listener at addr from this machine, with any port
// of the same address as our own.
func route(addr net.Addr) (network, to string, from syscall.Sockaddr, ok bool) {
	switch addr := addr.(type) {
	case *net.UnixAddr:
		return "unix", addr.Name, &syscall.SockaddrUnix{}, true // Linux gives it a name, see unix(7), "Autobind feature"
	case *net.TCPAddr:
		ip := addr.AddrPort().Addr().Unmap()
		if ip.IsUnspecified() && ip.Is4() {
			ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		} else if ip.IsUnspecified() {
			ip = netip.IPv6Loopback()
		}
		to = net.JoinHostPort(ip.String(), strconv.Itoa(addr.Port))
		if ip.Is4() {
			return "tcp4", to, &syscall.SockaddrInet4{Addr: ip.As4()}, true
		}
		return "tcp6", to, &syscall.SockaddrInet6{Addr: ip.As16()}, ip.Zone() == ""
	}
	return "", "", nil, false
}

// boundTo is the local address of fd as net.Addr writes it.
func boundTo(fd int) (string, error) {
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return "", err
	}
	switch sa := sa.(type) {
	case *syscall.SockaddrUnix:
		return sa.Name, nil
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String(), nil
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String(), nil
	}
	return "", syscall.EAFNOSUPPORT
}
