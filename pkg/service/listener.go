package service

import (
	"crypto/tls"
	"net"
)

// A Listener is where clients come from, and how they are received there. Unwrap and TLS belong to
// the one call of [Server.Serve] that they are given to.
type Listener struct {
	net.Listener

	// Name is what Peer, Observer and Stats call it, and what Update finds it by. Several may
	// share a name, such as the IPv4 and the IPv6 socket of one service: Stats counts them
	// together.
	Name string

	// Unwrap reads what a proxy sends ahead of the client's bytes, and returns a
	// connection whose RemoteAddr and LocalAddr are the client's. If that has a method
	// ProxyInfo() *ProxyInfo, its result is in the Peer. Unwrap is bounded by
	// HandshakeTimeout. Its error refuses the client; with a method Reason() Reason it says
	// why, else that is ReasonNoProxyHeader. nil: clients come directly.
	Unwrap func(net.Conn) (net.Conn, error)

	// TLS, if not nil, makes clients shake hands before they are greeted.
	TLS *tls.Config

	// MaxConns limits the visits under way at any one time on all listeners of that Name, beside
	// MaxConns of the Server; 0: no limit of their own. Lingering connections do not count here.
	// Where it is reached, new clients wait in the backlog. Where several listeners have one Name,
	// the last Serve or Update counts.
	MaxConns int
}

// listenerSettings are what Update changes.
type listenerSettings struct {
	unwrap   func(net.Conn) (net.Conn, error)
	tls      *tls.Config
	maxConns int
}

func (l Listener) settings() listenerSettings { return listenerSettings{l.Unwrap, l.TLS, l.MaxConns} }
