package service

import (
	"net"

	"greetd.example/pkg/service/internal/direct"
)

// Direct returns a listener that accepts on ln's socket with the fewest possible system calls. A
// plain greeting needs only accept4, sendto, shutdown, read and close. If the socket is bound to all
// addresses, it also needs getsockname, unless OmitLocal of the [Server] is set. Direct works for TCP
// on Linux; it returns other listeners unchanged. Direct takes over ln: use and close only the
// listener that it returns.
//
// The listener has SetDeadline and SyscallConn, like a [net.TCPListener]. Its connections have
// CloseWrite, SetLinger and SyscallConn, like a [net.TCPConn]. They have TCP_NODELAY, and inherit
// keep-alive from the listening socket. The caller of Accept must close each connection: the garbage
// collector does not close them.
func Direct(ln net.Listener) net.Listener {
	if tcp, ok := ln.(*net.TCPListener); ok {
		return direct.Listen(tcp)
	}
	return ln
}
