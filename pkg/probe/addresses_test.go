package probe_test

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"greetd.example/pkg/probe"
)

func TestAddresses(t *testing.T) {
	p := probe.Probe{Resolve: func(_ context.Context, network, host string) ([]netip.Addr, error) {
		switch {
		case host == "both.example" && network == "ip6":
			return []netip.Addr{addr("2001:db8::1"), addr("2001:db8::1"), addr("2001:db8::2")}, nil
		case host == "both.example" && network == "ip4":
			return []netip.Addr{addr("::ffff:192.0.2.1")}, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}}
	for target, want := range map[string]string{
		"both.example:25":   "2001:db8::1 2001:db8::2 192.0.2.1",
		"[2001:db8::9]:25":  "2001:db8::9",
		"192.0.2.9:25":      "192.0.2.9",
		"db.LocalHost.:25":  "::1 127.0.0.1",
		"unix:/run/greeter": "",
		"localhost:25":      "::1 127.0.0.1", // nobody needs to know that name
	} {
		got, err := p.Addresses(t.Context(), parse(t, target))
		var words []string
		for _, a := range got {
			words = append(words, a.String())
		}
		if err != nil || strings.Join(words, " ") != want {
			t.Errorf("%s: %v, %v, want %s", target, got, err, want)
		}
	}
	one := p
	one.Family = 4
	if got, err := one.Addresses(t.Context(), parse(t, "both.example:25")); err != nil || !slices.Equal(got, []netip.Addr{addr("192.0.2.1")}) {
		t.Errorf("of IPv4 only: %v, %v", got, err)
	}
	if got, err := p.Addresses(t.Context(), parse(t, "none.example:25")); err == nil || err.Error() != "resolve none.example: no such host" {
		t.Errorf("of an unknown name: %v, %v", got, err)
	}
}
