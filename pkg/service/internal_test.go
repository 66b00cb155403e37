package service

import (
	"net/netip"
	"testing"
)

// A crowd of sources takes no memory when its handshakes have ended, however they changed hands.
func TestHandshakesForgetTheirSources(t *testing.T) {
	var h handshakes
	h.init()
	var all []*connection
	for i := range byte(100) {
		c := &connection{peer: Peer{Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 1)}}
		h.add(c)
		all = append(all, c)
	}
	for i, c := range all {
		if i%2 == 0 { // a proxy announces the client
			c.peer.Remote = netip.MustParseAddrPort("[2001:db8::1]:1")
			h.changeSource(c)
		}
		h.remove(c)
		h.remove(c) // the end of its visit does so, too
		h.changeSource(c)
	}
	if len(h.sources) != 0 {
		t.Errorf("%d sources are remembered, want none", len(h.sources))
	}
}
