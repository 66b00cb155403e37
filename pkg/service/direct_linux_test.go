package service_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/pkg/service"
)

func TestDirectKnowsBothEnds(t *testing.T) {
	for _, test := range []struct{ network, address, dial, from string }{
		{"tcp4", "127.0.0.1:0", "127.0.0.1", "127.0.0.9"},
		{"tcp4", "0.0.0.0:0", "127.0.0.2", "127.0.0.9"},
		{"tcp", ":0", "127.0.0.2", "127.0.0.9"}, // IPv4 on a socket for both
		{"tcp", ":0", "::1", "::1"},
		{"tcp6", "[::1]:0", "::1", "::1"},
	} {
		t.Run(test.network+" "+test.address+" "+test.dial, func(t *testing.T) {
			ln := listenDirect(t, test.network, test.address)
			seen := &record{}
			serveOn(t, &service.Server{Observer: seen}, ln)
			to := netip.AddrPortFrom(netip.MustParseAddr(test.dial), netip.MustParseAddrPort(ln.Addr().String()).Port())
			dialer := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(test.from), 0))}
			c, err := dialer.Dial("tcp", to.String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if got, want := read(t, c), "Hello there, "+test.from+"!\n"; got != want {
				t.Errorf("greeting = %q, want %q", got, want)
			}
			eventually(t, "the visit was reported", func() bool { return len(seen.visits()) == 1 })
			v := seen.visits()[0]
			if v.Remote.String() != c.LocalAddr().String() || v.Local != to {
				t.Errorf("%v to %v, want %v to %v", v.Remote, v.Local, c.LocalAddr(), to)
			}
		})
	}
}

func TestDirectLeavesOtherListenersAlone(t *testing.T) {
	ln := listen(t, "unix", t.TempDir()+"/x.sock")
	defer ln.Close()
	if service.Direct(ln) != ln {
		t.Error("a unix listener is another one now")
	}
}

// What the empty socket does not take at once goes the way of deadlines, in order and whole.
func TestLongGreetingsGoOnWhereTheQuickWriteStopped(t *testing.T) {
	text := make([]byte, 8<<20)
	for i := range text {
		text[i] = byte(i * 7 >> 3)
	}
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			seen := &record{}
			addr := onKernel(t, &service.Server{Greeter: service.Static(text), Observer: seen, WriteTimeout: time.Minute}, listen)
			got, err := io.ReadAll(dialKernel(t, addr))
			if err != nil || !bytes.Equal(got, text) {
				t.Errorf("%d bytes, %v; want the %d of the greeting", len(got), err, len(text))
			}
			eventually(t, "the visit was reported", func() bool { return len(seen.visits()) == 1 })
			if v := seen.visits()[0]; v.Outcome != service.Greeted || v.Written != int64(len(text)) {
				t.Errorf("visit = %+v", v)
			}
		})
	}
}

func TestClientsThatHaveResetBeforeTheyWereGreeted(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			seen := &record{}
			proceed := make(chan struct{})
			addr := onKernel(t, &service.Server{Observer: seen, Greeter: service.GreeterFunc(func(dst []byte, _ service.Peer) ([]byte, error) {
				<-proceed
				return append(dst, "too late\n"...), nil
			})}, listen)
			c := dialKernel(t, addr)
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
			close(proceed)
			eventually(t, "the visit was reported", func() bool { return len(seen.visits()) == 1 })
			v := seen.visits()[0]
			if v.Outcome != service.HungUp || !strings.Contains(v.Err.Error(), "write tcp "+addr.String()+"->"+v.Remote.String()+": ") {
				t.Errorf("%q: %v", v.Outcome, v.Err)
			}
		})
	}
}

func TestTLSClientsAreGreetedOnTheKernelsSockets(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			addr := onKernel(t, &service.Server{}, listen, speakingTLS(t))
			var running sync.WaitGroup
			for range 50 {
				running.Go(func() {
					c, err := tls.Dial("tcp", addr.String(), &tls.Config{InsecureSkipVerify: true})
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					if text, err := io.ReadAll(c); err != nil || string(text) != "Hello there, 127.0.0.1!\n" {
						t.Errorf("greeting = %q, %v", text, err)
					}
				})
			}
			running.Wait()
		})
	}
}

// A descriptor's number is used again as soon as it is closed. Whoever holds a connection
// that somebody else closes must never reach the next one.
func TestNobodyTouchesAnothersDescriptor(t *testing.T) {
	srv := &service.Server{LingerTimeout: 10 * time.Millisecond, MaxConns: 8} // lingering ones are closed from all sides
	addr := onKernel(t, srv, listenDirect)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var running sync.WaitGroup
	for i := range 16 {
		running.Go(func() {
			var dialer net.Dialer
			for j := range 200 {
				c, err := dialer.DialContext(ctx, "tcp", addr.String())
				if err != nil {
					t.Error(err)
					return
				}
				if i%2 == 0 {
					_, _ = c.Write([]byte("hello")) // it may be gone
				}
				if i%4 < 2 || j%2 == 0 {
					// A client whose place was taken while it lingered has its greeting all the same.
					if text, _ := io.ReadAll(c); string(text) != "Hello there, 127.0.0.1!\n" {
						t.Errorf("greeting = %q", text)
					}
				}
				_ = c.Close()
			}
		})
	}
	running.Wait()
	eventually(t, "all have left", func() bool { s := srv.Stats()[0]; return s.Active+s.Lingering == 0 })
	var ended uint64
	for _, n := range srv.Stats()[0].Visits {
		ended += n
	}
	if ended != 16*200 {
		t.Errorf("%d visits have ended, want %d", ended, 16*200)
	}
}

func TestLingeringClientsTakeLessThanAKilobyte(t *testing.T) {
	const clients = 4000
	srv := &service.Server{LingerTimeout: time.Hour}
	addr := onKernel(t, srv, listenDirect)
	holders := make([]int, 0, clients+1) // descriptors, since net.Conn has memory of its own
	defer func() {
		for _, fd := range holders {
			_ = syscall.Close(fd)
		}
	}()
	hold := func(n int) {
		for range n {
			fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
			if err != nil {
				debian.Lacking(t, "%d descriptors: %v", 2*clients, err)
			}
			holders = append(holders, fd)
			if err := syscall.Connect(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: addr.(*net.TCPAddr).Port}); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all linger", func() bool { s := srv.Stats(); return len(s) == 1 && s[0].Lingering == len(holders) })
	}
	memory := func() (m runtime.MemStats) {
		runtime.GC()
		runtime.GC() // what pools hold goes with the second
		runtime.ReadMemStats(&m)
		return m
	}
	inUse := func() uint64 {
		m := memory()
		return m.HeapInuse + m.StackInuse
	}
	hold(1) // what the first client costs is there to stay
	live := memory().HeapAlloc
	hold(clients / 2) // whatever grows once has grown
	before := inUse()
	hold(clients / 2)
	each := (int64(inUse()) - int64(before)) / (clients / 2)
	t.Logf("%d bytes for each", each)
	if each > 1024 {
		t.Errorf("%d bytes for each lingering client, want at most 1024", each)
	}
	for _, fd := range holders {
		_ = syscall.Close(fd)
	}
	holders = holders[:0]
	eventually(t, "all have left", func() bool { return srv.Stats()[0].Lingering == 0 })
	kept := int64(memory().HeapAlloc) - int64(live)
	t.Logf("%d bytes when they have left", kept)
	if kept > 64<<10 {
		t.Errorf("%d bytes are kept for clients that have left, want at most 64 KiB", kept)
	}
}

// The allocations of a plain visit: the connection, the visit, and what starts a goroutine
// and an accept. None of them depends on the greeting.
func TestPlainVisitsAllocateLittle(t *testing.T) {
	srv := &service.Server{
		Greeter: service.Static("hello\n"),
		Trace:   func(service.Peer) func(service.Step) { return nil }, // as greetd has it, unless the level is debug
	}
	addr := onKernel(t, srv, listenDirect)
	to := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: addr.(*net.TCPAddr).Port}
	text := make([]byte, 64)
	got := testing.AllocsPerRun(2000, func() { // by system calls alone: they allocate nothing
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err == nil {
			err = syscall.Connect(fd, to)
		}
		for n := 1; n > 0 && err == nil; {
			n, err = syscall.Read(fd, text)
		}
		if err != nil {
			t.Error(err)
		}
		_ = syscall.Close(fd)
	})
	if got > 6 { // two are left to the runtime, and to the race detector
		t.Errorf("%v allocations a visit, want 4 and at most 6", got)
	}
}

// Another process that shares the socket can make it blocking, for everybody.
func TestDirectSurvivesABlockingSocket(t *testing.T) {
	ln := listenDirect(t, "tcp", "127.0.0.1:0")
	raw, err := ln.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	srv := &service.Server{}
	serveOn(t, srv, ln)
	for range 10 {
		time.Sleep(20 * time.Millisecond) // the accept loop waits by then: between two accepts it does not look
		_ = raw.Control(func(fd uintptr) {
			if err := syscall.SetNonblock(int(fd), false); err != nil {
				t.Error(err)
			}
		})
		if got := read(t, dialKernel(t, ln.Addr())); got != "Hello there, 127.0.0.1!\n" {
			t.Errorf("greeting = %q", got)
		}
	}
	if err := srv.Shutdown(expires(t, time.Minute)); err != nil {
		t.Error(err)
	}
}

// Whoever has sent what nobody has read yet waits for the server, and does not give way for being slow.
func TestHandshakesThatWaitForUsDoNotGiveWay(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			seen := &record{}
			proceed := make(chan struct{})
			srv := &service.Server{Observer: seen, MaxConns: 2, HandshakeTimeout: 600 * time.Millisecond, LingerTimeout: -1}
			addr := onKernel(t, srv, listen, func(ln *service.Listener) {
				ln.Unwrap = func(c net.Conn) (net.Conn, error) {
					one := make([]byte, 1)
					if _, err := c.Read(one); err != nil {
						return nil, err
					}
					<-proceed // as on a busy machine
					_ = c.SetReadDeadline(time.Time{})
					_, err := c.Read(one)
					return c, err
				}
			})
			busy := dialKernel(t, addr)
			_, _ = busy.Write([]byte("xx"))
			active := func() int { // 0 before it serves, too
				for _, l := range srv.Stats() {
					return l.Active
				}
				return 0
			}
			eventually(t, "it is a visit", func() bool { return active() == 1 })
			_ = dialKernel(t, addr) // says nothing, and is younger
			eventually(t, "both are visits", func() bool { return active() == 2 })
			next := dialKernel(t, addr)
			_, _ = next.Write([]byte("xx"))
			eventually(t, "one has given way", func() bool { return len(seen.visits()) == 1 })
			close(proceed)
			for _, c := range []net.Conn{busy, next} {
				if got := read(t, c); got != "Hello there, 127.0.0.1!\n" {
					t.Errorf("greeting = %q", got)
				}
			}
		})
	}
}
