package e2e

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A loadSpec tells a load client what to do: to open connections at fixed times, whatever
// became of those before (an open loop), until it is told to stop. Nothing is ever retried.
//
// It is for the tests of a cluster alone, which need what greetprobe drill does not do: each client must be greeted with
// its own address, a client can send data before it reads, and the load ends when HAProxy has counted enough visits.
type loadSpec struct {
	Address   string
	From      netip.Addr // the first client's address; see source
	Alone     bool       // all clients are one source: an address, over IPv6 a network (/64)
	Rate      float64    // connections a second
	Greeting  string     // {IP} stands for the client's own address
	TalkFirst int        // bytes that a client sends before it reads
}

// An ending is what became of one connection. There is one for each.
type ending string

const (
	greeted     ending = "greeted"     // the whole text and the end of file
	refused     ending = "refused"     // ECONNREFUSED
	unconnected ending = "unconnected" // any other trouble before the connection was there
	empty       ending = "empty"       // the end of file at once
	cut         ending = "cut"         // a part of the text and the end of file
	reset       ending = "reset"       // ECONNRESET, or EPIPE, after however many bytes
	wrong       ending = "wrong"       // another text
	late        ending = "late"        // no end of file within clientTimeout
)

const (
	clientTimeout = 60 * time.Second // more than the kernel's SYN retries take in any test
	maxInFlight   = 8000             // connections of one load client at a time
)

// A loadResult accounts for every connection of a load client.
type loadResult struct {
	Offered int            // connections begun
	Seconds float64        // from the first to the last
	Endings map[ending]int // they add up to Offered
	Slowest float64        // seconds from the beginning of a connection to its ending
	Losses  []loss         // each one that was not greeted
}

// A loss is a client that was not greeted.
type loss struct {
	Began, Ended time.Time
	Ending       ending
	Error        string // as the client saw it
}

func (l loss) String() string {
	return fmt.Sprintf("%s after %v: %s", l.Ending, l.Ended.Sub(l.Began), l.Error)
}

// lost counts the clients that were not greeted.
func (r loadResult) lost() int { return len(r.Losses) }

// rate is how many connections a second were begun.
func (r loadResult) rate() float64 { return float64(r.Offered) / r.Seconds }

func (r loadResult) String() string {
	return fmt.Sprintf("%d connections, %.0f a second: %v, slowest %.3f s %v",
		r.Offered, r.rate(), r.Endings, r.Slowest, r.Losses[:min(len(r.Losses), 5)])
}

// A load is a load client at work in a machine.
type load struct {
	t      *testing.T
	client *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
}

// load starts a load client in the network, and returns when its first client was there.
func (n network) load(t *testing.T, spec loadSpec) *load {
	t.Helper()
	l := &load{t: t}
	err := n.inside(func() error {
		var err error
		l.client, l.stdin, l.stdout, err = startLoad(spec)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.client.Process.Kill()
		_ = l.client.Wait()
	})
	if line, err := l.stdout.ReadString('\n'); err != nil {
		t.Fatalf("the load client said %q, %v", line, err)
	}
	return l
}

// startLoad starts this test binary as a load client. Its first line says that it has
// begun, its second one is the result.
func startLoad(spec loadSpec) (client *exec.Cmd, stdin io.WriteCloser, stdout *bufio.Reader, err error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, nil, nil, err
	}
	client = exec.Command("/proc/self/exe")
	client.Env = append(os.Environ(), loadEnv+"="+string(text))
	client.Stderr = os.Stderr
	stdin, err = client.StdinPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	out, err := client.StdoutPipe()
	if err != nil {
		return nil, nil, nil, err
	}
	return client, stdin, bufio.NewReader(out), client.Start()
}

// stop lets the load client finish what it began, and returns the result.
func (l *load) stop() loadResult {
	l.t.Helper()
	_ = l.stdin.Close()
	var result loadResult
	if err := json.NewDecoder(l.stdout).Decode(&result); err != nil {
		l.t.Fatal("the load client's result: ", err)
	}
	sum := 0
	for _, n := range result.Endings {
		sum += n
	}
	if sum != result.Offered || result.Endings[greeted]+len(result.Losses) != result.Offered {
		l.t.Fatalf("the load client lost count: %v", result)
	}
	l.t.Log(result)
	return result
}

// loadMain is the life of this binary as a load client.
func loadMain() int {
	var spec loadSpec
	if err := json.Unmarshal([]byte(os.Getenv(loadEnv)), &spec); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		return 1
	}
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	first := sync.OnceFunc(func() { fmt.Println("the first client has been here") })
	if err := json.NewEncoder(os.Stdout).Encode(spec.run(ctx, first)); err != nil {
		return 1
	}
	return 0
}

// run opens connections until ctx ends, and waits for all of them. It calls begun after
// each.
func (s loadSpec) run(ctx context.Context, begun func()) loadResult {
	result := loadResult{Endings: map[ending]int{}}
	var (
		mu      sync.Mutex
		clients sync.WaitGroup
		places  = make(chan struct{}, maxInFlight)
		start   = time.Now()
		last    time.Time
	)
	for i := 0; ctx.Err() == nil; i++ {
		due := start.Add(time.Duration(float64(i) / s.Rate * float64(time.Second)))
		time.Sleep(time.Until(due))
		places <- struct{}{}
		last = time.Now()
		result.Offered = i + 1
		clients.Go(func() {
			defer func() { <-places }()
			began := time.Now()
			end, err := s.visit(s.source(i))
			ended := time.Now()

			mu.Lock()
			defer mu.Unlock()
			result.Endings[end]++
			if end != greeted {
				result.Losses = append(result.Losses, loss{began, ended, end, fmt.Sprint(err)})
			}
			result.Slowest = max(result.Slowest, ended.Sub(began).Seconds())
			begun()
		})
	}
	clients.Wait()
	result.Seconds = last.Sub(start).Seconds()
	return result
}

// source returns the address from which client i comes; it is not valid where there is
// no choice. None comes back within a test, so no port of its own is ever in TIME_WAIT.
// Over IPv6, each client comes from a network (/64) of its own.
func (s loadSpec) source(i int) netip.Addr {
	if s.From.Is4() {
		a := s.From.As4()
		if !s.Alone {
			binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(i%(1<<22)))
		}
		return netip.AddrFrom4(a)
	}
	a, vary := s.From.As16(), 6
	if s.Alone {
		vary = 14
	}
	binary.BigEndian.PutUint16(a[vary:], uint16(i))
	return netip.AddrFrom16(a)
}

// visit is one client: it connects, says something if it has to, reads until the end of
// file, and hangs up.
func (s loadSpec) visit(from netip.Addr) (ending, error) {
	dialer := net.Dialer{Timeout: clientTimeout, LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0)), Control: bindLate}
	c, err := dialer.Dial("tcp", s.Address)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return refused, err
	case errors.Is(err, syscall.ECONNRESET):
		return reset, err
	case err != nil:
		return unconnected, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(clientTimeout))

	if s.TalkFirst > 0 {
		if _, err := c.Write(make([]byte, s.TalkFirst)); err != nil {
			return reset, err
		}
	}
	text, err := io.ReadAll(c)
	whole := strings.ReplaceAll(s.Greeting, "{IP}", from.String())
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return late, err
	case err != nil:
		return reset, err
	case len(text) == 0:
		return empty, nil
	case string(text) == whole:
		return greeted, nil
	case strings.HasPrefix(whole, string(text)):
		return cut, fmt.Errorf("%q", text)
	}
	return wrong, fmt.Errorf("%q", text)
}

// bindLate leaves the choice of the port to connect, which knows which are free for this
// destination.
func bindLate(_, _ string, raw syscall.RawConn) error {
	var failed error
	err := raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(err, failed)
}

// What the load client can't see, no test here can: it has to tell each ending from the others.
func TestLoadTellsEveryEnding(t *testing.T) {
	const greeting = "Hello there, {IP}!\n"
	servers := map[ending]func(c *net.TCPConn){
		greeted: func(c *net.TCPConn) {
			who, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = io.WriteString(c, strings.ReplaceAll(greeting, "{IP}", who))
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, c)
		},
		empty: func(*net.TCPConn) {},
		cut:   func(c *net.TCPConn) { _, _ = io.WriteString(c, "Hello th") },
		reset: func(c *net.TCPConn) {
			_, _ = io.WriteString(c, "Hello th")
			_ = c.SetLinger(0)
		},
		wrong: func(c *net.TCPConn) { _, _ = io.WriteString(c, "Hello there, 10.0.0.1!\n") },
	}
	for want, serve := range servers {
		t.Run(string(want), func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					go func() {
						defer c.Close()
						serve(c.(*net.TCPConn))
					}()
				}
			}()
			checkEnding(t, ln.Addr().String(), greeting, want)
		})
	}
	t.Run(string(refused), func(t *testing.T) {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		_ = ln.Close()
		checkEnding(t, ln.Addr().String(), greeting, refused)
	})
	t.Run(string(unconnected), func(t *testing.T) {
		checkEnding(t, "127.0.0.1:not-a-port", greeting, unconnected)
	})
}

func checkEnding(t *testing.T, address, greeting string, want ending) {
	t.Helper()
	const enough = 20
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	begun := 0
	result := loadSpec{Address: address, From: netip.MustParseAddr("127.64.0.0"), Rate: 1000, Greeting: greeting}.run(ctx, func() {
		if begun++; begun == enough {
			stop()
		}
	})
	if result.Offered < enough || result.Endings[want] != result.Offered {
		t.Errorf("all of them should have been %s: %v", want, result)
	}
}
