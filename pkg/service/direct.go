package service

import (
	"net"
	"net/netip"
)

// Direct returns a listener that accepts on ln's socket and spends nothing on a
// connection that it may not need: a plain greeting takes no more than accept4, sendto,
// shutdown, read and close. It is for TCP on Linux; other listeners are returned as they
// are. Direct takes ln over: use what it returns, and close only that.
//
// What it returns has SetDeadline and SyscallConn, as a [net.TCPListener] has. Its
// connections have CloseWrite, SetLinger and SyscallConn, as a [net.TCPConn] has; TCP_NODELAY
// is set, and keep-alive is left as the listening socket has it.
func Direct(ln net.Listener) net.Listener {
	if tcp, ok := ln.(*net.TCPListener); ok {
		return direct(tcp)
	}
	return ln
}

// What a connection may be able to do beyond net.Conn. Those that Direct accepts can.
type (
	// A quickWriter writes as much of b as goes without waiting, whatever the deadline. The
	// rest goes by Write. What it has taken may stay here until Write, CloseWrite or Close,
	// one of which must follow.
	quickWriter interface{ writeQuick(b []byte) (int, error) }

	// A descriptor calls f with the number of its file descriptor, which stays open
	// meanwhile; the error says that it is closed. discard reads into waste, without
	// waiting, and says EAGAIN where there is nothing.
	descriptor interface {
		control(f func(fd int)) error
		discard(waste []byte) (int, error)
	}

	// An ender knows the addresses of both its ends without asking and allocating.
	ender interface {
		ends() (remote, local netip.AddrPort)
	}
)
