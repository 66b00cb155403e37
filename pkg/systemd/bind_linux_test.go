package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

func bind(t *testing.T, address string, reusePort bool) openSocket {
	t.Helper()
	s, err := bindSocket(t.Context(), ListenConfig{Address: address, ReusePort: reusePort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Remove() })
	return s
}

// refused binds address in vain.
func refused(t *testing.T, address string, errno syscall.Errno, words ...string) {
	t.Helper()
	s, err := bindSocket(t.Context(), ListenConfig{Address: address})
	if err == nil {
		_ = s.Remove()
		t.Fatalf("bound %s", address)
	}
	if !strings.HasPrefix(err.Error(), "listen on "+address+": ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("error %q lacks %q", err, word)
		}
	}
	var got syscall.Errno
	if errors.As(err, &got); got != errno {
		t.Errorf("errno of %q = %d, want %d", err, got, errno)
	}
}

func reaches(t *testing.T, network, address string) bool {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func port(s openSocket) string {
	return strconv.Itoa(s.Addr().(*net.TCPAddr).Port)
}

func option(t *testing.T, s openSocket, level, name int) int {
	t.Helper()
	var value int
	err := control(s.Listener, func(fd int) (err error) {
		value, err = unix.GetsockoptInt(fd, level, name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// inNetwork runs the rest of the test in a network namespace of its own, with
// loopback up.
func inNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test's goroutine
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		debian.Lacking(t, "a network namespace of its own: %v", err)
	}
	sysctl(t, "net/ipv6/conf/all/accept_dad", "0")
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

// sysctl sets name in the network of this thread.
func sysctl(t *testing.T, name, value string) {
	t.Helper()
	if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
		debian.Lacking(t, "to set %s: %v", name, err)
	}
}

func TestBindAddresses(t *testing.T) {
	for _, tc := range []struct {
		address    string
		ipv4, ipv6 bool
	}{
		{":0", true, true},
		{"0.0.0.0:0", true, false},
		{"[::]:0", false, true},
		{"127.0.0.1:0", true, false},
		{"[::1]:0", false, true},
		{"localhost:0", true, false},
	} {
		t.Run(tc.address, func(t *testing.T) {
			s := bind(t, tc.address, false)
			if s.Origin != OwnBind || s.Address != tc.address || s.Name != "" || s.ReusePort {
				t.Errorf("got %+v", s)
			}
			if got := reaches(t, "tcp4", "127.0.0.1:"+port(s)); got != tc.ipv4 {
				t.Errorf("reachable by IPv4: %v", got)
			}
			if got := reaches(t, "tcp6", "[::1]:"+port(s)); got != tc.ipv6 {
				t.Errorf("reachable by IPv6: %v", got)
			}
			if option(t, s, unix.SOL_SOCKET, unix.SO_REUSEADDR) != 1 {
				t.Error("without SO_REUSEADDR, a restart waits for TIME_WAIT")
			}
			if option(t, s, unix.SOL_SOCKET, unix.SO_PROTOCOL) != unix.IPPROTO_TCP {
				t.Error("not plain TCP")
			}
		})
	}
}

func TestBindIPv4AndIPv6Apart(t *testing.T) {
	four := bind(t, "0.0.0.0:0", false)
	six := bind(t, "[::]:"+port(four), false)
	if port(four) != port(six) {
		t.Errorf("ports %s and %s", port(four), port(six))
	}
}

func TestBindReusePort(t *testing.T) {
	first := bind(t, "127.0.0.1:0", true)
	second := bind(t, "127.0.0.1:"+port(first), true)
	if !second.ReusePort {
		t.Errorf("got %+v", second)
	}
	refused(t, "127.0.0.1:"+port(first), unix.EADDRINUSE)
}

func TestBindBacklogIsSomaxconn(t *testing.T) {
	bind(t, "127.0.0.1:0", false) // Go remembers the backlog of the first network that it sees
	inNetwork(t)
	sysctl(t, "net/core/somaxconn", "7777")
	s := bind(t, "127.0.0.1:0", false)
	err := control(s.Listener, func(fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Sacked != 7777 { // of a listener, that is its backlog
			t.Errorf("backlog = %d, want 7777", info.Sacked)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestBindRestartsInTimeWait(t *testing.T) {
	s := bind(t, "127.0.0.1:0", false)
	client, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	served, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = served.Close() // first, so that TIME_WAIT is the server's
	_ = client.Close()
	_ = s.Close()
	bind(t, s.Addr().String(), false)
}

func TestBindRefused(t *testing.T) {
	live := bind(t, "127.0.0.1:0", false)
	refused(t, "127.0.0.1:"+port(live), unix.EADDRINUSE,
		"address already in use: ", "ss -ltnp 'sport = :"+port(live)+"'")

	for _, address := range []string{"", "10000", "::1:10000", "127.0.0.1:", "[::1]", "127.0.0.1:x:y"} {
		refused(t, address, 0, "an address is host:port, [v6]:port or unix:/path")
	}
	refused(t, "127.0.0.1:65536", 0, "invalid port: an address is host:port")
	refused(t, "127.0.0.1:nosuchservice", 0, ": unknown port")
	refused(t, "no-such-host.invalid:10000", 0, "lookup no-such-host.invalid")
}

func TestBindRefusedByNetwork(t *testing.T) {
	inNetwork(t)
	refused(t, "192.0.2.7:10000", unix.EADDRNOTAVAIL,
		"192.0.2.7 is not an address of this machine", "FreeBind=yes", "ip_nonlocal_bind")
	refused(t, "[ff02::1]:10000", unix.EINVAL, "listen on [ff02::1]:10000: bind: invalid argument")
	refused(t, "[2001:db8::7]:10000", unix.EADDRNOTAVAIL,
		"2001:db8::7 is not an address of this machine", "FreeBind=yes")

	sysctl(t, "net/ipv6/conf/all/disable_ipv6", "1")
	refused(t, "[::1]:10000", unix.EADDRNOTAVAIL, "disable_ipv6")
	s := bind(t, ":0", false)
	if !reaches(t, "tcp4", "127.0.0.1:"+port(s)) {
		t.Error("with IPv6 off, :port does not serve IPv4")
	}
}

func TestBindPrivilegedPort(t *testing.T) {
	inNetwork(t)
	sysctl(t, "net/ipv4/ip_unprivileged_port_start", "1024")
	withoutCapabilities(t)
	refused(t, "127.0.0.1:1023", unix.EACCES, "port 1023 is privileged", "publish it as 1023: -p 1023:10000", "CAP_NET_BIND_SERVICE")
}

// withoutCapabilities drops what root may do from this thread, for good.
func withoutCapabilities(t *testing.T) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		debian.Lacking(t, "to drop capabilities: %v", err)
	}
}

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "greetd-systemd-") //nolint:usetesting // t.TempDir is too long for sun_path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "g.sock")
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestBindUnix(t *testing.T) {
	path := socketPath(t)
	s := bind(t, "unix:"+path, false)
	if s.Address != "unix:"+path || s.Addr().String() != path {
		t.Errorf("got %+v at %s", s, s.Addr())
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("mode = %v, %v", info.Mode(), err)
	}
	if !reaches(t, "unix", path) {
		t.Error("not reachable")
	}

	refused(t, "unix:"+path, unix.EADDRINUSE, "ss -xlp 'src = "+path+"'")
	if !reaches(t, "unix", path) {
		t.Error("not reachable after somebody else wanted the path")
	}

	if err := s.Close(); err != nil || exists(path) {
		t.Errorf("after Close (%v) the file is still there", err)
	}
}

// leaveStale leaves the file of a socket that nobody listens on, as a crash does.
func leaveStale(t *testing.T, path string) {
	t.Helper()
	s := bind(t, "unix:"+path, false)
	_ = s.Listener.Close()
	if !exists(path) {
		t.Fatal("there is no file")
	}
}

func TestBindUnixReplacesStaleFile(t *testing.T) {
	path := socketPath(t)
	leaveStale(t, path)
	s := bind(t, "unix:"+path, false)
	if !reaches(t, "unix", path) {
		t.Error("not reachable in place of a stale file")
	}
	if err := s.Remove(); err != nil || exists(path) {
		t.Errorf("after Remove (%v) the file is still there", err)
	}
	if err := s.Remove(); err != nil {
		t.Errorf("the second Remove: %v", err)
	}
}

func TestUnixLeavesFileOfSuccessor(t *testing.T) {
	for name, end := range map[string]func(openSocket) error{"Close": openSocket.Close, "Remove": openSocket.Remove} {
		t.Run(name, func(t *testing.T) {
			path := socketPath(t)
			first := bind(t, "unix:"+path, false)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			bind(t, "unix:"+path, false)
			if err := end(first); err != nil || !reaches(t, "unix", path) {
				t.Errorf("%s (%v) took the file away from the successor", name, err)
			}
		})
	}
}

func TestBindUnixWithFullBacklog(t *testing.T) {
	path := socketPath(t)
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	if !reaches(t, "unix", path) {
		t.Fatal("the backlog took nobody")
	}
	refused(t, "unix:"+path, unix.EADDRINUSE)
}

func TestBindUnixLeavesOtherFiles(t *testing.T) {
	path := socketPath(t)
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "unix:"+path, unix.EEXIST, "is not a socket")
	if content, err := os.ReadFile(path); err != nil || string(content) != "precious" {
		t.Errorf("the file is now %q, %v", content, err)
	}
}

func TestBindUnixLeavesDatagramSockets(t *testing.T) {
	path := socketPath(t)
	c, err := net.ListenPacket("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	refused(t, "unix:"+path, unix.EADDRINUSE)
}

func TestBindUnixRefused(t *testing.T) {
	path := socketPath(t)
	refused(t, "unix:", 0, "must be absolute")
	refused(t, "unix:g.sock", 0, "must be absolute")
	refused(t, "unix:@", 0, "must be absolute")
	refused(t, "unix:/"+strings.Repeat("x", 107), 0, "at most 107 bytes, and this has 108")
	refused(t, "unix:"+path+".d/g.sock", unix.ENOENT, filepath.Dir(path), "RuntimeDirectory=")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "unix:"+path+"/g.sock", unix.ENOTDIR, "part of "+path+" is a file")
	refused(t, "unix:/proc/self/g.sock", unix.ENOENT)
}

func TestBindUnixWithoutPermission(t *testing.T) {
	path := socketPath(t)
	if err := os.Chmod(filepath.Dir(path), 0o500); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	if os.Getuid() == 0 {
		withoutCapabilities(t)
	}
	refused(t, "unix:"+path, unix.EACCES, "$RUNTIME_DIRECTORY", filepath.Dir(path))
}

func TestBindUnixReadOnly(t *testing.T) {
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		debian.Lacking(t, "a mount namespace of its own: %v", err)
	}
	path := socketPath(t)
	dir := filepath.Dir(path)
	err := errors.Join(
		unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""),
		unix.Mount("none", dir, "tmpfs", unix.MS_RDONLY, ""))
	if err != nil {
		debian.Lacking(t, "to mount: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) })
	refused(t, "unix:"+path, unix.EROFS, dir+" can't be written", "$RUNTIME_DIRECTORY")
}

// Whoever comes first has the path, and all the others are told so.
func TestBindUnixRace(t *testing.T) {
	path := socketPath(t)
	leaveStale(t, path)

	type result struct {
		openSocket
		error
	}
	results := make(chan result)
	const rivals = 8
	for range rivals {
		go func() {
			s, err := bindSocket(context.Background(), ListenConfig{Address: "unix:" + path})
			results <- result{s, err}
		}()
	}
	var winners []openSocket
	for range rivals {
		switch r := <-results; {
		case r.error == nil:
			winners = append(winners, r.openSocket)
		case !errors.Is(r.error, unix.EADDRINUSE):
			t.Error(r.error)
		}
	}
	if len(winners) != 1 || !reaches(t, "unix", path) {
		t.Errorf("%d have bound the path", len(winners))
	}
	for _, s := range winners {
		_ = s.Remove()
	}
}

func TestBindUnixGivesUpOnALock(t *testing.T) {
	path := socketPath(t)
	unlock, err := lock(t.Context(), path+".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := bindSocket(ctx, ListenConfig{Address: "unix:" + path}); !errors.Is(err, enough) {
		t.Errorf("error: %v", err)
	}
}

// A copy of the descriptor, as systemd keeps it, listens no longer after Remove.
func TestRemoveEndsEveryCopy(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", ":0", "unix:" + socketPath(t)} {
		t.Run(address, func(t *testing.T) {
			s := bind(t, address, false)
			at := s.Addr().String()
			network := s.Addr().Network()
			copied := copyOf(t, s)

			accepted := make(chan error)
			go func() {
				_, err := s.Accept()
				accepted <- err
			}()
			if err := s.Remove(); err != nil {
				t.Fatal(err)
			}
			if err := <-accepted; !errors.Is(err, net.ErrClosed) {
				t.Errorf("Accept: %v, want net.ErrClosed", err)
			}
			if reaches(t, network, at) {
				t.Error("a copy still takes clients")
			}
			if network == "tcp" && unfitSocket(copied) == "" {
				t.Error("a copy still listens")
			}
			if network == "unix" {
				at = "unix:" + at
			}
			bind(t, at, false) // while the copy is still open
		})
	}
}

func TestRemoveLeaksNoDescriptors(t *testing.T) {
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	const rounds = 100
	path := socketPath(t)
	before := open()
	for range rounds {
		for _, address := range []string{"127.0.0.1:0", "unix:" + path} {
			if err := bind(t, address, false).Remove(); err != nil {
				t.Fatal(err)
			}
		}
		refused(t, "unix:"+path+"/x", unix.ENOENT)
	}
	if after := open(); after > before+rounds/2 { // fewer are others' doing
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

func TestCloseLeavesCopies(t *testing.T) {
	for _, origin := range []Origin{FDStore, SocketUnit} {
		for _, address := range []string{"127.0.0.1:0", "unix:" + socketPath(t)} {
			t.Run(fmt.Sprint(origin, " ", address), func(t *testing.T) {
				s := bind(t, address, false)
				mine := s
				mine.Origin = origin
				if s.file != nil {
					s.file.stored.Store(true)
				}
				copied := copyOf(t, s)
				end := mine.Close
				if origin == SocketUnit {
					end = mine.Remove
				}
				if err := end(); err != nil {
					t.Fatal(err)
				}
				if !reaches(t, s.Addr().Network(), s.Addr().String()) {
					t.Error("systemd's copy takes no clients")
				}
				_ = unix.Shutdown(copied, unix.SHUT_RDWR)
			})
		}
	}
}

// copyOf is a copy of the descriptor, as systemd has it.
func copyOf(t *testing.T, s openSocket) int {
	t.Helper()
	var copied int
	err := control(s.Listener, func(fd int) (err error) {
		copied, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(copied) })
	return copied
}
