package service_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"greetd.example/internal/access"
	"greetd.example/internal/proxyproto"
	"greetd.example/internal/test/debian"
	"greetd.example/pkg/service"
)

// countedKind is the variable that makes this test binary a server, of the kind that it has.
const countedKind = "GREETD_TEST_COUNTED"

// header is one of PROXY protocol version 2, from 192.0.2.7:4711.
var header = append([]byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c"), 192, 0, 2, 7, 192, 0, 2, 1, 0x12, 0x67, 0x27, 0x10)

// counted are the kinds of greetings whose system calls are counted, and how many one may take.
var counted = map[string]struct {
	address string
	say     []byte
	most    float64
}{
	"plain":     {address: "127.0.0.1:0", most: 5.1}, // accept4, sendto, shutdown, read, close
	"anywhere":  {address: ":0", most: 5.1},
	"template":  {address: ":0", most: 6.1}, // and getsockname
	"limited":   {address: "127.0.0.1:0", most: 5.1},
	"announced": {address: "127.0.0.1:0", say: header, most: 6.1}, // and read
}

func TestMain(m *testing.M) {
	if kind := os.Getenv(countedKind); kind != "" {
		if err := serveForStrace(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// serveForStrace is the server that TestSystemCallsOfAGreeting counts the system calls of.
func serveForStrace(kind string) error {
	ln, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return err
	}
	srv := &service.Server{Greeter: service.Static("hello\n"), OmitLocal: kind != "template"}
	srv.Trace = func(service.Peer) func(service.Step) { return nil } // as greetd has it, unless the level is debug
	served := service.Listener{Listener: service.Direct(ln), Name: "greet"}
	switch kind {
	case "limited":
		var sources access.Sources
		sources.Update(access.Limits{Connections: 10_000, Rate: 1e6, Burst: 1e6})
		srv.Admit = sources.Admit
	case "announced":
		served.Unwrap = proxyproto.Unwrap([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	case "template":
		srv.Greeter = service.GreeterFunc(func(dst []byte, p service.Peer) ([]byte, error) {
			return fmt.Appendln(dst, p.Local), nil
		})
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // until the test has seen enough
		_ = srv.Shutdown(context.Background())
	}()
	if err := srv.Serve(served); !errors.Is(err, service.ErrClosed) {
		return err
	}
	return nil
}

// Each system call of a greeting is one too many, unless it is counted here.
func TestSystemCallsOfAGreeting(t *testing.T) {
	strace := debian.Program(t, "strace", "strace")
	const clients = 1000
	for kind, test := range counted {
		t.Run(kind, func(t *testing.T) {
			ln := listen(t, "tcp", test.address)
			defer ln.Close()
			_, idle := countCalls(t, strace, kind, ln, func() {})
			var waiting []net.Conn // in the backlog, so that nothing has to wait for them
			for range clients {
				c := dialKernel(t, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: ln.Addr().(*net.TCPAddr).Port})
				if _, err := c.Write(test.say); err != nil {
					t.Fatal(err)
				}
				if err := c.(*net.TCPConn).CloseWrite(); err != nil { // so that nobody lingers because this machine is busy
					t.Fatal(err)
				}
				waiting = append(waiting, c)
			}
			table, calls := countCalls(t, strace, kind, ln, func() {
				var reading sync.WaitGroup
				for _, c := range waiting {
					reading.Go(func() { greetedOnce(t, c) })
				}
				reading.Wait()
			})
			each := float64(calls-idle) / clients
			t.Logf("%.3f system calls a greeting", each)
			if each > test.most || each < 4 { // accept4, sendto, shutdown, close
				t.Errorf("%.3f system calls a greeting, want 4 to %.1f\n%s", each, test.most, table)
			}
		})
	}
}

// At a low rate, the server does not wake the thread that watches over Go's scheduler for each
// greeting: that costs as much as the greeting itself.
func TestAQuietServerWakesNoThread(t *testing.T) {
	strace := debian.Program(t, "strace", "strace")
	const clients = 200
	ln := listen(t, "tcp", "127.0.0.1:0")
	defer ln.Close()
	rate := time.NewTicker(5 * time.Millisecond)
	defer rate.Stop()
	table, _ := countCalls(t, strace, "plain", ln, func() {
		for range clients {
			<-rate.C // what the server does after each greeting has ended
			greetedOnce(t, dialKernel(t, ln.Addr()))
		}
	})
	wakes := callsIn(table, []string{"futex"})
	t.Logf("%.2f futex calls a greeting", float64(wakes)/clients)
	if wakes > clients/2 {
		t.Errorf("%d futex calls for %d greetings, want half as many at most\n%s", wakes, clients, table)
	}
}

// greetedOnce reads a greeting to the end, and hangs up.
func greetedOnce(t *testing.T, c net.Conn) {
	t.Helper()
	if text, err := io.ReadAll(c); err != nil || len(text) == 0 {
		t.Errorf("a client reads %q, %v", text, err)
	}
	_ = c.Close()
}

// calls are those that a greeting can cause. What Go's scheduler does besides depends on the machine,
// and epoll_wait on the time, of which there is more under strace: the reaper looks every 2 ms.
var calls = []string{
	"accept4", "accept", "sendto", "sendmsg", "recvfrom", "recvmsg", "read", "write", "writev", "shutdown", "close", "fcntl", "ioctl",
	"getsockname", "getpeername", "getsockopt", "setsockopt", "epoll_ctl", "openat",
}

// countCalls runs a server until clients returns, and returns the table of strace, and how many calls it
// took.
func countCalls(t *testing.T, strace, kind string, ln net.Listener, clients func()) (table string, n int) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "calls")
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	server := exec.Command(strace, "-f", "-qq", "-c", "-U", "calls,name", "-o", out, os.Args[0])
	server.Env = append(os.Environ(), countedKind+"="+kind, "GOMAXPROCS=1")
	server.ExtraFiles = []*os.File{socket}
	var said bytes.Buffer
	server.Stdout, server.Stderr = &said, &said
	end, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	clients()
	_ = end.Close()
	if err := server.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &said)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), callsIn(string(text), calls)
}

// callsIn is how many calls of these names are in a table of strace.
func callsIn(table string, names []string) (n int) {
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) == 2 && slices.Contains(names, fields[1]) {
			times, _ := strconv.Atoi(fields[0])
			n += times
		}
	}
	return n
}
