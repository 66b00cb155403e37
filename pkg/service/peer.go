package service

import (
	"net/netip"
	"time"
)

// A Peer is the client of a connection, the listener that it came to, and the time. It is a value:
// copies are independent.
type Peer struct {
	ID       uint64         // counts the connections of a Server, from 1
	Listener string         // the Listener.Name that accepted it
	Remote   netip.AddrPort // the client; the zero value on a unix socket
	Local    netip.AddrPort // the address that the client reached; the zero value on a unix socket, and see Server.OmitLocal
	Proxy    netip.AddrPort // the proxy that announced Remote; the zero value if there was none
	Arrived  time.Time      // when it was accepted, with a monotonic reading
}
