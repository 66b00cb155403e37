package service

import (
	"crypto/tls"
	"net"
	"time"
)

const (
	defaultWriteTimeout     = 5 * time.Second
	defaultHandshakeTimeout = 3 * time.Second
	defaultLingerTimeout    = time.Second
)

// rules are what one visit goes by from its start to its end: the server's settings, with the defaults filled
// in, and its listener's.
type rules struct {
	greeter   Greeter
	admit     func(Peer) (func(), error)
	write     time.Duration
	handshake time.Duration
	linger    time.Duration
	maxConns  int
	unwrap    func(net.Conn) (net.Conn, error)
	tls       *tls.Config
}

// of returns the rules for visits to ln.
func (r *rules) of(ln Listener) *rules {
	own := *r
	own.unwrap, own.tls = ln.Unwrap, ln.TLS
	return &own
}
