//go:build linux

// Package systemdtest is a service manager for tests: it starts a daemon as systemd does,
// passes sockets, keeps the fd store, receives notifications, reloads and restarts the daemon,
// and acts as its watchdog. So you can test the sockets, reloads and restarts of a daemon
// without root and without booting systemd. It needs Linux and /bin/sh.
//
// The daemon is a child process. The test binary can also be the daemon:
//
//	func TestMain(m *testing.M) {
//		if os.Getenv("ROLE") == "daemon" {
//			os.Exit(run()) // what main calls
//		}
//		os.Exit(m.Run())
//	}
//
//	func TestRestartKeepsTheSocket(t *testing.T) {
//		m := systemdtest.New(t, systemdtest.Unit{Environ: []string{"ROLE=daemon"}})
//		if err := m.Start(); err != nil { // returns at READY=1
//			t.Fatal(err)
//		}
//		...
//		if err := m.Restart(); err != nil {
//
// It does not support dependencies between units, control groups, sandboxes and LISTEN_PIDFDID. To
// test these, boot systemd in a container.
package systemdtest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A Unit has the settings of a .service unit and its .socket units that the Manager supports.
type Unit struct {
	Command []string // ExecStart=; nil: this test binary, without running tests
	Environ []string // Environment=, added to the environment of the test
	Sockets []Socket // the sockets of its socket units
	NoStore bool     // FileDescriptorStoreMax=0

	Watchdog time.Duration // WatchdogSec=; 0: none
	Timeout  time.Duration // TimeoutSec= for start, reload and stop; 0: 30s
}

// A Socket is a socket that a socket unit passes. File belongs to the caller and must stay open: as
// with systemd, clients wait in its backlog while the daemon does not run.
type Socket struct {
	Name string // FileDescriptorName=
	File *os.File
}

// A Message is one notification.
type Message struct {
	Text        string
	Descriptors int // the number of descriptors in it; see Stored
}

// Get returns the value of KEY= in the message, or "".
func (m Message) Get(key string) string {
	for line := range strings.SplitSeq(m.Text, "\n") {
		if value, ok := strings.CutPrefix(line, key+"="); ok {
			return value
		}
	}
	return ""
}

// A Manager runs one unit. Use its methods from one goroutine, except Messages and Stored.
type Manager struct {
	t       testing.TB
	unit    Unit
	address string
	conn    *net.UnixConn
	reading sync.WaitGroup

	mu       sync.Mutex
	changed  *sync.Cond
	messages []Message
	read     int // how many of them Next has returned
	store    []stored
	process  *process // the goroutine that uses m sets it
}

type stored struct {
	name string
	file *os.File
	poll bool
}

// A process is one run of the daemon.
type process struct {
	cmd      *exec.Cmd
	first    int // index of its first message
	ended    bool
	err      error
	watchdog *time.Timer
	overdue  bool
	stderr   strings.Builder
}

// New returns a Manager for u. The daemon is not started yet. When the test ends, the daemon is
// killed, and all descriptors are closed.
func New(tb testing.TB, u Unit) *Manager {
	tb.Helper()
	dir, err := os.MkdirTemp("", "systemdtest-") //nolint:usetesting // t.TempDir is too long for a socket's path
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	m := &Manager{t: tb, unit: u}
	if m.unit.Timeout == 0 {
		m.unit.Timeout = 30 * time.Second
	}
	if m.unit.Command == nil {
		self, err := os.Executable()
		if err != nil {
			tb.Fatal(err)
		}
		m.unit.Command = []string{self, "-test.run=^$"}
	}
	m.changed = sync.NewCond(&m.mu)
	m.Listen(filepath.Join(dir, "notify"))
	tb.Cleanup(m.close)
	return m
}

// Listen replaces the notification socket by one at address, a path or @name.
func (m *Manager) Listen(address string) {
	m.t.Helper()
	if m.conn != nil {
		m.Disconnect()
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		m.t.Fatal(err)
	}
	m.address, m.conn = address, conn
	m.reading.Go(func() { m.receive(conn) })
}

// Disconnect closes the notification socket, as if the manager had crashed.
func (m *Manager) Disconnect() {
	_ = m.conn.Close()
	m.reading.Wait()
	_ = os.Remove(m.address)
}

// Address returns the value of $NOTIFY_SOCKET.
func (m *Manager) Address() string { return m.address }

func (m *Manager) close() {
	if p := m.process; p != nil {
		_ = p.cmd.Process.Kill() // if it has not ended
		_ = m.waitEnd(p)
	}
	m.Disconnect()
	for _, s := range m.store {
		_ = s.file.Close()
	}
}

// receive handles notifications until conn is closed.
func (m *Manager) receive(conn *net.UnixConn) {
	text, rights := make([]byte, 8192), make([]byte, unix.CmsgSpace(64*4))
	for {
		n, r, flags, _, err := conn.ReadMsgUnix(text, rights)
		if err != nil {
			return
		}
		passed := files(rights[:r])
		message := Message{Text: string(text[:n]), Descriptors: len(passed)}
		if n > 4096 || flags&unix.MSG_TRUNC != 0 {
			m.t.Errorf("a notification of %d bytes: systemd ignores more than 4096", n)
		}
		m.handle(message, passed)
	}
}

func files(rights []byte) []*os.File {
	var all []*os.File
	controls, _ := unix.ParseSocketControlMessage(rights)
	for _, c := range controls {
		fds, err := unix.ParseUnixRights(&c)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			all = append(all, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return all
}

func (m *Manager) handle(message Message, passed []*os.File) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := message.Get("FDNAME")
	switch {
	case message.Get("FDSTOREREMOVE") == "1":
		m.store = slices.DeleteFunc(m.store, func(s stored) bool {
			if s.name == name {
				_ = s.file.Close()
			}
			return s.name == name
		})
	case message.Get("FDSTORE") == "1" && !m.unit.NoStore:
		for _, f := range passed {
			m.keep(stored{name: name, file: f, poll: message.Get("FDPOLL") != "0"})
		}
		passed = nil
	case message.Get("WATCHDOG") == "1" && m.process != nil && m.process.watchdog != nil:
		m.process.watchdog.Reset(m.unit.Watchdog)
	}
	for _, f := range passed {
		_ = f.Close()
	}
	m.messages = append(m.messages, message)
	m.changed.Broadcast()
}

// keep adds s to the fd store. If the store has the same descriptor already, it closes the new one.
func (m *Manager) keep(s stored) {
	for _, other := range m.store {
		if other.name == s.name && sameFile(other.file, s.file) {
			_ = s.file.Close()
			return
		}
	}
	m.store = append(m.store, s)
}

func sameFile(a, b *os.File) bool {
	statA, errA := a.Stat()
	statB, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(statA, statB)
}

// duplicate returns a copy of f, and does not change whether it blocks.
func duplicate(f *os.File) *os.File {
	dup := -1
	_ = withFD(f, func(fd int) (err error) {
		dup, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if dup < 0 {
		return nil
	}
	return os.NewFile(uintptr(dup), f.Name())
}

func withFD(f *os.File, do func(fd int) error) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = do(int(fd)) })
	return errors.Join(err, failed)
}

// hungUp reports whether systemd would remove the descriptor from the store, because the socket was
// shut down.
func (s stored) hungUp() bool {
	up := false
	_ = withFD(s.file, func(fd int) error {
		poll := []unix.PollFd{{Fd: int32(fd)}}
		_, err := unix.Poll(poll, 0)
		up = poll[0].Revents&(unix.POLLHUP|unix.POLLERR) != 0
		return err
	})
	return up && s.poll
}

// Setenv changes the environment for the next Start.
func (m *Manager) Setenv(key, value string) {
	m.unit.Environ = append(slices.Clone(m.unit.Environ), key+"="+value)
}

// Stored returns the names in the fd store, in the order in which they were stored.
func (m *Manager) Stored() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, s := range m.store {
		names = append(names, s.name)
	}
	return names
}

// StoredFile returns the first descriptor with this name in the fd store, or nil. It still belongs
// to the store.
func (m *Manager) StoredFile(name string) *os.File {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.store {
		if s.name == name {
			return s.file
		}
	}
	return nil
}

// Messages returns all notifications that were received.
func (m *Manager) Messages() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages)
}

// Next returns the next notification, each of them once. It fails the test if none arrives in time.
func (m *Manager) Next() Message {
	m.t.Helper()
	var next Message
	err := m.await("a notification", func() (bool, error) {
		if m.read == len(m.messages) {
			return false, nil
		}
		next = m.messages[m.read]
		m.read++
		return true, nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return next
}

// WaitFor waits for a notification of the running daemon with KEY=value, and returns it.
func (m *Manager) WaitFor(key, value string) (Message, error) {
	from := 0
	if m.process != nil {
		from = m.process.first
	}
	found, _, err := m.waitFrom(from, key+"="+value, func(message Message) bool { return message.Get(key) == value })
	return found, err
}

// waitFrom returns the first message from index on that is wanted, and the index after it.
func (m *Manager) waitFrom(from int, what string, wanted func(Message) bool) (found Message, next int, err error) {
	p := m.process
	err = m.await(what, func() (bool, error) {
		for i := from; i < len(m.messages); i++ {
			if wanted(m.messages[i]) {
				found, next = m.messages[i], i+1
				return true, nil
			}
		}
		if p != nil && p.ended {
			return false, fmt.Errorf("the daemon ended before %s: %w\n%s", what, p.why(), p.stderr.String())
		}
		return false, nil
	})
	return found, next, err
}

func (p *process) why() error {
	switch {
	case p.overdue:
		return ErrWatchdog
	case p.err == nil:
		return errors.New("with exit status 0")
	default:
		return p.err
	}
}

// ErrWatchdog is the error of a daemon that did not send WATCHDOG=1 in time.
var ErrWatchdog = errors.New("no WATCHDOG=1 within WatchdogSec=: killed with SIGABRT")

// await waits until done, which is called with mu held.
func (m *Manager) await(what string, done func() (bool, error)) error {
	late := false
	timer := time.AfterFunc(m.unit.Timeout, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		late = true
		m.changed.Broadcast()
	})
	defer timer.Stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		ok, err := done()
		switch {
		case ok || err != nil:
			return err
		case late:
			return fmt.Errorf("no %s within %v", what, m.unit.Timeout)
		}
		m.changed.Wait()
	}
}

// Start starts the daemon, passes the sockets and the fd store to it, and returns at READY=1. The
// error contains what the daemon wrote to stderr.
func (m *Manager) Start() error {
	p, err := m.launch()
	if err != nil {
		return err
	}
	_, _, err = m.waitFrom(p.first, "READY=1", func(message Message) bool { return message.Get("READY") == "1" })
	return err
}

func (m *Manager) launch() (*process, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.process != nil && !m.process.ended {
		return nil, errors.New("the daemon runs already")
	}
	m.store = slices.DeleteFunc(m.store, stored.hungUp)
	var names []string
	var passed []*os.File
	for _, s := range m.unit.Sockets {
		names, passed = append(names, s.Name), append(passed, s.File)
	}
	for _, s := range m.store {
		names, passed = append(names, s.name), append(passed, s.file)
	}
	p := &process{first: len(m.messages)}
	// The variables hold the number of the process that will be the daemon.
	script := `export SYSTEMD_EXEC_PID=$$; [ -z "$LISTEN_FDS" ] || export LISTEN_PID=$$; [ -z "$WATCHDOG_USEC" ] || export WATCHDOG_PID=$$; exec "$@"`
	p.cmd = exec.Command("/bin/sh", append([]string{"-c", script, "sh"}, m.unit.Command...)...) //nolint:noctx // close kills it
	p.cmd.Env = append(m.environ(names), m.unit.Environ...)
	for _, f := range passed { // ExtraFiles would make the sockets blocking, for all processes
		if dup := duplicate(f); dup != nil {
			defer dup.Close()
			p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, dup)
		}
	}
	p.cmd.Stderr = &p.stderr
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	m.process = p
	if m.unit.Watchdog > 0 {
		p.watchdog = time.AfterFunc(m.unit.Watchdog, func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			p.overdue = true
			_ = p.cmd.Process.Signal(syscall.SIGABRT)
		})
	}
	go m.reap(p) // close waits
	return p, nil
}

func (m *Manager) environ(names []string) []string {
	var environ []string
	for _, variable := range os.Environ() {
		key, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(key, "LISTEN_") && !strings.HasPrefix(key, "WATCHDOG_") && key != "NOTIFY_SOCKET" && key != "FDSTORE" {
			environ = append(environ, variable)
		}
	}
	environ = append(environ, "NOTIFY_SOCKET="+m.address)
	if !m.unit.NoStore {
		environ = append(environ, "FDSTORE=512")
	}
	if len(names) > 0 {
		environ = append(environ, "LISTEN_FDS="+strconv.Itoa(len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"))
	}
	if m.unit.Watchdog > 0 {
		environ = append(environ, fmt.Sprintf("WATCHDOG_USEC=%d", m.unit.Watchdog.Microseconds()))
	}
	return environ
}

func (m *Manager) reap(p *process) {
	err := p.cmd.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.watchdog != nil {
		p.watchdog.Stop()
	}
	p.ended, p.err = true, err
	m.changed.Broadcast()
}

func (m *Manager) waitEnd(p *process) error {
	return m.await("end of the daemon", func() (bool, error) { return p.ended, nil })
}

// Reload does what `systemctl reload` does with Type=notify-reload: it sends SIGHUP, and
// waits for RELOADING=1 with a MONOTONIC_USEC= that is not before the signal, and for
// READY=1 after it.
func (m *Manager) Reload() error {
	from := len(m.Messages())
	sent := monotonicUsec()
	if err := m.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	_, from, err := m.waitFrom(from, "RELOADING=1 with MONOTONIC_USEC=", func(message Message) bool {
		at, err := strconv.ParseInt(message.Get("MONOTONIC_USEC"), 10, 64)
		return message.Get("RELOADING") == "1" && err == nil && at >= sent
	})
	if err != nil {
		return err
	}
	_, _, err = m.waitFrom(from, "READY=1 after RELOADING=1", func(message Message) bool { return message.Get("READY") == "1" })
	return err
}

func monotonicUsec() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	return now.Nano() / 1000
}

// Stop sends SIGTERM and waits until the daemon has ended. An exit status other than 0 is an error.
func (m *Manager) Stop() error { return m.Kill(syscall.SIGTERM) }

// Restart calls Stop and Start. The new process gets the sockets and the content of the fd store.
func (m *Manager) Restart() error {
	if err := m.Stop(); err != nil {
		return err
	}
	return m.Start()
}

// Kill sends a signal that ends the daemon, and waits until it has ended. It returns the error of
// exec.Cmd.Wait, which is not nil after SIGKILL.
func (m *Manager) Kill(sig syscall.Signal) error {
	if err := m.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return m.Wait()
}

// Signal sends a signal to the daemon.
func (m *Manager) Signal(sig syscall.Signal) error {
	if m.process == nil {
		return errors.New("the daemon does not run")
	}
	return m.process.cmd.Process.Signal(sig)
}

// Wait waits until the daemon has ended. It returns nil if the daemon ended by itself with status
// 0, and ErrWatchdog if the watchdog killed it.
func (m *Manager) Wait() error {
	p := m.process
	if err := m.waitEnd(p); err != nil {
		_ = p.cmd.Process.Kill()
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.overdue {
		return ErrWatchdog
	}
	if p.err != nil {
		return fmt.Errorf("%w\n%s", p.err, p.stderr.String())
	}
	return nil
}

// PID returns the process ID of the daemon, or 0 before Start.
func (m *Manager) PID() int {
	if m.process == nil {
		return 0
	}
	return m.process.cmd.Process.Pid
}
