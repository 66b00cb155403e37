package doctor

import (
	"encoding/binary"
	"maps"
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

	"greetd.example/internal/test/debian"
)

func TestParseSpan(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "20s": 20 * time.Second, "1min 30s": 90 * time.Second, "250ms": 250 * time.Millisecond,
		"1us": time.Microsecond, "30": 30 * time.Second, "1h 2min 3s 4ms": time.Hour + 2*time.Minute + 3*time.Second + 4*time.Millisecond,
		"1w 2d": 9 * 24 * time.Hour, "2.5 min": 150 * time.Second, "infinity": math.MaxInt64, "99999999w": math.MaxInt64,
	} {
		if got, known := parseSpan(text); !known || got != want {
			t.Errorf("%q is %v, %v, want %v", text, got, known, want)
		}
	}
	for _, text := range []string{"", "s", "1 fortnight", "-1s", "1..2s", "[not set]"} {
		if got, known := parseSpan(text); known {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func TestParseShow(t *testing.T) {
	got := parseShow("Type=notify\nStatusText=a=b\nand more\nListen=[::]:1 (Stream)\nListen=/run/x (Stream)\nEmpty=\n\nnonsense\n")
	want := map[string]string{
		"Type": "notify", "StatusText": "a=b\nand more",
		"Listen": "[::]:1 (Stream)\n/run/x (Stream)", "Empty": "\n\nnonsense",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParseRateLimit(t *testing.T) {
	for text, want := range map[string]RateLimit{
		"": {true, 30 * time.Second, 10000},
		"[Journal]\n#RateLimitBurst=1\nRateLimitBurst=5\n# x\nRateLimitIntervalSec = 1min\nRateLimitBurst=7\n": {true, time.Minute, 7},
		"RateLimitInterval=0\nRateLimitBurst=many\n":                                                           {true, 0, 10000},
	} {
		if got := parseRateLimit(text); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}

func TestParseGroups(t *testing.T) {
	for text, want := range map[string]struct {
		group   string
		manager int
	}{
		"0::/system.slice/greetd.service\n":                                           {"greetd.service", -1},
		"0::/system.slice/system-greetd.slice/greetd@lobby.service\n":                 {"greetd@lobby.service", -1},
		"1:name=systemd:/user.slice/user-0.slice/session-1.scope\n0::/x\n":            {"session-1.scope", -1},
		"9:name=systemd:/\n8:pids:/y\n0::/system.slice/greetd.service\n":              {"greetd.service", -1},
		"0::/user.slice/user-1000.slice/user@1000.service/app.slice/greetd.service\n": {"greetd.service", 1000},
		"0::/user.slice/user-1000.slice/user@1000.service\n":                          {"user@1000.service", -1},
		"0::/\n":         {"", -1},
		"0::/../..\n":    {"", -1},
		"not this\n::\n": {"", -1},
		"":               {"", -1},
	} {
		if group, manager := parseGroups(text); group != want.group || manager != want.manager {
			t.Errorf("%q: got %q of %d, want %+v", text, group, manager, want)
		}
	}
}

// The files of processes that really ran, on 252 and 257.
func TestParseProcess(t *testing.T) {
	for _, version := range []string{"252-own", "257-own"} {
		p := well(t, version).Process
		if p.UID == 0 || !slices.Contains(p.GIDs, p.GIDs[0]) || !p.NoNewPrivs || !p.Filtered || p.Capabilities != 0 {
			t.Errorf("%s: status: %+v", version, p)
		}
		if p.Group != "greetd.service" || p.MaxFiles != 20000 || !*p.ReadOnlyRoot || p.Environ["WATCHDOG_USEC"] != "20000000" {
			t.Errorf("%s: %+v", version, p)
		}
	}
	text := "Uid:\t1\t0\t2\t3\nGid:\t4\t5\t6\t7\nGroups:\t8 9 \nCapEff:\t0000000000000400\nNoNewPrivs:\t0\nSeccomp:\t0\n"
	p := parseStatus(text)
	if p.UID != 0 || !slices.Equal(p.GIDs, []int{5, 8, 9}) || p.Capabilities != 0x400 || p.NoNewPrivs || p.Filtered {
		t.Errorf("%+v", p)
	}
	if got := parseMaxFiles("Max open files            unlimited            unlimited            files\n"); got < 1<<40 {
		t.Errorf("unlimited is %d", got)
	}
	if got := parseReadOnlyRoot("1 0 0:1 / / ro,relatime - x x rw\n2 1 0:1 / / rw,relatime - x x rw\n3 2 0:1 / /tmp ro - x x rw\n"); *got {
		t.Error("the mount above counts, and that is writable")
	}
}

func TestLooksAtItself(t *testing.T) {
	p := look(os.Getpid())
	if p == nil || p.UID != os.Geteuid() || p.Environ["PATH"] != os.Getenv("PATH") || p.MaxFiles == 0 || p.ReadOnlyRoot == nil {
		t.Errorf("%+v", p)
	}
	if gone := look(math.MaxInt32); gone != nil {
		t.Errorf("nobody is %+v", gone)
	}
}

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
		if !slices.Contains(all, Backlog{address, length}) {
			t.Errorf("%v with %d is not among %v", address, length, all)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, place := range places {
		f.Add(read(f, place, "greetd.service"))
	}
	for _, name := range []string{"status", "limits", "cgroup", "mountinfo", "environ"} {
		f.Add(read(f, "257-own", name))
	}
	f.Add("Watch=1min 30s\nA=~B")
	f.Fuzz(func(t *testing.T, text string) {
		for key := range parseShow(text) {
			if !isProperty(key) {
				t.Errorf("property %q", key)
			}
		}
		if span, known := parseSpan(text); span < 0 || !known && span != 0 {
			t.Errorf("%v, %v", span, known)
		}
		if limit := parseRateLimit(text); limit.Interval < 0 {
			t.Errorf("%v", limit)
		}
		if group, _ := parseGroups(text); strings.Contains(group, "/") {
			t.Errorf("group %q", group)
		}
		parseStatus(text)
		parseMaxFiles(text)
		parseReadOnlyRoot(text)
		parseEnviron([]byte(text))
	})
}

// Whatever systemd says of a unit: there is a finding of each check.
func FuzzExamine(f *testing.F) {
	for _, place := range places {
		f.Add(read(f, place, "greetd.service"), read(f, place, "greetd.socket"), true)
	}
	f.Fuzz(func(t *testing.T, service, socket string, running bool) {
		facts := Facts{Systemd: Systemd{Booted: true, Version: 252}}
		if running {
			facts = well(t, "252-own")
		}
		facts.Unit.Properties = parseShow(service)
		facts.Sockets = []Unit{{Name: "greetd.socket", Properties: parseShow(socket)}}
		facts.Process = &Process{PID: facts.Unit.number("MainPID"), Group: facts.Unit.Name, Environ: map[string]string{}}
		seen := make(map[string]bool)
		for _, finding := range Examine(facts).Findings {
			seen[finding.Check] = true
		}
		if len(seen) != len(checks) {
			t.Errorf("only %v", seen)
		}
	})
}

func FuzzParseDiag(f *testing.F) {
	message := make([]byte, diagMessageLen)
	message[0], message[1] = unix.AF_INET, tcpListen
	binary.BigEndian.PutUint16(message[4:], 10000)
	f.Add(message)
	f.Fuzz(func(t *testing.T, message []byte) {
		if b, valid := parseDiag(message); valid && !b.Address.IsValid() {
			t.Errorf("%v of %s", b, strconv.Quote(string(message)))
		}
	})
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
