package service

import (
	"errors"
	"net"
	"net/netip"
	"testing"
)

// When lingering connections can't be waited for any more, every Serve returns the reason, the present and a later
// one.
func TestBreakDownEndsEveryServe(t *testing.T) {
	listen := func() Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return Listener{Listener: ln, Name: "greet"}
	}
	var s Server
	defer s.Close()
	ln, ended := listen(), make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	s.breakDown(broken)
	if err := <-ended; !errors.Is(err, broken) {
		t.Errorf("Serve returned %v, want %v", err, broken)
	}
	if err := s.Serve(listen()); !errors.Is(err, broken) {
		t.Errorf("a later Serve returned %v, want %v", err, broken)
	}
}

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
