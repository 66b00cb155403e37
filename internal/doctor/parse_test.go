package doctor

import (
	"encoding/binary"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/config"
	"greetd.example/internal/test/debian"
)

func TestSeesBacklogs(t *testing.T) {
	want := make(map[netip.AddrPort]int)
	for i, network := range []string{"tcp4", "tcp6", "tcp"} {
		ln, err := net.Listen(network, map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0", "tcp": ":0"}[network])
		if err != nil {
			debian.Lacking(t, "%s: %v", network, err)
		}
		defer ln.Close()
		conn, err := ln.(*net.TCPListener).SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Control(func(fd uintptr) { err = unix.Listen(int(fd), 5+i) }); err != nil {
			t.Fatal(err)
		}
		want[ln.Addr().(*net.TCPAddr).AddrPort()] = 5 + i
	}
	all, err := listening()
	if err != nil {
		t.Fatal(err)
	}
	for address, length := range want {
		if !slices.ContainsFunc(all, func(s diagSocket) bool { return s.Address == address && s.Backlog == length && s.inode > 0 }) {
			t.Errorf("%v with %d is not among %v", address, length, all)
		}
	}
}

func TestParseRateLimit(t *testing.T) {
	for text, want := range map[string]RateLimit{
		"": {true, 30 * time.Second, 10000},
		"[Journal]\n#RateLimitBurst=1\nRateLimitBurst=5\n# x\nRateLimitIntervalSec = 1m\nRateLimitBurst=7\n": {true, time.Minute, 7},
		"[Journal]\nRateLimitInterval=0\nRateLimitBurst=many\n":                                              {true, 0, 10000},
	} {
		if got := parseRateLimit(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

// What D-Bus has of a unit, by go-systemd, in the types that it comes in.
func TestDecodeUnit(t *testing.T) {
	u, err := decode("greetd.service", map[string]any{
		"Id": "greetd.service", "Names": []string{"greetd.service", "x.service"}, "LoadState": "loaded", "MainPID": uint32(7),
		"WatchdogUSec": uint64(20_000_000), "MemoryCurrent": uint64(math.MaxUint64), "DynamicUser": true, "ExecMainStatus": int32(78),
		"ExecStart":               executes("/usr/sbin/greetd", "--config", "x"),
		"RestrictAddressFamilies": []any{true, []string{"AF_UNIX"}}, "IPAddressDeny": networks("10.0.0.0/8"),
		"Listen": [][]any{{"Stream", "[::]:1"}, {"Datagram", "[::]:2"}}, "Accept": false, "Conditions": [][]any{},
	})
	if err != nil {
		t.Fatal(err)
	}
	path, args := command(u.ExecStart)
	if u.Name != "greetd.service" || len(u.Names) != 2 || !u.loaded() || u.MainPID != 7 || u.WatchdogUSec.duration() != 20*time.Second ||
		u.MemoryCurrent != unset || !u.DynamicUser || u.ExecMainStatus != 78 || path != "/usr/sbin/greetd" || len(args) != 3 ||
		!u.allowsFamily("AF_UNIX") || u.allowsFamily("AF_INET") || !slices.Equal(prefixes(u.IPAddressDeny), []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}) ||
		!slices.Equal(u.streams(), []string{"[::]:1"}) {
		t.Errorf("%+v", u)
	}
}

func TestLooksAtItself(t *testing.T) {
	p := look(os.Getpid())
	if p == nil || p.UID != os.Geteuid() || p.GIDs[0] != os.Getegid() || !slices.Contains(p.Environ, "PATH="+os.Getenv("PATH")) || p.MaxFiles == 0 {
		t.Errorf("%+v", p)
	}
	if gone := look(math.MaxInt32); gone != nil {
		t.Errorf("nobody is %+v", gone)
	}
}

func TestFindsHolders(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	f := Facts{Root: true, Config: Config{Loaded: config.Loaded{Config: config.Config{Listeners: []config.Listener{{Name: "greet", Address: ln.Addr().String()}}}}}}
	f.lookAtPorts(t.Context(), nil)
	i := slices.IndexFunc(f.Listening, func(s Socket) bool { return s.Address.String() == ln.Addr().String() })
	if i < 0 || f.Listening[i].PID != os.Getpid() || f.Listening[i].Program == "" {
		t.Errorf("%v is not mine in %+v", ln.Addr(), f.Listening)
	}
}

func TestOverlap(t *testing.T) {
	for _, test := range []struct {
		address, used string
		want          bool
	}{
		{":80", "192.0.2.1:80", true},
		{":80", "[2001:db8::1]:80", true},
		{":80", "0.0.0.0:81", false},
		{"0.0.0.0:80", "192.0.2.1:80", true},
		{"0.0.0.0:80", "[2001:db8::1]:80", false},
		{"0.0.0.0:80", "[::]:80", true}, // of both families, unless IPV6_V6ONLY is set
		{"[::]:80", "0.0.0.0:80", false},
		{"192.0.2.1:80", "192.0.2.1:80", true},
		{"192.0.2.1:80", "192.0.2.2:80", false},
		{"192.0.2.1:80", "0.0.0.0:80", true},
		{"[2001:db8::1]:80", "0.0.0.0:80", false},
		{"[fe80::1%eth0]:80", "[fe80::1]:80", true},
		{"localhost:80", "127.0.0.1:80", false},
		{"unix:/run/x", "127.0.0.1:80", false},
	} {
		if got := overlap(test.address, netip.MustParseAddrPort(test.used)); got != test.want {
			t.Errorf("overlap(%s, %s) = %v", test.address, test.used, got)
		}
	}
}

func FuzzParseDiag(f *testing.F) {
	message, err := binary.Append(nil, binary.NativeEndian, diagMessage{Family: unix.AF_INET, State: tcpListen, SourcePort: [2]byte{39, 16}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(message)
	f.Fuzz(func(t *testing.T, message []byte) {
		if s, valid := parseDiag(message); valid && !s.Address.IsValid() {
			t.Errorf("%v of %s", s, strconv.Quote(string(message)))
		}
	})
}

// What an instance that does not run would load is its own file, and not that of the
// caller.
func TestEnviron(t *testing.T) {
	instance := func(change func(f *Facts)) Facts {
		f := well("252-own")
		f.Unit.ExecStart = executes("/usr/sbin/greetd", "--config", "/etc/greetd/lobby.yaml")
		f.Unit.Environment = []string{"A=1", "GREETD_CONFIG=x"}
		f.Process.Environ = []string{"B=2"}
		change(&f)
		return f
	}
	for name, test := range map[string]struct {
		f    Facts
		want []string
	}{
		"running":      {instance(func(*Facts) {}), []string{"B=2", "GREETD_CONFIG=/etc/greetd/lobby.yaml"}},
		"stopped":      {instance(stopped), []string{"A=1", "GREETD_CONFIG=/etc/greetd/lobby.yaml"}},
		"hidden":       {instance(forbidden), []string{"A=1", "GREETD_CONFIG=/etc/greetd/lobby.yaml"}},
		"a shell's":    {instance(func(f *Facts) { f.Process.Unit = "session-1.scope" }), []string{"B=2"}},
		"before start": {instance(beforeStart), nil},
		"no unit":      {Facts{}, nil},
	} {
		if got := test.f.environ(); !slices.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestBuiltFrom(t *testing.T) {
	info, _ := debug.ReadBuildInfo()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		program, module string
		want            bool
	}{
		{self, info.Main.Path, true},
		{self, "example.org/login", false},
		{self, strings.TrimSuffix(info.Main.Path, "e"), false},
		{"/bin/sh", info.Main.Path, false},
	} {
		program, err := os.ReadFile(test.program)
		if err != nil {
			t.Fatal(err)
		}
		if got := builtFrom(program, test.module); got != test.want {
			t.Errorf("%s is built from %s: %v, want %v", test.program, test.module, got, test.want)
		}
	}
}
