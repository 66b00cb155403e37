package systemd

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
)

// roleVariable makes another process of the test binary.
const roleVariable = "GREETD_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "starter":
		os.Exit(startHeir())
	case "daemon":
		os.Exit(beDaemon())
	case "heir":
		os.Exit(beHeir())
	}
	os.Exit(m.Run())
}

// startHeir becomes the heir, as systemd does it: the process sets its own number,
// and executes.
func startHeir() int {
	_ = os.Setenv(roleVariable, "heir")
	if pid := os.Getenv("LISTEN_PID"); pid == "SELF" {
		_ = os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid()))
	}
	if own, ok := ownPIDFD(); ok && os.Getenv("LISTEN_PIDFDID") == "SELF" {
		_ = os.Setenv("LISTEN_PIDFDID", strconv.FormatUint(own, 10))
	}
	fmt.Fprintln(os.Stderr, syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
	return 1
}

// An inheritance is what the heir found.
type inheritance struct {
	Sockets []heirloom
	Open    int // sockets, among all descriptors
	Error   string
	Environ []string // what is left of LISTEN_*
}

type heirloom struct {
	Name      string
	Origin    Origin
	Address   string
	ReusePort bool
	Dead      bool
	Lost      bool
	Nonblock  bool
	CloseExec bool
}

// beHeir calls inheritAll and tells of it on standard output, then greets one client
// on each socket.
func beHeir() int {
	var found inheritance
	sockets, _, err := inheritAll()
	if err != nil {
		found.Error = err.Error()
	}
	for _, s := range sockets {
		h := heirloom{Name: s.Name, Origin: s.Origin, Address: s.Address, ReusePort: s.ReusePort, Dead: s.Listener == nil, Lost: s.isLost()}
		if !h.Dead {
			_ = control(s.Listener, func(fd int) error {
				status, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
				flags, _ := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
				h.Nonblock, h.CloseExec = status&unix.O_NONBLOCK != 0, flags&unix.FD_CLOEXEC != 0
				return nil
			})
		}
		found.Sockets = append(found.Sockets, h)
	}
	found.Open = strings.Count(strings.Join(descriptorsFrom(firstFD), " "), "socket:")
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "LISTEN_") {
			found.Environ = append(found.Environ, variable)
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		return 1
	}
	for _, s := range sockets {
		if s.Listener == nil || os.Getenv("GREETD_TEST_GREET") == "" {
			continue
		}
		c, err := s.Accept()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		_, _ = io.WriteString(c, "hello\n")
		_ = c.Close()
	}
	return 0
}

// heir is a process that inherits files, with LISTEN_PID= of its own and environ.
func heir(t *testing.T, files []*os.File, environ ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), roleVariable+"=starter", "LISTEN_PID=SELF", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, environ...)
	cmd.ExtraFiles = files
	cmd.Stderr = os.Stderr
	return cmd
}

func inherited(t *testing.T, files []*os.File, environ ...string) inheritance {
	t.Helper()
	out, err := heir(t, files, environ...).Output()
	if err != nil {
		t.Fatal(err)
	}
	var found inheritance
	if err := json.Unmarshal(out, &found); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	if found.Environ != nil {
		t.Errorf("left for children: %q", found.Environ)
	}
	return found
}

// socketFD is a new socket as a file, or nil if the kernel has none of the kind, or
// not for this user.
func socketFD(t *testing.T, domain, kind, protocol int, prepare ...func(fd int) error) *os.File {
	t.Helper()
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		t.Logf("no socket of family %d, type %d and protocol %d: %v", domain, kind, protocol, err)
		return nil
	}
	file := os.NewFile(uintptr(fd), "")
	t.Cleanup(func() { _ = file.Close() })
	for _, step := range prepare {
		if err := step(fd); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

func bindTo(address unix.Sockaddr) func(int) error {
	return func(fd int) error { return unix.Bind(fd, address) }
}

func startListening(fd int) error { return unix.Listen(fd, 16) }

func loopback4() func(int) error {
	return bindTo(&unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
}

func listening4(t *testing.T) *os.File {
	t.Helper()
	return socketFD(t, unix.AF_INET, unix.SOCK_STREAM, 0, loopback4(), startListening)
}

func addressOfFile(t *testing.T, file *os.File) string {
	t.Helper()
	ln, err := net.FileListener(file)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return addressOf(ln)
}

func TestInheritSockets(t *testing.T) {
	path := socketPath(t)
	shared := func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }
	files := []*os.File{
		listening4(t),
		socketFD(t, unix.AF_INET6, unix.SOCK_STREAM, 0, shared, bindTo(&unix.SockaddrInet6{}), startListening),
		socketFD(t, unix.AF_UNIX, unix.SOCK_STREAM, 0, bindTo(&unix.SockaddrUnix{Name: path}), startListening),
		listening4(t),
		listening4(t),
		listening4(t),
		socketFD(t, unix.AF_UNIX, unix.SOCK_STREAM, 0, bindTo(&unix.SockaddrUnix{Name: "@greetd-test-" + strconv.Itoa(os.Getpid())}), startListening),
	}
	cmd := heir(t, files, "GREETD_TEST_GREET=1", "LISTEN_PIDFDID=SELF", "LISTEN_FDS=7", "LISTEN_FDNAMES=greet:greet:local:unknown:greetd.socket::stored")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var found inheritance
	if err := json.NewDecoder(stdout).Decode(&found); err != nil {
		t.Fatal(err)
	}
	if found.Error != "" || found.Environ != nil {
		t.Errorf("error %q, left for children: %q", found.Error, found.Environ)
	}
	names := []string{"greet", "greet", "local", "", "", "", ""}
	if len(found.Sockets) != len(files) {
		t.Fatalf("inherited %+v", found.Sockets)
	}
	for i, file := range files {
		want := heirloom{Name: names[i], Origin: SocketUnit, Address: addressOfFile(t, file), ReusePort: i == 1, Nonblock: true, CloseExec: true}
		if found.Sockets[i] != want {
			t.Errorf("got  %+v\nwant %+v", found.Sockets[i], want)
		}
	}
	if got := found.Sockets[2].Address; got != "unix:"+path {
		t.Errorf("address = %q", got)
	}
	for _, s := range found.Sockets {
		network, address := "tcp", s.Address
		if at, isUnix := strings.CutPrefix(s.Address, "unix:"); isUnix {
			network, address = "unix", at
		}
		if got := hear(t, network, address); got != "hello\n" {
			t.Errorf("%s says %q", s.Address, got)
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if !exists(path) {
		t.Error("the socket unit's file is gone")
	}
}

func hear(t *testing.T, network, address string) string {
	t.Helper()
	c, err := net.Dial(network, address)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	text, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

func TestInheritStored(t *testing.T) {
	path := socketPath(t)
	local := bind(t, "unix:"+path, false)
	gone := bind(t, "unix:"+path+"2", false)
	if err := os.Remove(path + "2"); err != nil {
		t.Fatal(err)
	}
	files := []*os.File{
		listening4(t), fileOf(t, local), fileOf(t, gone), listening4(t),
		socketFD(t, unix.AF_INET, unix.SOCK_STREAM, 0, loopback4()), // shut down since
		listening4(t),
	}
	names := []string{
		storeName("127.0.0.1:10000", fileID{}), local.storeName(), gone.storeName(), "greet",
		storeName(":99", fileID{}), "greetd-own/%zz/9",
	}
	found := inherited(t, files, "LISTEN_FDS=6", "LISTEN_FDNAMES="+strings.Join(names, ":"))
	want := []heirloom{
		{Name: names[0], Origin: FDStore, Address: "127.0.0.1:10000"},
		{Name: names[1], Origin: FDStore, Address: "unix:" + path},
		{Name: names[2], Origin: FDStore, Address: "unix:" + path + "2", Lost: true},
		{Name: "greet", Origin: SocketUnit, Address: addressOfFile(t, files[3])},
		{Name: names[4], Origin: FDStore, Dead: true},
		{Name: names[5], Origin: FDStore},
	}
	for i := range found.Sockets {
		found.Sockets[i].Nonblock, found.Sockets[i].CloseExec = false, false
	}
	if found.Error != "" || !slices.Equal(found.Sockets, want) {
		t.Errorf("error %q, sockets\n%+v\nwant\n%+v", found.Error, found.Sockets, want)
	}
	if found.Open != 5 {
		t.Errorf("%d sockets are open, want the 5 that listen", found.Open)
	}
	if !exists(path) {
		t.Error("the heir's end took the file of a stored socket away")
	}
}

func fileOf(t *testing.T, s openSocket) *os.File {
	t.Helper()
	file := os.NewFile(uintptr(copyOf(t, s)), "")
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func TestInheritNothing(t *testing.T) {
	for _, environ := range [][]string{
		{"LISTEN_PID=1"},
		{"LISTEN_FDS=0"},
		{"LISTEN_FDS=", "LISTEN_FDNAMES=greet"},
	} {
		if found := inherited(t, nil, environ...); found.Error != "" || found.Sockets != nil {
			t.Errorf("%q: %+v", environ, found)
		}
	}
}

func TestInheritRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		file   *os.File
		reason string
	}{
		"datagram": {
			socketFD(t, unix.AF_INET, unix.SOCK_DGRAM, 0, loopback4()),
			`systemd passed descriptor 3 ("greet"), a datagram socket: use ListenStream= in its socket unit, not ListenDatagram=`,
		},
		"unix datagram": {
			socketFD(t, unix.AF_UNIX, unix.SOCK_DGRAM, 0, bindTo(&unix.SockaddrUnix{Name: socketPath(t)})),
			"a datagram socket",
		},
		"packets": {
			socketFD(t, unix.AF_UNIX, unix.SOCK_SEQPACKET, 0, bindTo(&unix.SockaddrUnix{Name: socketPath(t)}), startListening),
			"a socket of packets: use ListenStream= in its socket unit, not ListenSequentialPacket=",
		},
		"connection": {
			connectedFile(t),
			"a connection: set Accept=no in its socket unit",
		},
		"not listening": {
			socketFD(t, unix.AF_INET6, unix.SOCK_STREAM, 0),
			"a socket that does not listen",
		},
		"FIFO": {
			fifo(t),
			"a FIFO: use ListenStream= in its socket unit, not ListenFIFO=",
		},
		"special file": {
			opened(t, "/dev/null"),
			"a file: use ListenStream= in its socket unit",
		},
		"vsock": {
			socketFD(t, unix.AF_VSOCK, unix.SOCK_STREAM, 0),
			"a vsock socket: only TCP and unix sockets are served",
		},
		"netlink": {
			socketFD(t, unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT),
			"a socket of address family 16: only TCP and unix sockets are served",
		},
		"raw": {
			socketFD(t, unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
			"a socket of type 3: use ListenStream= in its socket unit",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.file == nil {
				debian.Lacking(t, "a kernel with such sockets")
			}
			found := inherited(t, []*os.File{tc.file}, "LISTEN_FDS=1", "LISTEN_FDNAMES=greet")
			if !strings.Contains(found.Error, tc.reason) || found.Sockets != nil {
				t.Errorf("error %q, sockets %+v, want %q", found.Error, found.Sockets, tc.reason)
			}
			found = inherited(t, []*os.File{listening4(t), tc.file, tc.file}, "LISTEN_FDS=3")
			lines := strings.Split(found.Error, "\n")
			if len(lines) != 2 || !strings.HasPrefix(lines[0], "systemd passed descriptor 4 (without a name), ") {
				t.Errorf("for two of them beside a good one: %q", found.Error)
			}
		})
	}
}

func fifo(t *testing.T) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	return opened(t, path)
}

func opened(t *testing.T, path string) *os.File {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	return file
}

func connectedFile(t *testing.T) *os.File {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(pair[0]), "")
	t.Cleanup(func() { _ = errors.Join(file.Close(), unix.Close(pair[1])) })
	return file
}

func TestInheritRefusesWhatDoesNotFit(t *testing.T) {
	for name, tc := range map[string]struct {
		files   int
		environ []string
		reason  string
	}{
		"fewer":            {1, []string{"LISTEN_FDS=2"}, "LISTEN_FDS=2, but descriptor 4 was not passed"},
		"none":             {0, []string{"LISTEN_FDS=1"}, "LISTEN_FDS=1, but descriptor 3 was not passed"},
		"by several fewer": {1, []string{"LISTEN_FDS=9"}, "LISTEN_FDS=9, but descriptor 4 was not passed"},
		"far fewer":        {1, []string{"LISTEN_FDS=2000000000"}, `LISTEN_FDS="2000000000" is not a number of descriptors`},
		"more":             {3, []string{"LISTEN_FDS=2"}, "LISTEN_FDS=2, but descriptor 5 is a listening socket too"},
		"no number":        {1, []string{"LISTEN_FDS=two"}, `LISTEN_FDS="two" is not a number of descriptors`},
		"negative":         {1, []string{"LISTEN_FDS=-1"}, `LISTEN_FDS="-1" is not a number of descriptors`},
		"no process":       {1, []string{"LISTEN_FDS=1", "LISTEN_PID="}, "LISTEN_FDS=1, but LISTEN_PID is not set"},
		"odd process":      {1, []string{"LISTEN_FDS=1", "LISTEN_PID=me"}, `LISTEN_PID="me" is not a process`},
		"another process":  {1, []string{"LISTEN_FDS=1", "LISTEN_PID=1"}, "the sockets are for process 1 (LISTEN_PID), and this is "},
		"odd pidfd":        {1, []string{"LISTEN_FDS=1", "LISTEN_PIDFDID=me"}, `LISTEN_PIDFDID="me" is not the number of a pidfd`},
		"too few names":    {2, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=greet"}, `LISTEN_FDS=2, but LISTEN_FDNAMES has 1 names: "greet"`},
		"too many names":   {1, []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=a:b"}, `LISTEN_FDS=1, but LISTEN_FDNAMES has 2 names: "a:b"`},
		"an empty name":    {2, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES="}, `LISTEN_FDS=2, but LISTEN_FDNAMES has 1 names: ""`},
		"fewer, but named": {1, []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=greetd-own/a:greetd-own/b"}, "LISTEN_FDS=2, but descriptor 4 was not passed"},
	} {
		t.Run(name, func(t *testing.T) {
			var files []*os.File
			for range tc.files {
				files = append(files, listening4(t))
			}
			found := inherited(t, files, tc.environ...)
			if !strings.HasPrefix(found.Error, tc.reason) || strings.Contains(found.Error, "\n") || found.Sockets != nil {
				t.Errorf("error %q, sockets %+v, want %q", found.Error, found.Sockets, tc.reason)
			}
		})
	}
}

// A process that has the number of the one that the sockets were for.
func TestInheritRefusesAnotherPIDFD(t *testing.T) {
	if _, ok := ownPIDFD(); !ok {
		debian.Lacking(t, "a kernel that numbers pidfds (6.9)")
	}
	found := inherited(t, []*os.File{listening4(t)}, "LISTEN_FDS=1", "LISTEN_PIDFDID=7")
	if !strings.HasPrefix(found.Error, "the sockets are for another process with the number ") || !strings.Contains(found.Error, "LISTEN_PIDFDID=7") || found.Sockets != nil {
		t.Errorf("error %q, sockets %+v", found.Error, found.Sockets)
	}
}

// The real thing, with names and on a port that systemd bound.
func TestInheritFromSystemdSocketActivate(t *testing.T) {
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		debian.Lacking(t, "systemd-socket-activate of systemd")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := socketPath(t)
	cmd := exec.CommandContext(t.Context(), activate, "--fdname=greet", "--listen="+path,
		"--setenv="+roleVariable+"=heir", "--setenv=GREETD_TEST_GREET=1", self, "-test.run=^$")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	words := bufio.NewReader(stderr)
	if line, err := words.ReadString('\n'); err != nil || !strings.HasPrefix(line, "Listening on "+path) {
		t.Fatalf("systemd-socket-activate says %q, %v", line, err)
	}
	if got := hear(t, "unix", path); got != "hello\n" {
		t.Errorf("it says %q", got)
	}
	var found inheritance
	if err := json.NewDecoder(stdout).Decode(&found); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, words)
	want := []heirloom{{Name: "greet", Origin: SocketUnit, Address: "unix:" + path, Nonblock: true, CloseExec: true}}
	if found.Error != "" || !slices.Equal(found.Sockets, want) {
		t.Errorf("found %+v, want %+v", found, want)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}
