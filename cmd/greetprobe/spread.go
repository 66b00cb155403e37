package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// A spread has the addresses of a network that a host can have.
type spread struct {
	first netip.Addr
	count uint64
}

// parseSpread returns the spread of a CIDR. If the network has more than two addresses, it omits the network address
// and the broadcast address of IPv4, and the anycast address of the routers of IPv6.
func parseSpread(cidr string) (spread, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return spread{}, fmt.Errorf("%q is neither an address nor a network such as 127.0.0.0/24", cidr)
	}
	prefix = prefix.Masked()
	bits := prefix.Addr().BitLen() - prefix.Bits()
	s := spread{prefix.Addr(), 1 << min(bits, 63)}
	if bits < 2 {
		return s, nil
	}
	s.first = s.first.Next()
	s.count--
	if s.first.Is4() {
		s.count--
	}
	return s, nil
}

// at returns the address with the index i. After the last address, it begins again with the first one.
func (s spread) at(i int) netip.Addr {
	wide := s.first.As16()
	low := wide[8:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)+uint64(i)%s.count) // the host part is in the low 64 bits
	addr := netip.AddrFrom16(wide)
	if s.first.Is4() {
		return addr.Unmap()
	}
	return addr
}
