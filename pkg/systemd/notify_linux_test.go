package systemd

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A manager is systemd's end of $NOTIFY_SOCKET.
type manager struct{ *net.UnixConn }

// manage sets $NOTIFY_SOCKET to address, and listens there.
func manage(t *testing.T, address string) manager {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address)
	return manager{conn}
}

func notifySocket(t *testing.T) string {
	t.Helper()
	return filepath.Join(filepath.Dir(socketPath(t)), "notify")
}

// next is the next datagram, and the descriptors that came with it.
func (m manager) next(t *testing.T) (string, []int) {
	t.Helper()
	_ = m.SetReadDeadline(time.Now().Add(time.Minute))
	message, rights := make([]byte, 4096), make([]byte, unix.CmsgSpace(4*8))
	n, r, flags, _, err := m.ReadMsgUnix(message, rights)
	if err != nil {
		t.Fatal(err)
	}
	if flags&unix.MSG_TRUNC != 0 {
		t.Error("systemd ignores messages of more than 4096 bytes")
	}
	var all []int
	controls, err := unix.ParseSocketControlMessage(rights[:r])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range controls {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fds...)
	}
	t.Cleanup(func() {
		for _, fd := range all {
			_ = unix.Close(fd)
		}
	})
	return string(message[:n]), all
}

func notifier(t *testing.T) *Notifier {
	t.Helper()
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNotify(t *testing.T) {
	for _, address := range []string{notifySocket(t), fmt.Sprintf("@greetd-test-%d", os.Getpid())} {
		t.Run(address, func(t *testing.T) {
			m := manage(t, address)
			n := notifier(t)
			for _, tc := range []struct {
				tell func() error
				want string
			}{
				{func() error { return n.Ready("greeting on :10000") }, "READY=1\nSTATUS=greeting on :10000"},
				{func() error { return n.Status("3 visits") }, "STATUS=3 visits"},
				{func() error { return n.Status("one\nWATCHDOG=trigger\r\n\x1b[31mtwo\x00") }, "STATUS=one WATCHDOG=trigger   [31mtwo "},
				{func() error { return n.Status("caf\xe9") }, "STATUS=caf\uFFFD"},
				{func() error { return n.Status(strings.Repeat("é", 3000)) }, "STATUS=" + strings.Repeat("é", 1024) + "…"},
				{func() error { return n.Status("x" + strings.Repeat("é", 3000)) }, "STATUS=x" + strings.Repeat("é", 1023) + "…"},
				{func() error { return n.Status("") }, "STATUS="},
				{func() error { return n.Stopping("draining") }, "STOPPING=1\nSTATUS=draining"},
				{func() error { return n.Extend(90 * time.Second) }, "EXTEND_TIMEOUT_USEC=90000000"},
				{func() error { return n.Extend(-1) }, "EXTEND_TIMEOUT_USEC=1"},
				{func() error { return n.Ping() }, "WATCHDOG=1"},
				{func() error { return n.Errno(unix.EADDRINUSE, "listen on :80") }, "ERRNO=98\nSTATUS=listen on :80"},
			} {
				if err := tc.tell(); err != nil {
					t.Fatal(err)
				}
				if got, _ := m.next(t); got != tc.want {
					t.Errorf("told %q, want %q", got, tc.want)
				}
			}
		})
	}
}

func TestReloadingTellsTheTime(t *testing.T) {
	m := manage(t, notifySocket(t))
	before := monotonicUsec(t)
	if err := notifier(t).Reloading(); err != nil {
		t.Fatal(err)
	}
	message, _ := m.next(t)
	stamp, ok := strings.CutPrefix(strings.TrimSpace(message), "RELOADING=1\nMONOTONIC_USEC=")
	at, err := strconv.ParseInt(stamp, 10, 64)
	if !ok || err != nil || at < before || at > monotonicUsec(t) {
		t.Errorf("told %q, after %d us", message, before)
	}
}

func monotonicUsec(t *testing.T) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano() / 1000
}

func TestStore(t *testing.T) {
	m := manage(t, notifySocket(t))
	n := notifier(t)

	s := bind(t, "127.0.0.1:0", false)
	if err := n.store(s); err != nil {
		t.Fatal(err)
	}
	message, fds := m.next(t)
	if message != "FDSTORE=1\nFDNAME=greetd-own/127.0.0.1%3A0" || len(fds) != 1 {
		t.Fatalf("told %q with %d descriptors", message, len(fds))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if !reaches(t, "tcp", s.Addr().String()) {
		t.Error("what systemd got takes no clients")
	}
	if err := n.forget(s); err != nil {
		t.Fatal(err)
	}
	if message, _ := m.next(t); message != "FDSTOREREMOVE=1\nFDNAME=greetd-own/127.0.0.1%3A0" {
		t.Errorf("told %q", message)
	}

	back := Socket{Listener: s.Listener, Origin: FDStore, Name: "greetd-own/anything"}
	if err := n.forget(back); err != nil {
		t.Fatal(err)
	}
	if message, _ := m.next(t); message != "FDSTOREREMOVE=1\nFDNAME=greetd-own/anything" {
		t.Errorf("told %q", message)
	}

	unit := Socket{Listener: s.Listener, Origin: SocketUnit, Name: "greet"}
	if err := n.store(unit); err != nil {
		t.Error(err)
	}
	if err := n.forget(unit); err != nil {
		t.Error(err)
	}
	if err := n.Ping(); err != nil {
		t.Fatal(err)
	}
	if message, _ := m.next(t); message != "WATCHDOG=1" {
		t.Errorf("told %q of what a socket unit holds", message)
	}
}

func TestStoredUnixSocketKeepsItsFile(t *testing.T) {
	m := manage(t, notifySocket(t))
	n := notifier(t)
	path := socketPath(t)
	s := bind(t, "unix:"+path, false)
	if err := n.store(s); err != nil {
		t.Fatal(err)
	}
	message, fds := m.next(t)
	_, name, _ := strings.Cut(message, "FDNAME=")
	if len(fds) != 1 {
		t.Fatalf("told %q with %d descriptors", message, len(fds))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	back := comeBack(t, fds[0], name)
	if back.Origin != FDStore || back.Address != "unix:"+path || back.lost {
		t.Errorf("came back as %+v", back)
	}
	if err := back.Close(); err != nil || !reaches(t, "unix", path) {
		t.Errorf("not reachable after the second Close (%v)", err)
	}
	if err := comeBack(t, fds[0], name).Remove(); err != nil || exists(path) {
		t.Errorf("after Remove (%v) the file is still there", err)
	}
}

// comeBack is the socket that systemd passes, with a copy of its own fd, under name.
func comeBack(t *testing.T, fd int, name string) Socket {
	t.Helper()
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(copied), "")
	defer file.Close()
	s, err := inherit(file, name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestNotifyOutsideSystemd(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	n := notifier(t)
	if n != nil {
		t.Fatalf("got %+v", n)
	}
	for _, n := range []*Notifier{n, new(Notifier)} {
		for what, err := range map[string]error{
			"Ready": n.Ready("x"), "Status": n.Status("x"), "Reloading": n.Reloading(), "Stopping": n.Stopping("x"),
			"Extend": n.Extend(time.Second), "Ping": n.Ping(), "Errno": n.Errno(1, "x"),
			"Store": n.store(bind(t, "127.0.0.1:0", false)), "Forget": n.forget(Socket{Origin: FDStore}),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
}

func TestNotifierRefusesOtherSockets(t *testing.T) {
	for _, address := range []string{"vsock:2:1", "run/notify", "3"} {
		t.Setenv("NOTIFY_SOCKET", address)
		if n, err := NewNotifier(); err == nil || !strings.Contains(err.Error(), strconv.Quote(address)) {
			t.Errorf("%s: %v, %v", address, n, err)
		}
	}
	t.Setenv("NOTIFY_SOCKET", "/"+strings.Repeat("x", 200))
	if err := notifier(t).Ping(); err == nil || !strings.HasPrefix(err.Error(), "notify systemd on /xxx") {
		t.Errorf("error: %v", err)
	}
}

func TestNotifyOutlivesItsManager(t *testing.T) {
	address := notifySocket(t)
	first := manage(t, address)
	n := notifier(t)
	_ = first.Close()
	_ = os.Remove(address)
	if err := n.Ping(); err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("nobody is there: %v", err)
	}
	second := manage(t, address)
	if err := n.Ping(); err != nil {
		t.Fatal(err)
	}
	if message, _ := second.next(t); message != "WATCHDOG=1" {
		t.Errorf("told %q", message)
	}
}

// The queue of a manager that doesn't read is full after a while.
func TestNotifyGivesUp(t *testing.T) {
	address := notifySocket(t)
	manage(t, address)
	n := notifier(t)
	for range 10_000 {
		if err := n.Ping(); err != nil {
			if !strings.Contains(err.Error(), "it has not read "+address+" for 1s") {
				t.Errorf("error: %v", err)
			}
			return
		}
	}
	t.Error("the queue has no end")
}

func TestNotifyFromManyAtOnce(t *testing.T) {
	m := manage(t, notifySocket(t))
	n := notifier(t)
	s := bind(t, "127.0.0.1:0", false)
	const each = 50
	var tellers sync.WaitGroup
	for range 4 {
		tellers.Go(func() {
			for range each {
				if err := n.Status("well"); err != nil {
					t.Error(err)
				}
				if err := n.store(s); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 4 * each * 2 {
		message, fds := m.next(t)
		if stored := strings.HasPrefix(message, "FDSTORE=1"); stored != (len(fds) == 1) {
			t.Fatalf("told %q with %d descriptors", message, len(fds))
		}
	}
	tellers.Wait()
}

func TestWatchdogInterval(t *testing.T) {
	mine := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
		wrong     bool
	}{
		{"", "", 0, false},
		{"20000000", "", 20 * time.Second, false},
		{"20000000", mine, 20 * time.Second, false},
		{"20000000", "1", 0, false},
		{"soon", mine, 0, true},
		{"-1", mine, 0, true},
		{"20000000", "me", 0, true},
	} {
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", tc.pid)
		got, err := WatchdogInterval()
		if got != tc.want || (err != nil) != tc.wrong {
			t.Errorf("WATCHDOG_USEC=%q WATCHDOG_PID=%q: %v, %v", tc.usec, tc.pid, got, err)
		}
	}
}

func FuzzStatusLine(f *testing.F) {
	f.Add("greeting\nREADY=1")
	f.Add(strings.Repeat("€", 1000))
	f.Add("\xff\x00")
	f.Fuzz(func(t *testing.T, text string) {
		line := []byte(statusLine(text))
		if bytes.ContainsAny(line, "\n\r\x00") || !bytes.Equal(line, bytes.ToValidUTF8(line, nil)) {
			t.Errorf("systemd would not take %q", line)
		}
		if len(line) > 4000 {
			t.Errorf("%d bytes", len(line))
		}
	})
}
