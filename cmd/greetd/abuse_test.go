package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/admin"
	"greetd.example/pkg/service"
)

// The tests in this file treat greetd badly. None asserts a time: those that wait do so
// until greetd has got over it.

// A target is a greetd with listeners of each kind, and what it uses when it is idle.
type target struct {
	*process
	daemon  *admin.Client
	scraper http.Client
	control string            // the path of the admin socket
	address map[string]string // by listener: bare, behind, safe, and both
	came    atomic.Uint64     // clients that have connected

	descriptors, goroutines int
}

// startTarget starts it. settings are further lines of configuration.
func startTarget(t *testing.T, settings string, descriptors int) *target {
	t.Helper()
	return startTargetWith(t, func(listeners string) *process { return start(t, listeners+settings, descriptors) })
}

// startTargetWith is startTarget for what start starts, with those listeners.
func startTargetWith(t *testing.T, start func(listeners string) *process) *target {
	t.Helper()
	control := filepath.Join(t.TempDir(), "admin.sock")
	s := &target{
		process: start(targetConfiguration(t, control)),
		daemon:  admin.Dial("unix:" + control),
		control: control,
		address: make(map[string]string),
	}
	s.scraper.Transport = &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", control)
	}}
	s.findAddresses(t)
	s.greets(t)
	s.until(t, "it is idle", func() bool { return s.isIdle(t) })
	s.descriptors, s.goroutines = s.process.descriptors(t), s.countGoroutines(t)
	return s
}

// targetConfiguration has a listener of each kind.
func targetConfiguration(t *testing.T, control string) string {
	t.Helper()
	pair := filepath.Join(t.TempDir(), "greet")
	if err := writeCertificate(pair, time.Now()); err != nil {
		t.Fatal(err)
	}
	settings := fmt.Sprintf("tls: {certificate: %[1]s.pem, key: %[1]s.key}", pair)
	return fmt.Sprintf(`
listeners:
  - {name: bare, address: "127.0.0.1:0"}
  - {name: behind, address: "127.0.0.1:0", proxy_trusted: [127.0.0.0/8]}
  - {name: safe, address: "127.0.0.1:0", %s}
  - {name: both, address: "127.0.0.1:0", %s, proxy_trusted: [127.0.0.0/8]}
admin: {address: "unix:%s"}
`, settings, settings, control)
}

func (s *target) status(t *testing.T) admin.Status {
	t.Helper()
	status, err := s.daemon.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func (s *target) findAddresses(t *testing.T) {
	t.Helper()
	for _, l := range s.status(t).Listeners {
		s.address[l.Name] = l.Address
	}
}

// isIdle tells whether every client that came is gone, and counted once.
func (s *target) isIdle(t *testing.T) bool {
	t.Helper()
	status := s.status(t)
	return s.areIn(t, status) && status.Connections == admin.Connections{}
}

// areIn tells whether every client that came was accepted.
func (s *target) areIn(t *testing.T, status admin.Status) bool {
	t.Helper()
	seen := uint64(status.Connections.Active)
	for _, n := range status.Outcomes {
		seen += n
	}
	if seen > s.came.Load() {
		t.Fatalf("%d clients came, and greetd has seen %d: %v, %+v", s.came.Load(), seen, status.Outcomes, status.Connections)
	}
	return seen == s.came.Load()
}

func (s *target) countGoroutines(t *testing.T) int {
	t.Helper()
	return s.metric(t, "go_goroutines")
}

// metric is the value of one without labels.
func (s *target) metric(t *testing.T, name string) int {
	t.Helper()
	text, err := s.fetch("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_, line, _ := strings.Cut(text, "\n"+name+" ")
	line, _, _ = strings.Cut(line, "\n")
	value, err := strconv.ParseFloat(line, 64)
	if err != nil {
		t.Fatalf("%s: %v in %.500q", name, err, text)
	}
	return int(value)
}

// fetch gets a page of the admin side.
func (s *target) fetch(path string) (string, error) {
	response, err := s.scraper.Get("http://greetd" + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// dial connects to a listener, until the test ends.
func (s *target) dial(t *testing.T, listener string) *net.TCPConn {
	t.Helper()
	c, err := s.connect(home, listener)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// home is where clients come from unless another address is given.
var home = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// connect makes a client that comes from an address.
func (s *target) connect(from netip.Addr, listener string) (*net.TCPConn, error) {
	here := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	c, err := here.Dial("tcp", s.address[listener])
	if err != nil {
		return nil, err
	}
	s.came.Add(1)
	return c.(*net.TCPConn), nil
}

const (
	header    = "PROXY TCP4 203.0.113.9 198.51.100.1 4711 25\r\n"
	half      = len(header) / 2
	halfHello = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"
)

// speakTLS makes a client that trusts greetd.
func speakTLS(c net.Conn) *tls.Conn { return tls.Client(c, &tls.Config{InsecureSkipVerify: true}) }

// greets fails the test unless an honest client is greeted on each listener.
func (s *target) greets(t *testing.T) {
	t.Helper()
	for name := range s.address {
		if err := s.visit(home, name); err != nil {
			t.Fatalf("an honest client of %s: %v", name, err)
		}
	}
}

// visit is what an honest client does. It returns what was not as it should be.
func (s *target) visit(from netip.Addr, name string) error {
	text, known, err := s.read(from, name, io.ReadAll)
	if want := fmt.Sprintf("Hello there, %s!\n", known); err == nil && string(text) != want {
		err = fmt.Errorf("it hears %q", text)
	}
	return err
}

// read connects from an address, and returns what readAll reads of it, and the address
// that greetd knows the client by.
func (s *target) read(from netip.Addr, name string, readAll func(io.Reader) ([]byte, error)) (text []byte, known string, err error) {
	known = from.String()
	socket, err := s.connect(from, name)
	if err != nil {
		return nil, known, err
	}
	defer socket.Close()
	var c net.Conn = socket
	if name == "behind" || name == "both" {
		known = "203.0.113.9"
		if _, err := io.WriteString(c, header); err != nil {
			return nil, known, err
		}
	}
	if name == "safe" || name == "both" {
		c = speakTLS(c)
	}
	text, err = readAll(c)
	return text, known, err
}

// recovers waits until nothing is left of the abuse: every client that came is counted,
// none as our failure, and descriptors and goroutines are as before.
func (s *target) recovers(t *testing.T) {
	t.Helper()
	s.greets(t)
	s.until(t, "every client is gone and counted", func() bool { return s.isIdle(t) })
	s.until(t, "descriptors are as before", func() bool { return s.process.descriptors(t) <= s.descriptors+1 })
	s.until(t, "goroutines are as before", func() bool { return s.countGoroutines(t) <= s.goroutines+2 })
	status := s.status(t)
	if n := status.Outcomes[service.Failed]; n > 0 {
		t.Errorf("%d visits failed", n)
	}
	t.Logf("%d clients: %v", s.came.Load(), status.Outcomes)
}

var totals = regexp.MustCompile(`greetd has stopped: (.*)`)

// stops waits until every client was accepted, and ends it: each must be accounted for.
func (s *target) stops(t *testing.T) {
	t.Helper()
	s.until(t, "every client is in", func() bool { return s.areIn(t, s.status(t)) })
	if counted, came := s.ends(t), s.came.Load(); counted != came {
		t.Errorf("%d clients came, the last entry has %d", came, counted)
	}
}

// ends sends SIGTERM and waits for the end, which must be a good one. It returns how
// many visits there were, by the last entry.
func (s *target) ends(t *testing.T) (counted uint64) {
	t.Helper()
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.awaits(t, "greetd has stopped")
	if err := s.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	line := totals.FindStringSubmatch(s.log.String())[1]
	counts, _, _ := strings.Cut(line, ";")
	for part := range strings.SplitSeq(counts, ", ") {
		n, err := strconv.ParseUint(strings.Fields(part)[0], 10, 64)
		if err != nil {
			t.Errorf("the last entry: %q", line)
		}
		counted += n
	}
	return counted
}

// abuses are what clients do. Each returns when its connections are made; the test
// closes them.
var abuses = []struct {
	name string
	do   func(t *testing.T, s *target, clients int)
}{
	{"headers that never end", func(t *testing.T, s *target, clients int) {
		t.Helper()
		for range clients {
			_, _ = io.WriteString(s.dial(t, "behind"), header[:half])
		}
	}},
	{"handshakes that never end", func(t *testing.T, s *target, clients int) {
		t.Helper()
		for i := range clients {
			c := s.dial(t, []string{"safe", "both"}[i%2])
			if i%2 == 1 {
				_, _ = io.WriteString(c, header)
			}
			_, _ = io.WriteString(c, halfHello)
		}
	}},
	{"silence", func(t *testing.T, s *target, clients int) {
		t.Helper()
		for i := range clients {
			s.dial(t, []string{"bare", "behind", "safe", "both"}[i%4])
		}
	}},
	{"talk without end", func(t *testing.T, s *target, clients int) {
		t.Helper()
		var talking sync.WaitGroup
		t.Cleanup(talking.Wait)
		for i := range min(clients, 100) {
			c := s.dial(t, []string{"bare", "behind", "safe", "both"}[i%4])
			t.Cleanup(func() { _ = c.Close() })
			talking.Go(func() {
				for noise := make([]byte, 16<<10); ; {
					if _, err := c.Write(noise); err != nil {
						return
					}
				}
			})
		}
	}},
	{"readers of a single byte", func(t *testing.T, s *target, clients int) {
		t.Helper()
		for range clients {
			_, _ = s.dial(t, "bare").Read(make([]byte, 1))
		}
	}},
	{"resets", func(t *testing.T, s *target, clients int) {
		t.Helper()
		for i := range clients {
			r := resets[i%len(resets)]
			r.do(s.dial(t, r.listener))
		}
	}},
}

// resets end a connection at each point that there is: at first perhaps before it is
// accepted. Where clients speak first, the kernel never hands over one that resets in silence.
var resets = []struct {
	listener string
	do       func(*net.TCPConn)
}{
	{"bare", func(c *net.TCPConn) { reset(c) }},
	{"behind", func(c *net.TCPConn) { reset(c, header[:half]) }},
	{"behind", func(c *net.TCPConn) { reset(c, header) }},
	{"safe", func(c *net.TCPConn) { reset(c, halfHello[:1]) }},
	{"safe", func(c *net.TCPConn) { reset(c, halfHello) }},
	{"both", func(c *net.TCPConn) { reset(c, header, halfHello) }},
	{"safe", func(c *net.TCPConn) { // in the middle of the handshake
		_ = speakTLS(oneRead{c}).Handshake()
		reset(c)
	}},
	{"safe", func(c *net.TCPConn) { // after the handshake
		_ = speakTLS(c).Handshake()
		reset(c)
	}},
	{"bare", func(c *net.TCPConn) { // in the middle of the greeting
		_, _ = c.Read(make([]byte, 5))
		reset(c)
	}},
	{"bare", func(c *net.TCPConn) { // while it lingers
		_, _ = io.ReadAll(c)
		reset(c)
	}},
	{"bare", func(c *net.TCPConn) {
		_, _ = io.ReadAll(c)
		reset(c, "HELO stranger\r\n")
	}},
}

// oneRead ends after the first read.
type oneRead struct{ net.Conn }

func (c oneRead) Read(b []byte) (int, error) {
	_, _ = c.Conn.Read(b)
	return 0, io.EOF
}

func reset(c *net.TCPConn, says ...string) {
	for _, text := range says {
		_, _ = io.WriteString(c, text)
	}
	_ = c.SetLinger(0)
	_ = c.Close()
}

func TestAbuse(t *testing.T) {
	for _, abuse := range abuses {
		t.Run(abuse.name, func(t *testing.T) {
			t.Parallel()
			s := startTarget(t, "timeouts: {handshake: 4s}\nlimits: {connections: 0}\nlog: {visits: none}\n", 20_000)
			s.stopsGrowing(t, func() {
				t.Run("once", func(t *testing.T) {
					abuse.do(t, s, 2000)
					s.greets(t) // in the midst of it
					s.recovers(t)
				})
			})
			s.stops(t)
		})
	}
}

// stopsGrowing fails the test if memory grows each time that something is done. How much a
// first time leaves depends on how many clients the machine had at once.
func (s *target) stopsGrowing(t *testing.T, do func()) {
	t.Helper()
	const aLeak = 10 << 10 // KiB: 5 for each of 2,000 clients
	do()
	memory := []int{s.rss(t)}
	for range 5 {
		do()
		memory = append(memory, s.rss(t))
		if memory[len(memory)-1] <= memory[len(memory)-2]+aLeak {
			return
		}
	}
	t.Errorf("memory grows each time, in KiB: %d", memory)
}

func TestStopDuringAbuse(t *testing.T) {
	for _, abuse := range abuses {
		t.Run(abuse.name, func(t *testing.T) {
			s := startTarget(t, "timeouts: {handshake: 10m, linger: 10m, drain: 100ms}\nlog: {visits: none}\n", 20_000)
			abuse.do(t, s, 500)
			s.stops(t)
		})
	}
}

func TestFullOfHalfOpenHandshakes(t *testing.T) {
	s := startTarget(t, "timeouts: {handshake: 1s}\nlimits: {connections: 200}\nlog: {visits: none}\n", 1000)
	for range 600 {
		_, _ = io.WriteString(s.dial(t, "both"), header[:half])
	}
	s.until(t, "all of them have timed out", func() bool { return s.status(t).Outcomes[service.TimedOut] == 600 })
	s.recovers(t)
}

func TestTenThousandHalfOpen(t *testing.T) {
	const clients = 10_000
	enoughDescriptors(t, clients+500)
	s := startTarget(t, "timeouts: {handshake: 6s}\nlimits: {connections: 0}\nlog: {visits: none}\n", 20_000)
	for i := range clients {
		if i%2 == 0 {
			_, _ = io.WriteString(s.dial(t, "behind"), header[:half])
		} else {
			_, _ = io.WriteString(s.dial(t, "safe"), halfHello)
		}
	}
	s.greets(t) // in the midst of them
	s.until(t, "all of them have timed out", func() bool { return s.status(t).Outcomes[service.TimedOut] == clients })
	s.recovers(t)
	s.stops(t)
}

func TestReloadWithoutDescriptors(t *testing.T) {
	s := startTarget(t, "timeouts: {handshake: 10m}\nlog: {visits: none}\n", 80)
	t.Run("held", func(t *testing.T) {
		for range 100 {
			s.dial(t, "behind")
		}
		s.awaits(t, "too many open files")
		for range 3 {
			if err := s.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
		}
		s.awaits(t, "keeping the previous configuration")
	})
	s.until(t, "a reload is possible again", func() bool {
		result, err := s.daemon.Reload(t.Context())
		return err == nil && result.OK
	})
	s.recovers(t)
	s.stops(t)
}

func TestReloadsUnderTraffic(t *testing.T) {
	s := startTarget(t, "log: {visits: none}\n", 1000)
	var traffic sync.WaitGroup
	over := make(chan struct{})
	for name := range s.address {
		traffic.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := s.visit(home, name); err != nil {
					t.Errorf("a client of %s: %v", name, err)
				}
			}
		})
	}
	const reloads = 300
	for range reloads {
		result, err := s.daemon.Reload(t.Context())
		if err != nil || !result.OK {
			t.Fatalf("reload: %+v, %v", result, err)
		}
	}
	close(over)
	traffic.Wait()
	s.recovers(t)
	status := s.status(t)
	if status.Configuration.Generation != reloads+1 {
		t.Errorf("generation %d after %d reloads", status.Configuration.Generation, reloads)
	}
	if got := status.Outcomes[service.Greeted]; got != s.came.Load() {
		t.Errorf("%d of %d clients were greeted: %v", got, s.came.Load(), status.Outcomes)
	}
	s.stops(t)
}

func TestStopWithoutDescriptors(t *testing.T) {
	s := startTarget(t, "timeouts: {handshake: 10m, drain: 100ms}\nlog: {visits: none}\n", 80)
	for range 100 {
		s.dial(t, "behind")
	}
	s.awaits(t, "too many open files")
	if counted, came := s.ends(t), s.came.Load(); counted == 0 || counted > came { // the others were never accepted
		t.Errorf("%d clients came, the last entry has %d", came, counted)
	}
}

func TestStopDuringReloads(t *testing.T) {
	s := startTarget(t, "log: {visits: none}\n", 1000)
	ctx, stop := context.WithCancel(t.Context())
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() {
			for ctx.Err() == nil {
				_, _ = s.daemon.Reload(ctx)
			}
		})
	}
	s.until(t, "reloads are under way", func() bool { return s.status(t).Configuration.Generation > 5 })
	for range 100 {
		s.greets(t)
	}
	s.stops(t)
	stop()
	others.Wait()
}

func TestFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	directory := t.TempDir()
	control := filepath.Join(directory, "admin.sock")
	file := filepath.Join(directory, "greetd.yaml")
	if err := os.WriteFile(file, []byte(targetConfiguration(t, control)+"log: {rate: 0}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	greetd, err := built()
	if err != nil {
		t.Fatal(err)
	}
	s := &target{process: &process{log: &syncBuffer{}}, daemon: admin.Dial("unix:" + control), address: make(map[string]string)}
	s.Cmd = exec.Command(greetd, "--config", file)
	s.Stderr = full
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Process.Kill() })
	s.until(t, "it is ready", func() bool {
		status, err := s.daemon.Status(t.Context())
		return err == nil && status.Ready
	})
	s.findAddresses(t)
	for range 500 {
		s.greets(t)
	}
	if result, err := s.daemon.Reload(t.Context()); err != nil || !result.OK {
		t.Errorf("reload: %+v, %v", result, err)
	}
	s.greets(t)
	s.until(t, "every client is gone and counted", func() bool { return s.isIdle(t) })
	if err := s.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := s.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
}
