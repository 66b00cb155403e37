package service

import (
	"net"

	"greetd.example/pkg/service/internal/direct"
)

// Direct returns a listener that accepts on ln's socket and spends nothing on a connection that it
// may not need: a plain greeting takes no more than accept4, sendto, shutdown, read and close, and
// where the socket is bound to all addresses, getsockname, see OmitLocal of [Server]. It is for TCP on
// Linux; other listeners are returned as they are. Direct takes ln over: use what it returns, and
// close only that.
//
// What it returns has SetDeadline and SyscallConn, as a [net.TCPListener] has. Its connections have
// CloseWrite, SetLinger and SyscallConn, as a [net.TCPConn] has; TCP_NODELAY is set, and keep-alive
// is left as the listening socket has it. The caller of Accept closes each: the garbage collector does
// not.
func Direct(ln net.Listener) net.Listener {
	if tcp, ok := ln.(*net.TCPListener); ok {
		return direct.Listen(tcp)
	}
	return ln
}
