package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The tests in this file hold what needs a process of its own: its descriptors, its
// memory, its CPU.

// process is a greetd in the background.
type process struct {
	*exec.Cmd
	address string
	file    string // its configuration
	log     *syncBuffer
}

// syncBuffer is what a process writes, to be read meanwhile.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const mostKept = 8 << 20 // of the latest
	if s.b.Len() > mostKept {
		s.b.Next(mostKept / 2)
	}
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// builtDirectory is where built puts its work.
var builtDirectory = sync.OnceValue(func() string {
	directory, err := os.MkdirTemp("", "greetd-test")
	if err != nil {
		panic(err)
	}
	return directory
})

// built is the path of a greetd without the race detector's appetite.
var built = sync.OnceValues(func() (string, error) {
	greetd := filepath.Join(builtDirectory(), "greetd")
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", greetd, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return greetd, nil
})

// start runs greetd with a configuration, with at most so many descriptors.
func start(t *testing.T, configuration string, descriptors int) *process {
	t.Helper()
	p := prepare(t, configuration, descriptors)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	p.isReady(t)
	return p
}

// prepare is start, but for the start.
func prepare(t *testing.T, configuration string, descriptors int) *process {
	t.Helper()
	greetd, err := built()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "greetd.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &process{file: file, log: &syncBuffer{}}
	p.Cmd = exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$0" --config %s`, descriptors, file), greetd)
	p.Stderr = p.log
	t.Cleanup(func() {
		if p.Process != nil {
			_ = p.Process.Kill()
			_ = p.Wait()
		}
		if t.Failed() {
			t.Logf("greetd said:\n%.10000s", p.log)
		}
	})
	return p
}

// isReady waits until it is.
func (p *process) isReady(t *testing.T) {
	t.Helper()
	p.awaits(t, "greetd is ready")
	_, rest, _ := strings.Cut(p.log.String(), "listening on ")
	p.address, _, _ = strings.Cut(rest, " ")
}

func (p *process) awaits(t *testing.T, text string) {
	t.Helper()
	p.until(t, "the log says "+text, func() bool { return strings.Contains(p.log.String(), text) })
}

func (p *process) until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(20 * time.Millisecond) { // another process has to move
		if time.Now().After(end) {
			t.Fatalf("in two minutes it did not happen that %s", what)
		}
	}
}

func (p *process) connect(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", p.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (p *process) proc(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.Process.Pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (p *process) descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// cpu is the processor time that was used so far.
func (p *process) cpu(t *testing.T) time.Duration {
	t.Helper()
	_, rest, _ := strings.Cut(p.proc(t, "stat"), ") ") // see proc_pid_stat(5)
	fields := strings.Fields(rest)
	var ticks int
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// rss is the memory in use, in KiB, without the pages of the program's file: limits.ReleaseStartup unmaps them, and any
// first use maps some of them again.
func (p *process) rss(t *testing.T) int {
	t.Helper()
	return p.figure(t, "RssAnon:")
}

// figure is the number after a name in proc_pid_status(5).
func (p *process) figure(t *testing.T, name string) int {
	t.Helper()
	_, rest, _ := strings.Cut(p.proc(t, "status"), name)
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// The kernel's table grows before many clients come, and not while they do.
func TestDescriptorTableIsMadeBeforeTheClients(t *testing.T) {
	enoughDescriptors(t, 8000)
	configuration := func(connections int) string {
		return fmt.Sprintf("listeners: [{name: greet, address: \"127.0.0.1:0\"}]\nlimits: {connections: %d}\n", connections)
	}
	p := start(t, configuration(3000), 8000)
	slots := func() int { return p.figure(t, "FDSize:") }
	p.until(t, "there is room for 3,000", func() bool { return slots() >= 3000 })
	if n := slots(); n >= 7000 {
		t.Errorf("there is room for %d at once", n)
	}
	if err := os.WriteFile(p.file, []byte(configuration(7000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := p.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.until(t, "a reload makes room for 7,000", func() bool { return slots() >= 7000 })
}

func TestOutOfDescriptors(t *testing.T) {
	// Proxies that send no header hold a visit, and so a descriptor, as long as they like.
	p := start(t, `
listeners: [{name: greet, address: "127.0.0.1:0", proxy_trusted: [127.0.0.0/8]}]
timeouts: {handshake: 10m}
log: {visits: none}
`, 64)
	before := p.descriptors(t)
	var held []net.Conn
	for range 100 { // the backlog takes those that have no descriptor
		held = append(held, p.connect(t))
	}
	p.awaits(t, "too many open files")

	used := p.cpu(t)
	time.Sleep(3 * time.Second)
	used = p.cpu(t) - used
	t.Logf("%v of CPU in 3s without descriptors", used)
	if used > time.Second {
		t.Error("greetd does not rest while it is out of descriptors")
	}

	for _, c := range held {
		_ = c.Close()
	}
	p.until(t, "descriptors are as before", func() bool { return p.descriptors(t) <= before+1 })
	c := p.connect(t)
	if _, err := io.WriteString(c, "PROXY UNKNOWN\r\n"); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(c); err != nil || string(text) != "Hello there, 127.0.0.1!\n" {
		t.Errorf("afterwards a client hears %q, %v", text, err)
	}
	p.awaits(t, "accepting connections on greet again")
	if n := strings.Count(p.log.String(), "too many open files"); n != 1 {
		t.Errorf("the beginning was logged %d times", n)
	}
	if n := strings.Count(p.log.String(), "accepting connections on greet again"); n != 1 {
		t.Errorf("the end was logged %d times", n)
	}
}

func enoughDescriptors(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil || limit.Cur < n {
		t.Fatalf("this needs %d descriptors: raise the hard limit (%+v, %v)", n, limit, err)
	}
}

func TestTenThousandClientsThatNeverHangUp(t *testing.T) {
	const clients = 10_000
	enoughDescriptors(t, clients+500)
	p := start(t, `
listeners: [{name: greet, address: "127.0.0.1:0"}]
log: {visits: problems}
`, 20_000)
	_, _ = io.Copy(io.Discard, p.connect(t)) // what the first client costs is there to stay
	descriptors, rss := p.descriptors(t), p.rss(t)
	held := make([]net.Conn, 0, clients)
	for range clients {
		c, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	for i, c := range held {
		text, err := io.ReadAll(c)
		if err != nil || string(text) != "Hello there, 127.0.0.1!\n" {
			t.Fatalf("client %d hears %q, %v", i, text, err)
		}
	}
	p.until(t, "descriptors are as before", func() bool { return p.descriptors(t) <= descriptors+1 })
	const mebibytes = 1 << 10
	p.until(t, "memory is as before", func() bool { return p.rss(t) <= rss+4*mebibytes })
	t.Logf("%d KiB before, %d after", rss, p.rss(t))
	for _, c := range held {
		_ = c.Close()
	}
}

func TestClientsThatHoldOnKeepNobodyOut(t *testing.T) {
	const limit, times = 100, 20
	p := start(t, fmt.Sprintf(`
listeners: [{name: greet, address: "127.0.0.1:0"}]
limits: {connections: %d}
timeouts: {linger: 10m}
log: {visits: problems}
`, limit), 20_000)
	hears := func(what string, c net.Conn) {
		t.Helper()
		if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(c); err != nil || string(text) != "Hello there, 127.0.0.1!\n" {
			t.Fatalf("%s hears %q, %v", what, text, err)
		}
	}
	for i := range limit * times {
		hears(fmt.Sprintf("client %d of those who hold on", i), p.connect(t)) // closed when the test ends
	}
	began := time.Now()
	for range limit {
		c := p.connect(t)
		hears("an honest client", c)
		_ = c.Close()
	}
	t.Logf("%v for an honest client", time.Since(began)/limit)
	if n := p.descriptors(t); n > limit+50 {
		t.Errorf("%d descriptors are open, though limits.connections is %d", n, limit)
	}
}
