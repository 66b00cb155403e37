package probe_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/testserver"
	"greetd.example/pkg/probe"
)

// inNetwork runs the rest of the test in a network namespace of its own, with loopback up.
func inNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		debian.Lacking(t, "a network namespace of its own: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		t.Fatal(err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		t.Fatal(err)
	}
}

// Where nobody listens, the kernel may take the very port for the probe's own end, and
// connect it to itself. Here it has no other port to take.
func TestConnectionToItselfIsRefused(t *testing.T) {
	inNetwork(t)
	const port = 45678
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", fmt.Appendf(nil, "%d %d", port, port), 0); err != nil {
		debian.Lacking(t, "a network with one port: %v", err)
	}
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		target := parse(t, fmt.Sprintf("%s:%d", host, port))
		p := probe.Probe{SendFirst: true, Send: "hi\n", HangUp: probe.Abruptly}
		if r := p.Do(t.Context(), target); r.Status != probe.Refused {
			t.Errorf("%s: %s %v from %s, want %s", host, r.Status, r.Err, r.Local, probe.Refused)
		}
	}
}

// The ports of a source address are enough for as many connections to each target: here one
// port, which another connection has already.
func TestSourcePortsAreShared(t *testing.T) {
	inNetwork(t)
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_local_port_range", []byte("45678 45678"), 0); err != nil {
		debian.Lacking(t, "a network with one port: %v", err)
	}
	first := parse(t, testserver.ListenOn(t, "tcp", "127.0.0.1:20001", testserver.Silent).Addr)
	second := testserver.ListenOn(t, "tcp", "127.0.0.1:20002", testserver.Greet("hi\n"))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(
		unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 9}}),
		unix.Connect(fd, &unix.SockaddrInet4{Addr: first.Addr.As4(), Port: int(first.Port)}),
	); err != nil {
		t.Fatal(err)
	}
	p := probe.Probe{Source: addr("127.0.0.9")}
	if r := p.Do(t.Context(), parse(t, second.Addr)); r.Status != probe.OK || r.Local != "127.0.0.9:45678" {
		t.Errorf("%s %v from %s", r.Status, r.Err, r.Local)
	}
}

// A child process that starts during a probe has no copy of its socket.
func TestSocketsAreCloseOnExec(t *testing.T) {
	inherited := make(chan string, 1)
	server := testserver.Listen(t, func(c net.Conn) {
		child := exec.CommandContext(t.Context(), "ls", "-l", "/proc/self/fd")
		list, err := child.Output()
		inherited <- fmt.Sprintf("%s%v", list, err)
		testserver.Greet("hi\n")(c)
	})
	r := new(probe.Probe).Do(t.Context(), parse(t, server.Addr))
	if list := <-inherited; r.Status != probe.OK || strings.Contains(list, "socket:") || !strings.HasSuffix(list, "<nil>") {
		t.Errorf("%s %v; a child has\n%s", r.Status, r.Err, list)
	}
}

// Whoever listens on a unix socket and is busy is waited for, as with TCP.
func TestFullUnixBacklogIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{hosts: map[string]host{"192.0.2.9": {behavior: testserver.Greet("hi\n")}}}
		defer n.open.Wait()
		began, dials := time.Now(), 0
		p := n.probe()
		p.Dial = func(ctx context.Context, network, path string) (net.Conn, error) {
			if dials++; network != "unix" || path != "/run/s" || time.Since(began) < 3*time.Second {
				return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", unix.EAGAIN)}
			}
			return n.dial(ctx, network, "192.0.2.9:25")
		}
		r := p.Do(t.Context(), parse(t, "unix:/run/s"))
		if r.Status != probe.OK || r.Timing.Connect == nil || *r.Timing.Connect != 3*time.Second {
			t.Errorf("%s %v, connected after %v, want 3s", r.Status, r.Err, r.Timing.Connect)
		}
		if dials > 400 {
			t.Errorf("it was tried %d times in 3s", dials)
		}
		p.Connect = 2 * time.Second
		began = time.Now()
		r = p.Do(t.Context(), parse(t, "unix:/run/s"))
		if took := time.Since(began); r.Status != probe.ConnectTimeout || took != 2*time.Second || r.Err.Error() != "no answer within 2s" {
			t.Errorf("%s %v after %s", r.Status, r.Err, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		stop := time.AfterFunc(500*time.Millisecond, cancel)
		defer stop.Stop()
		began = time.Now()
		if r = p.Do(ctx, parse(t, "unix:/run/s")); r.Status != probe.Canceled || time.Since(began) != 500*time.Millisecond {
			t.Errorf("interrupted: %s %v after %s", r.Status, r.Err, time.Since(began))
		}
	})
}

// A busy listener's real backlog.
func TestFullUnixBacklog(t *testing.T) {
	path := t.TempDir() + "/s"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	filler, err := new(net.Dialer).DialContext(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	p := probe.Probe{Connect: 30 * time.Millisecond}
	r := p.Do(t.Context(), parse(t, "unix:"+path))
	if r.Status != probe.ConnectTimeout {
		t.Errorf("%s %v, want %s", r.Status, r.Err, probe.ConnectTimeout)
	}
}

// What the kernel knows of an attempt that lost is not told of the connection that won.
func TestLosersDoNotCount(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(testserver.Listen(t, testserver.Greet("hi\n")).Addr)
	testserver.Blackhole(t, "tcp6", "[::1]:"+port, nil, 0)
	late := &network{lookups: map[string]lookup{"ip6": {addrs: []string{"::1"}}, "ip4": {after: 1300 * time.Millisecond, addrs: []string{"127.0.0.1"}}}}
	p := probe.Probe{Resolve: late.resolve}
	r := p.Do(t.Context(), parse(t, "mail.example:"+port)) // the SYN to ::1 is sent again after a second
	if r.Status != probe.OK || len(r.Attempts) != 2 || r.TCP == nil || r.TCP.SynRetrans != 0 {
		t.Errorf("%s %v after %d attempts, TCP %+v, want no SYN sent again", r.Status, r.Err, len(r.Attempts), r.TCP)
	}
}

// withDescriptors lets this process open n descriptors more, until the test ends.
func withDescriptors(t *testing.T, n int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	low := before
	low.Cur = uint64(len(entries) + n)
	if n == 0 {
		low.Cur = 0
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) })
}

// A resolver that can't open a file takes each name for unknown: that is no fault of the name.
func TestUnknownForWantOfDescriptors(t *testing.T) {
	p := (&network{}).probe()
	target := parse(t, "mail.example:25")
	if r := p.Do(t.Context(), target); r.Status != probe.ResolveFailed {
		t.Errorf("%s %v, want %s", r.Status, r.Err, probe.ResolveFailed)
	}
	withDescriptors(t, 0)
	if r := p.Do(t.Context(), target); r.Status != probe.LocalError || !errors.Is(r.Err, unix.EMFILE) {
		t.Errorf("%s %v, want %s", r.Status, r.Err, probe.LocalError)
	}
}

// No more targets are begun than there are descriptors for: none has to be probed twice, and eight are left
// for the rest of the process.
func TestManyBeginsWhatThereAreDescriptorsFor(t *testing.T) {
	withDescriptors(t, 60)
	synctest.Test(t, func(t *testing.T) {
		d := desk{free: 60}
		var began atomic.Int64
		lowered := 0
		m := probe.Many{Parallel: 400, Lowered: func(n int) { lowered = n }, Do: func(ctx context.Context, t probe.Target) []probe.Result {
			began.Add(1)
			return d.do(ctx, t)
		}}
		m.Run(t.Context(), slices.Values(targets(t, 1000)), func(r probe.Result) {
			if r.Status != probe.OK {
				t.Errorf("%s %v", r.Status, r.Err)
			}
		})
		if n := began.Load(); n != 1000 || lowered < 40 || lowered > 60-8 || d.crowd != lowered {
			t.Errorf("1000 targets were probed %d times, %d at once, with room for %d", n, d.crowd, lowered)
		}
	})
}

// Ten thousand targets stay parallel, though the descriptors would be used up if those of
// the first were not counted as free again.
func TestManyStaysParallel(t *testing.T) {
	withDescriptors(t, 500)
	named := parse(t, "mail.example:25")
	for _, test := range []struct {
		name     string
		targets  []probe.Target
		parallel int
	}{
		{"addresses", targets(t, 10_000), 400},
		{"names", slices.Repeat([]probe.Target{named}, 1000), 100},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := desk{free: 500}
			began, count := time.Now(), 0
			m := probe.Many{Do: d.do, Parallel: test.parallel, Lowered: func(n int) { t.Errorf("%s: lowered to %d", test.name, n) }}
			m.Run(t.Context(), slices.Values(test.targets), func(r probe.Result) {
				if count++; r.Status != probe.OK {
					t.Errorf("%s %v", r.Status, r.Err)
				}
			})
			if took, want := time.Since(began), time.Duration(len(test.targets)/test.parallel)*time.Second; count != len(test.targets) || took != want {
				t.Errorf("%s: %d results in %s, want %s", test.name, count, took, want)
			}
		})
	}
}
