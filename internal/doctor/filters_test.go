package doctor

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"greetd.example/pkg/systemd"
)

// TestTryListeners: each TCP listener is tried, and its control group compared with that of the unit that made it.
func TestTryListeners(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	address := netip.MustParseAddrPort(ln.Addr().String())
	for _, test := range []struct {
		name   string
		groups []uint64
		unit   uint64
		origin systemd.Origin
		want   bool
	}{
		{"the same", []uint64{7}, 7, systemd.FDStore, false},
		{"another", []uint64{6}, 7, systemd.FDStore, true},
		{"another, own bind", []uint64{6}, 7, systemd.OwnBind, true},
		{"both", []uint64{6, 7}, 7, systemd.FDStore, false},
		{"the kernel does not say", []uint64{0}, 7, systemd.FDStore, false},
		{"the unit can't be seen", []uint64{6}, 0, systemd.FDStore, false},
		{"that of the socket unit", []uint64{9}, 7, systemd.SocketUnit, false},
		{"not that of the socket unit", []uint64{7}, 7, systemd.SocketUnit, true},
	} {
		f := Facts{
			Daemon:  &Daemon{Listeners: []Listener{{Name: "greet", Address: address.String(), Origin: test.origin}, {Name: "u", Address: "unix:/run/u"}}},
			Process: &Process{PID: 42, Unit: "greetd.service"},
			Systemd: Systemd{Booted: true, Version: 257},
			Unit:    Unit{Name: "greetd.service", LoadState: "loaded", MainPID: 42, group: test.unit},
			Sockets: []Unit{{
				Name: "greetd.socket", ActiveState: "active", group: 9,
				Listen: [][]any{{"Stream", address.String()}},
			}},
		}
		for _, group := range test.groups {
			f.Listening = append(f.Listening, Socket{Address: address, Group: group})
		}
		// Without a filter, and in the control group of this start, there is nothing to try.
		f.tryListeners(t.Context())
		if len(f.Trials) != 1 || f.Trials[0].Earlier != test.want || (len(f.Trials[0].Reached) > 0) != test.want {
			t.Errorf("%s, without filters: %+v", test.name, f.Trials)
		}
		f.Trials = nil
		f.Unit.IPAddressDeny, f.Sockets[0].IPAddressDeny = everywhere(), everywhere()
		f.tryListeners(t.Context())
		if len(f.Trials) != 1 || f.Trials[0].Earlier != test.want || !slices.Contains(f.Trials[0].Reached, address.Addr()) {
			t.Errorf("%s: %+v", test.name, f.Trials)
		}
		f.Trials, f.Listening = nil, nil // as in another network namespace
		if f.tryListeners(t.Context()); len(f.Trials) > 0 {
			t.Errorf("%s: tried what is not there: %+v", test.name, f.Trials)
		}
	}
}
