package service

import (
	"crypto/tls"
	"net"

	"greetd.example/pkg/service/internal/direct"
)

// A Listener is a [net.Listener] with the settings for its clients. The settings apply to the call of
// [Server.Serve] that gets the Listener, until [Server.Update] replaces them.
type Listener struct {
	net.Listener

	// Name identifies the listener in Peer, Observer, Stats and Update. Several listeners may have
	// the same name, such as the IPv4 and the IPv6 socket of one service: Stats counts them together.
	Name string

	// Unwrap, if not nil, reads the header that a proxy sends before the bytes of the client. It
	// returns a connection whose RemoteAddr and LocalAddr are those of the client's connection. If
	// that connection has a method ProxyInfo() *ProxyInfo, its result is in the Peer. The deadline
	// of the connection is HandshakeTimeout. An error refuses the client. If the error has a method
	// Reason() Reason, the visit has this reason, else ReasonNoProxyHeader.
	Unwrap func(net.Conn) (net.Conn, error)

	// TLS, if not nil, requires a TLS handshake before the greeting.
	TLS *tls.Config

	// Deferred says that the kernel holds a client back until it has sent something, or has sent
	// nothing for a second (TCP_DEFER_ACCEPT of tcp(7), set to 1). If the Listener is from [Direct],
	// that second counts towards HandshakeTimeout, which should be longer.
	Deferred bool

	// MaxConns limits the visits in progress on all listeners with this Name together, in addition
	// to MaxConns of the Server; 0: no limit. Lingering connections do not count here. When the
	// limit is reached, new clients wait in the backlog. If several listeners have the same Name,
	// the value of the last Serve or Update applies.
	MaxConns int
}

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
