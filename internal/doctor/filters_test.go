package doctor

import (
	"net"
	"net/netip"
	"slices"
	"testing"

	"greetd.example/internal/admin"
	"greetd.example/pkg/systemd"
)

// TestTryListeners: a TCP listener is tried if its unit has a filter, or if its socket is that of an earlier start.
func TestTryListeners(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	address := netip.MustParseAddrPort(ln.Addr().String())
	for _, test := range []struct {
		origin  systemd.Origin
		unit    string
		earlier bool
	}{
		{systemd.FDStore, "greetd.service", true},
		{systemd.OwnBind, "greetd.service", false},
		{systemd.SocketUnit, "greetd.socket", false},
	} {
		f := Facts{
			Daemon:    &admin.Status{Listeners: []admin.Listener{{Name: "greet", Address: address.String(), Origin: test.origin}, {Name: "u", Address: "unix:/run/u"}}},
			Process:   &Process{PID: 42, Unit: "greetd.service"},
			Systemd:   Systemd{Booted: true, Version: 257},
			Unit:      Unit{Name: "greetd.service", LoadState: "loaded", MainPID: 42},
			Sockets:   []Unit{{Name: "greetd.socket", ActiveState: "active", Listen: [][]any{{"Stream", address.String()}}}},
			Listening: []Socket{{Address: address}},
		}
		if f.tryListeners(t.Context()); (len(f.Trials) == 1) != test.earlier {
			t.Errorf("%s, without filters: %+v", test.origin, f.Trials)
		}
		f.Trials = nil
		f.Unit.IPAddressDeny, f.Sockets[0].IPAddressDeny = everywhere(), everywhere()
		f.tryListeners(t.Context())
		if len(f.Trials) != 1 || f.Trials[0].Unit.Name != test.unit || f.Trials[0].Earlier != test.earlier || !slices.Contains(f.Trials[0].Reached, address.Addr()) {
			t.Errorf("%s: %+v", test.origin, f.Trials)
		}
		f.Trials, f.Listening = nil, nil // as in another network namespace
		if f.tryListeners(t.Context()); len(f.Trials) > 0 {
			t.Errorf("%s: tried what is not there: %+v", test.origin, f.Trials)
		}
	}
}
