package main

import (
	"net/netip"
	"testing"
)

func TestSpreadGoesRoundTheAddressesOfHosts(t *testing.T) {
	for _, tt := range []struct {
		cidr string
		want map[int]string
	}{
		{"127.0.0.0/24", map[int]string{0: "127.0.0.1", 253: "127.0.0.254", 254: "127.0.0.1", 1000: "127.0.0.239"}},
		{"127.0.0.77/24", map[int]string{0: "127.0.0.1"}},
		{"127.0.0.0/8", map[int]string{0: "127.0.0.1", 255: "127.0.1.0", 1 << 24: "127.0.0.3"}},
		{"192.0.2.4/30", map[int]string{0: "192.0.2.5", 1: "192.0.2.6", 2: "192.0.2.5"}},
		{"192.0.2.4/31", map[int]string{0: "192.0.2.4", 1: "192.0.2.5", 2: "192.0.2.4"}},
		{"192.0.2.4/32", map[int]string{0: "192.0.2.4", 1: "192.0.2.4"}},
		{"2001:db8::/64", map[int]string{0: "2001:db8::1", 65535: "2001:db8::1:0"}},
		{"2001:db8::/126", map[int]string{0: "2001:db8::1", 2: "2001:db8::3", 3: "2001:db8::1"}},
		{"2001:db8::/32", map[int]string{0: "2001:db8::1"}},
	} {
		s, err := parseSpread(tt.cidr)
		if err != nil {
			t.Errorf("%s: %v", tt.cidr, err)
			continue
		}
		for i, want := range tt.want {
			if got := s.at(i); got != netip.MustParseAddr(want) {
				t.Errorf("%s: address %d = %s, want %s", tt.cidr, i, got, want)
			}
		}
	}
	for _, bad := range []string{"", "/24", "127.0.0.0/33", "::/129", "localhost/24", "127.0.0.0/-1"} {
		if s, err := parseSpread(bad); err == nil {
			t.Errorf("%q is taken for %+v", bad, s)
		}
	}
}

func FuzzSpread(f *testing.F) {
	f.Add("127.0.0.0/24", 300)
	f.Add("2001:db8::/63", 1<<40)
	f.Add("0.0.0.0/0", 1)
	f.Add("::/0", 1<<62)
	f.Fuzz(func(t *testing.T, cidr string, i int) {
		s, err := parseSpread(cidr)
		if err != nil || i < 0 {
			return
		}
		if got := s.at(i); !netip.MustParsePrefix(cidr).Masked().Contains(got) {
			t.Errorf("address %d of %s is %s", i, cidr, got)
		}
	})
}
