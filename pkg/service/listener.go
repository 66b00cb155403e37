package service

import (
	"crypto/tls"
	"net"
)

// A Listener is where clients come from, and how they are received there.
type Listener struct {
	net.Listener

	// Name is what Peer, Observer and Stats call it. Several may share a name, such as
	// the IPv4 and the IPv6 socket of one service; they share Unwrap and TLS as well.
	Name string

	// Unwrap reads what a proxy sends ahead of the client's bytes, and returns a
	// connection whose RemoteAddr and LocalAddr are the client's. It is bounded by
	// HandshakeTimeout. Its error refuses the client. nil: clients come directly.
	Unwrap func(net.Conn) (net.Conn, error)

	// TLS, if not nil, makes clients shake hands before they are greeted.
	TLS *tls.Config
}
