package probe

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"
)

// One bad record takes nothing from the others, a record that means nothing beside
// others is not one of them, and each server is there once.
func TestMailServers(t *testing.T) {
	mx := func(pref uint16, host string) *net.MX { return &net.MX{Host: host, Pref: pref} }
	invalid := &net.DNSError{Err: "DNS response contained records which contain invalid names", Name: "d.test"}
	for _, test := range []struct {
		name  string
		found []*net.MX
		err   error
		want  string
	}{
		{"in order", []*net.MX{mx(20, "c.test."), mx(5, "b.test."), mx(5, "a.test.")}, nil, "[a.test:25 b.test:25 c.test:25] <nil>"},
		{"none", nil, &net.DNSError{IsNotFound: true}, "[d.test:25] <nil>"},
		{"no mail", []*net.MX{mx(0, ".")}, nil, "[] d.test accepts no mail: its MX record says so"},
		{"no mail, twice", []*net.MX{mx(0, "."), mx(1, ".")}, nil, "[] d.test accepts no mail: its MX record says so"},
		{"no mail, and a server", []*net.MX{mx(0, "."), mx(1, "a.test.")}, nil, "[a.test:25] <nil>"},
		{"one server, twice", []*net.MX{mx(1, "a.test."), mx(2, "a.test.")}, nil, "[a.test:25] <nil>"},
		{"an address", []*net.MX{mx(1, "192.0.2.1."), mx(2, "a.test.")}, nil, `[a.test:25] resolve d.test: a bad MX record: "192.0.2.1" is not a host name: it looks like an IPv4 address, but is not one`},
		{"a bad name", []*net.MX{mx(1, "a.test.")}, invalid, "[a.test:25] resolve the mail servers of d.test: " + invalid.Err},
		{"trouble", nil, &net.DNSError{Err: "read udp 127.0.0.1:1234->192.0.2.1:53: i/o timeout", IsTimeout: true, Server: "192.0.2.1:53"}, "[] resolve the mail servers of d.test: no answer (asked 192.0.2.1:53)"},
	} {
		targets, err := mailServers("d.test", 25, test.found, test.err)
		if got := fmt.Sprint(targets, " ", err); got != test.want {
			t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
		}
	}
}

func TestServiceServers(t *testing.T) {
	srv := func(priority, weight, port uint16, host string) *net.SRV {
		return &net.SRV{Target: host, Port: port, Priority: priority, Weight: weight}
	}
	for _, test := range []struct {
		name  string
		found []*net.SRV
		err   error
		want  string
	}{
		{"in order", []*net.SRV{srv(9, 0, 3, "c.test."), srv(1, 5, 2, "b.test."), srv(1, 60, 1, "a.test.")}, nil, "[a.test:1 b.test:2 c.test:3] <nil>"},
		{"none", nil, &net.DNSError{IsNotFound: true}, "[] resolve the servers of _s._tcp.d.test: there is no SRV record of that name"},
		{"no service", []*net.SRV{srv(0, 0, 0, ".")}, nil, "[] _s._tcp.d.test is not available at this domain: its SRV record says so"},
		{"no service, and a server", []*net.SRV{srv(0, 0, 0, "."), srv(0, 0, 1, "a.test.")}, nil, "[a.test:1] <nil>"},
		{"one server, twice", []*net.SRV{srv(0, 0, 1, "a.test."), srv(1, 0, 1, "a.test."), srv(1, 0, 2, "a.test.")}, nil, "[a.test:1 a.test:2] <nil>"},
		{"port 0", []*net.SRV{srv(0, 0, 0, "a.test."), srv(1, 0, 1, "b.test.")}, nil, "[b.test:1] resolve _s._tcp.d.test: a bad SRV record: a.test has port 0"},
	} {
		targets, err := serviceServers("_s._tcp.d.test", test.found, test.err)
		if got := fmt.Sprint(targets, " ", err); got != test.want {
			t.Errorf("%s: %s\nwant %s", test.name, got, test.want)
		}
	}
}

// What can't be looked up at all is an error, and no panic.
func TestLookupsOfBadProbes(t *testing.T) {
	var none *Probe
	var nobody context.Context
	over, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	for want, look := range map[string]func() ([]Target, error){
		"the *Probe is nil; ":          func() ([]Target, error) { return none.MX(t.Context(), "d.test", 25) },
		"the *Probe is nil;":           func() ([]Target, error) { return none.SRV(t.Context(), "_s._tcp.d.test") },
		"Probe.Total is -1ns, ":        func() ([]Target, error) { return (&Probe{Total: -1}).MX(t.Context(), "d.test", 25) },
		"the context is nil; ":         func() ([]Target, error) { return new(Probe).MX(nobody, "d.test", 25) },
		"the context is nil;":          func() ([]Target, error) { return new(Probe).SRV(nobody, "_s._tcp.d.test") },
		"the port is 0; ":              func() ([]Target, error) { return new(Probe).MX(t.Context(), "d.test", 0) },
		`resolve the mail servers of `: func() ([]Target, error) { return new(Probe).MX(over, "d.test", 25) },
	} {
		targets, err := look()
		if err == nil || !strings.HasPrefix(err.Error(), want) || len(targets) > 0 {
			t.Errorf("%v, %v, want an error that begins with %q", targets, err, want)
		}
	}
}
