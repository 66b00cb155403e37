//go:build !linux

package probe

import (
	"context"
	"net"
	"net/netip"
)

// dialTCP connects to addr, from source if that is valid. The TCP is always nil.
func dialTCP(ctx context.Context, network string, addr netip.AddrPort, source netip.Addr) (net.Conn, *TCP, error) {
	d := net.Dialer{KeepAlive: -1}
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	conn, err := d.DialContext(ctx, network, addr.String())
	return conn, nil, err
}

// tcpInfo returns nil: only Linux is asked.
func tcpInfo(net.Conn) *TCP { return nil }
