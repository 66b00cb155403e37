package probe

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dialTCP connects to addr, from source if that is valid. The TCP is not nil if the
// kernel told how far it came, even without a connection.
func dialTCP(ctx context.Context, network string, addr netip.AddrPort, source netip.Addr) (net.Conn, *TCP, error) {
	a := attemptTCP{ctx: ctx, source: source}
	d := net.Dialer{
		KeepAlive: -1, // no probe lasts so long
		Control:   a.control,
	}
	if source.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	dialCtx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	a.cancel = cancel
	conn, err := d.DialContext(dialCtx, network, addr.String())
	if a.settle != nil {
		a.settle()
	}
	if err != nil {
		return nil, a.info, err
	}
	return conn, tcpInfo(a.socket), nil
}

// An attemptTCP looks at the socket of an attempt that is given up, before the dialer
// closes it.
type attemptTCP struct {
	ctx    context.Context //nolint:containedctx // lives as long as one call of dialTCP
	cancel context.CancelFunc
	source netip.Addr
	socket syscall.RawConn
	settle func() // waits for the look, if there was one
	info   *TCP   // what it saw
}

// control prepares a socket, as net.Dialer.Control, which may be called again.
func (a *attemptTCP) control(_, _ string, socket syscall.RawConn) error {
	if a.settle != nil {
		a.settle()
	}
	a.socket = socket
	looked := make(chan struct{})
	stop := context.AfterFunc(a.ctx, func() {
		defer close(looked)
		a.info = tcpInfo(socket)
		a.cancel()
	})
	a.settle = func() {
		if !stop() {
			<-looked
		}
	}
	if !a.source.IsValid() {
		return nil
	}
	// Without it, bind(2) takes a port that no other connection can have.
	return control(socket, func(fd int) error {
		return unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
}

// tcpInfo asks the kernel (tcp(7)). It returns nil if that doesn't tell.
func tcpInfo(raw syscall.RawConn) *TCP {
	var info *unix.TCPInfo
	err := control(raw, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	if err != nil {
		return nil
	}
	return &TCP{
		RTT:        time.Duration(info.Rtt) * time.Microsecond,
		SynRetrans: int(max(info.Total_retrans, uint32(info.Retransmits))),
	}
}

// control calls f with the descriptor of c.
func control(c syscall.RawConn, f func(fd int) error) error {
	var failed error
	err := c.Control(func(fd uintptr) { failed = f(int(fd)) })
	return cmp.Or(err, failed)
}
