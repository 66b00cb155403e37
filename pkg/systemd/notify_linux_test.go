package systemd

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"greetd.example/internal/test/debian"
	"greetd.example/pkg/systemd/systemdtest"
)

// manage is a manager whose address is $NOTIFY_SOCKET.
func manage(t *testing.T, address string) *systemdtest.Manager {
	t.Helper()
	m := systemdtest.New(t, systemdtest.Unit{})
	if address != "" {
		m.Listen(address)
	}
	t.Setenv("NOTIFY_SOCKET", m.Address())
	return m
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
	for _, address := range []string{"", fmt.Sprintf("@greetd-test-%d", os.Getpid())} {
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
				if got := m.Next().Text; got != tc.want {
					t.Errorf("told %q, want %q", got, tc.want)
				}
			}
		})
	}
}

func TestReloadingTellsTheTime(t *testing.T) {
	m := manage(t, "")
	before := monotonicUsec(t)
	if err := notifier(t).Reloading(); err != nil {
		t.Fatal(err)
	}
	message := m.Next().Text
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
	m := manage(t, "")
	n := notifier(t)

	s := bind(t, "127.0.0.1:0", false)
	if err := n.store(s); err != nil {
		t.Fatal(err)
	}
	if got := m.Next(); got.Text != "FDSTORE=1\nFDNAME=greetd-own/127.0.0.1%3A0" || got.Descriptors != 1 {
		t.Fatalf("told %q with %d descriptors", got.Text, got.Descriptors)
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
	if message := m.Next().Text; message != "FDSTOREREMOVE=1\nFDNAME=greetd-own/127.0.0.1%3A0" {
		t.Errorf("told %q", message)
	}

	back := openSocket{Listener: s.Listener, Origin: FDStore, Name: "greetd-own/anything"}
	if err := n.forget(back); err != nil {
		t.Fatal(err)
	}
	if message := m.Next().Text; message != "FDSTOREREMOVE=1\nFDNAME=greetd-own/anything" {
		t.Errorf("told %q", message)
	}

	unit := openSocket{Listener: s.Listener, Origin: SocketUnit, Name: "greet"}
	if err := n.store(unit); err != nil {
		t.Error(err)
	}
	if err := n.forget(unit); err != nil {
		t.Error(err)
	}
	if err := n.Ping(); err != nil {
		t.Fatal(err)
	}
	if message := m.Next().Text; message != "WATCHDOG=1" {
		t.Errorf("told %q of what a socket unit holds", message)
	}
}

func TestStoredUnixSocketKeepsItsFile(t *testing.T) {
	m := manage(t, "")
	n := notifier(t)
	path := socketPath(t)
	s := bind(t, "unix:"+path, false)
	if err := n.store(s); err != nil {
		t.Fatal(err)
	}
	name := m.Next().Get("FDNAME")
	stored := m.StoredFile(name)
	if stored == nil {
		t.Fatalf("stored: %q", m.Stored())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	back := comeBack(t, stored, name)
	if back.Origin != FDStore || back.Address != "unix:"+path || back.isLost() {
		t.Errorf("came back as %+v", back)
	}
	if err := back.Close(); err != nil || !reaches(t, "unix", path) {
		t.Errorf("not reachable after the second Close (%v)", err)
	}
	if err := comeBack(t, stored, name).Remove(); err != nil || exists(path) {
		t.Errorf("after Remove (%v) the file is still there", err)
	}
}

// comeBack is the socket that systemd passes, with a copy of its own, under name.
func comeBack(t *testing.T, stored *os.File, name string) openSocket {
	t.Helper()
	s, err := inherit(stored, name)
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
			"Store": n.store(bind(t, "127.0.0.1:0", false)), "Forget": n.forget(openSocket{Origin: FDStore}),
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
	m := manage(t, "")
	n := notifier(t)
	m.Disconnect()
	if err := n.Ping(); err == nil || !strings.Contains(err.Error(), m.Address()) {
		t.Errorf("nobody is there: %v", err)
	}
	m.Listen(m.Address())
	if err := n.Ping(); err != nil {
		t.Fatal(err)
	}
	if message := m.Next().Text; message != "WATCHDOG=1" {
		t.Errorf("told %q", message)
	}
}

// The queue of a manager that doesn't read is full after a while.
func TestNotifyGivesUp(t *testing.T) {
	address := filepath.Join(filepath.Dir(socketPath(t)), "notify")
	deaf, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	t.Setenv("NOTIFY_SOCKET", address)
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

// full is a socket that nobody reads, and whose queue is full.
func full(t *testing.T) *net.UnixConn {
	t.Helper()
	address := filepath.Join(filepath.Dir(socketPath(t)), "notify")
	deaf, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { _ = deaf.Close() })
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	must(t, err)
	defer unix.Close(fd)
	for err == nil {
		err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrUnix{Name: address})
	}
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", address)
	return deaf
}

// pinging is a Ping that waits, in a thread that sends no other.
type pinging struct {
	thread int
	sent   chan error
}

func startPing(t *testing.T) *pinging {
	t.Helper()
	n := notifier(t)
	threads, p := make(chan int), &pinging{sent: make(chan error, 1)}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		threads <- unix.Gettid()
		p.sent <- n.Ping()
	}()
	p.thread = <-threads
	return p
}

// interrupt sends a signal to the thread when it waits in sendmsg(2).
func (p *pinging) interrupt(t *testing.T) {
	t.Helper()
	for waits := fmt.Sprintf("%d ", unix.SYS_SENDMSG); len(p.sent) == 0; {
		now, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/syscall", p.thread))
		if err != nil {
			debian.Lacking(t, "to see a thread's system call: %v", err)
		}
		if strings.HasPrefix(string(now), waits) {
			must(t, unix.Tgkill(os.Getpid(), p.thread, unix.SIGURG)) // the runtime's own: it does nothing
			return
		}
	}
}

// A signal between is no reason to lose a notification.
func TestNotifySurvivesSignals(t *testing.T) {
	deaf := full(t)
	p := startPing(t)
	for range 10 {
		p.interrupt(t)
	}
	if len(p.sent) > 0 {
		t.Fatalf("a signal ended it: %v", <-p.sent)
	}
	_, err := deaf.Read(make([]byte, 1))
	must(t, errors.Join(err, <-p.sent))
}

// Signals without end, as a profiler sends them, don't prolong the wait without end.
func TestNotifyGivesUpInAStormOfSignals(t *testing.T) {
	full(t)
	p := startPing(t)
	for began := time.Now(); len(p.sent) == 0; p.interrupt(t) {
		if time.Since(began) > 20*notifyTimeout {
			t.Fatal("it still waits")
		}
	}
	if err := <-p.sent; err == nil || !strings.HasPrefix(err.Error(), "notify systemd") {
		t.Errorf("error: %v", err)
	}
}

func TestNotifyFromManyAtOnce(t *testing.T) {
	m := manage(t, "")
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
		got := m.Next()
		if stored := strings.HasPrefix(got.Text, "FDSTORE=1"); stored != (got.Descriptors == 1) {
			t.Fatalf("told %q with %d descriptors", got.Text, got.Descriptors)
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
