package access

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"greetd.example/pkg/service"
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, s := range texts {
		all = append(all, netip.MustParsePrefix(s))
	}
	return all
}

func peer(address string) service.Peer {
	return service.Peer{Remote: netip.AddrPortFrom(netip.MustParseAddr(address), 40000)}
}

func TestListChecks(t *testing.T) {
	none := prefixes()
	for _, c := range []struct {
		name            string
		allow, deny     []netip.Prefix
		allowed, denied []string
	}{
		{"empty lists allow all", none, none, []string{"192.0.2.1", "2001:db8::1"}, nil},
		{"deny", none, prefixes("192.0.2.0/24"), []string{"192.0.3.1", "::1", "192.0.1.255"}, []string{"192.0.2.0", "192.0.2.255"}},
		{"allow", prefixes("192.0.2.0/24", "2001:db8::/32"), none, []string{"192.0.2.9", "2001:db8::1"}, []string{"192.0.3.1", "::1"}},
		{"deny wins where it is longer", prefixes("10.0.0.0/8"), prefixes("10.1.0.0/16"), []string{"10.2.0.1"}, []string{"10.1.0.1"}},
		{"deny wins where it is shorter", prefixes("10.1.0.0/16"), prefixes("10.0.0.0/8"), nil, []string{"10.1.0.1"}},
		{"deny wins where it is the same", prefixes("10.1.0.0/16"), prefixes("10.1.0.0/16"), nil, []string{"10.1.0.1"}},
		{"IPv4 visitors in IPv6 form", prefixes("10.0.0.0/8"), none, []string{"::ffff:10.0.0.1"}, []string{"::ffff:11.0.0.1"}},
		{"IPv4 prefixes in IPv6 form", prefixes("::ffff:10.0.0.0/104"), none, []string{"10.0.0.1", "::ffff:10.0.0.1"}, []string{"11.0.0.1"}},
		{"all of IPv4 in IPv6 form", none, prefixes("::ffff:0.0.0.0/96"), []string{"::1"}, []string{"10.0.0.1", "::ffff:10.0.0.1"}},
		{"one IPv6 address", none, prefixes("2001:db8::7/128"), []string{"2001:db8::8", "2001:db8:1::7"}, []string{"2001:db8::7"}},
		{"all of IPv6 is not IPv4", none, prefixes("::/0"), []string{"10.0.0.1", "::ffff:10.0.0.1"}, []string{"::1"}},
		{"all of IPv4 is not IPv6", none, prefixes("0.0.0.0/0"), []string{"::1"}, []string{"10.0.0.1", "::ffff:10.0.0.1"}},
		{"zones don't count", none, prefixes("fe80::/10"), nil, []string{"fe80::1%eth0"}},
		{"host bits don't count", none, prefixes("10.1.2.3/8"), nil, []string{"10.0.0.1"}},
		{"a prefix that is none", none, []netip.Prefix{{}}, []string{"0.0.0.0", "::"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := New(c.allow, c.deny)
			for _, a := range c.allowed {
				if err := l.Check(peer(a)); err != nil {
					t.Errorf("%s: %v, want nil", a, err)
				}
			}
			for _, a := range c.denied {
				if err := l.Check(peer(a)); !errors.Is(err, ErrDenied) {
					t.Errorf("%s: %v, want ErrDenied", a, err)
				}
			}
		})
	}
}

func TestListAlwaysAllowsUnixSockets(t *testing.T) {
	if err := New(prefixes("10.0.0.0/8"), prefixes("0.0.0.0/0", "::/0")).Check(service.Peer{}); err != nil {
		t.Error(err)
	}
}

func TestNilListAllowsEverybody(t *testing.T) {
	var l *List
	if err := l.Check(peer("192.0.2.1")); err != nil {
		t.Error(err)
	}
}

func TestRefusalSaysWho(t *testing.T) {
	err := New(nil, prefixes("2001:db8::/32")).Check(peer("2001:db8::7"))
	if want := "2001:db8::7 denied by 2001:db8::/32 in access.deny"; err == nil || err.Error() != want {
		t.Errorf("%v, want %q", err, want)
	}
	refusal, ok := errors.AsType[*Refusal](err)
	if !ok || refusal.Source != netip.MustParsePrefix("2001:db8::7/128") {
		t.Errorf("%#v, want the source 2001:db8::7/128", refusal)
	}
	for _, test := range []struct {
		allow, deny []netip.Prefix
		want        string
	}{
		{nil, prefixes("10.0.0.0/8", "10.1.0.0/16"), "10.1.2.3 denied by 10.1.0.0/16 in access.deny"}, // the nearest
		{prefixes("10.0.0.0/8"), prefixes("::ffff:10.1.2.3/128"), "10.1.2.3 denied by 10.1.2.3/32 in access.deny"},
		{prefixes("10.2.0.0/16"), nil, "10.1.2.3 denied: not in access.allow"},
	} {
		err := New(test.allow, test.deny).Check(peer("10.1.2.3"))
		refusal, _ := errors.AsType[*Refusal](err)
		if refusal == nil || err.Error() != test.want || refusal.Reason() != service.ReasonDenied {
			t.Errorf("%v, want %q", err, test.want)
		}
		if _, limited := refusal.LimitedSource(); limited {
			t.Errorf("%v: counts as over a limit", err)
		}
	}
}

// randomPrefixes are n of them, two thirds IPv4, with lengths as they are met.
func randomPrefixes(n int) []netip.Prefix {
	r := rand.New(rand.NewPCG(1, 2))
	all := make([]netip.Prefix, n)
	for i := range all {
		bits := 16 + r.IntN(17)
		ip := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, r.Uint32())))
		if i%3 == 0 {
			bits = 32 + r.IntN(33)
			ip = netip.AddrFrom16([16]byte(binary.BigEndian.AppendUint64([]byte{0x20, 1, 0xd, 0xb8, 0, 0, 0, byte(i)}, r.Uint64())))
		}
		all[i], _ = ip.Prefix(bits)
	}
	return all
}

func TestListTakes100000Prefixes(t *testing.T) {
	all := randomPrefixes(100_000)
	start := time.Now()
	l := New(all, nil)
	t.Log(time.Since(start))
	for _, p := range all {
		if err := l.Check(peer(p.Addr().String())); err != nil {
			t.Fatal(err)
		}
	}
	visitor := peer("192.0.2.1")
	if n := testing.AllocsPerRun(100, func() { _ = New(all[:10], nil).allow == nil }); n == 0 {
		t.Error("allocations aren't counted")
	}
	allowing := New(nil, all[:1])
	if n := testing.AllocsPerRun(100, func() { _ = allowing.Check(visitor) }); n != 0 {
		t.Errorf("a look-up makes %v allocations, want 0", n)
	}
}

// FuzzList asks a List and, one by one, its prefixes.
func FuzzList(f *testing.F) {
	f.Add([]byte("\x01\x00\x08\x0a\x00\x00\x00"), []byte("\x0a\x01\x02\x03"))
	f.Add([]byte("\x00\x01\x20\x20\x01\x0d\xb8\x01\x01\x10\x20\x01\x00\x00"), []byte("\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01"))
	f.Fuzz(func(t *testing.T, listed, asked []byte) {
		var lists [2][]netip.Prefix
		for ; len(listed) >= 7; listed = listed[7:] {
			ip := netip.AddrFrom4([4]byte(listed[3:7]))
			if listed[1]&1 == 1 {
				ip = netip.AddrFrom16([16]byte(append(listed[3:7:7], make([]byte, 12)...)))
			}
			which := listed[0] & 1
			lists[which] = append(lists[which], netip.PrefixFrom(ip, int(listed[2])))
		}
		ip, ok := netip.AddrFromSlice(asked)
		if !ok {
			return
		}
		within := func(list []netip.Prefix) bool {
			for _, p := range list {
				if p.Contains(ip.Unmap()) {
					return true
				}
			}
			return false
		}
		want := !within(lists[1]) && (len(lists[0]) == 0 || within(lists[0]))
		err := New(lists[0], lists[1]).Check(service.Peer{Remote: netip.AddrPortFrom(ip, 1)})
		if (err == nil) != want {
			t.Errorf("%s with allow %v and deny %v: %v, want allowed: %t", ip, lists[0], lists[1], err, want)
		}
	})
}

func BenchmarkNew100000(b *testing.B) {
	all := randomPrefixes(100_000)
	for b.Loop() {
		New(all, all)
	}
}

func BenchmarkCheck100000(b *testing.B) {
	all := randomPrefixes(100_000)
	l := New(all, all[:1])
	visitors := make([]service.Peer, 1<<16)
	for i := range visitors {
		visitors[i] = service.Peer{Remote: netip.AddrPortFrom(all[i].Addr(), 1)}
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		_ = l.Check(visitors[i%len(visitors)])
	}
}
