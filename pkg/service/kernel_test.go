package service_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"greetd.example/internal/test/debian"
	"greetd.example/pkg/service"
)

// The tests in this file need what only the kernel's sockets do.

// A listenFunc makes a listening socket of the kernel.
type listenFunc func(t *testing.T, network, address string) net.Listener

func listen(t *testing.T, network, address string) net.Listener {
	t.Helper()
	ln, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

func listenDirect(t *testing.T, network, address string) net.Listener {
	t.Helper()
	return service.Direct(listen(t, network, address))
}

// paths are the general path and the fast one: nobody may see a difference.
var paths = map[string]listenFunc{"general": listen, "direct": listenDirect}

// onKernel serves on a socket of the kernel and gives its address.
func onKernel(t *testing.T, srv *service.Server, listen listenFunc, settings ...func(*service.Listener)) net.Addr {
	t.Helper()
	ln := listen(t, "tcp", "127.0.0.1:0")
	serveOn(t, srv, ln, settings...)
	return ln.Addr()
}

func serveOn(t *testing.T, srv *service.Server, ln net.Listener, settings ...func(*service.Listener)) {
	t.Helper()
	ended := make(chan error, 1)
	listener := service.Listener{Listener: ln, Name: "greet"}
	for _, set := range settings {
		set(&listener)
	}
	go func() { ended <- srv.Serve(listener) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-ended; !errors.Is(err, service.ErrClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	eventually(t, "Serve has begun", func() bool { return len(srv.Stats()) > 0 })
}

func dialKernel(t *testing.T, addr net.Addr) net.Conn {
	t.Helper()
	c, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// eventually waits until ok says so; the deadline is only for a test that hangs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("in a minute it did not happen that %s", what)
		}
		runtime.Gosched()
	}
}

func TestClientsThatTalkFirstGetTheWholeGreeting(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			const clients, atOnce = 5000, 64
			addr := onKernel(t, &service.Server{Greeter: service.Static(strings.Repeat("greeting ", 100) + "\n")}, listen)
			chatter := make([]byte, 4096)
			var whole atomic.Int64
			var running sync.WaitGroup
			turn := make(chan struct{}, atOnce)
			for range clients {
				turn <- struct{}{}
				running.Go(func() {
					defer func() { <-turn }()
					c, err := net.Dial("tcp", addr.String())
					if err != nil {
						t.Error(err)
						return
					}
					defer c.Close()
					if _, err := c.Write(chatter); err != nil {
						t.Error(err)
						return
					}
					text, err := io.ReadAll(c)
					if err != nil || len(text) != 901 {
						t.Errorf("%d bytes, %v", len(text), err)
						return
					}
					whole.Add(1)
				})
			}
			running.Wait()
			if whole.Load() != clients {
				t.Errorf("%d of %d got the whole greeting and a clean end of file", whole.Load(), clients)
			}
		})
	}
}

func TestSlowReaderTimesOutOnTheKernelsSockets(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			seen := &record{}
			addr := onKernel(t, &service.Server{
				Greeter: service.Static(strings.Repeat("x", 64<<20)), WriteTimeout: 200 * time.Millisecond, Observer: seen,
			}, listen)
			c := dialKernel(t, addr)
			eventually(t, "the visit ended", func() bool { return len(seen.visits()) == 1 })
			v := seen.visits()[0]
			if v.Outcome != service.TimedOut || v.Took < 200*time.Millisecond {
				t.Errorf("outcome = %q after %v", v.Outcome, v.Took)
			}
			got, err := io.ReadAll(c)
			if err == nil {
				t.Errorf("the greeting ends cleanly after %d of its bytes", len(got))
			}
			if v.Written == 0 || v.Written >= 64<<20 {
				t.Errorf("written = %d", v.Written)
			}
		})
	}
}

func TestClientsThatNeverHangUp(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			const clients = 2000 // test/e2e does it with 10,000, from another process
			descriptors, goroutines := openDescriptors(t), runtime.NumGoroutine()
			srv := &service.Server{LingerTimeout: 20 * time.Millisecond}
			addr := onKernel(t, srv, listen)
			var held []net.Conn
			for range clients {
				c := dialKernel(t, addr)
				if got := read(t, c); got != "Hello there, 127.0.0.1!\n" {
					t.Fatalf("greeting = %q", got)
				}
				held = append(held, c)
			}
			eventually(t, "all were left", func() bool {
				s := srv.Stats()[0]
				return s.Active+s.Lingering == 0
			})
			for _, c := range held {
				_ = c.Close()
			}
			if err := srv.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			eventually(t, "goroutines and descriptors are as before", func() bool {
				return openDescriptors(t) <= descriptors+1 && runtime.NumGoroutine() <= goroutines+1 // the runtime's own poller may come to be on the way
			})
		})
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		debian.Lacking(t, "a list of its descriptors: %v", err)
	}
	return len(open)
}

func TestLingeringClientsShareOneGoroutine(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			srv := &service.Server{LingerTimeout: time.Minute}
			addr := onKernel(t, srv, listen)
			dialKernel(t, addr)
			eventually(t, "the first lingers", func() bool { return srv.Stats()[0].Lingering == 1 })
			before := runtime.NumGoroutine()
			for range 50 {
				dialKernel(t, addr)
			}
			eventually(t, "all linger", func() bool { return srv.Stats()[0].Lingering == 51 })
			if after := runtime.NumGoroutine(); after >= before+50 {
				t.Errorf("%d goroutines for 50 more lingering clients", after-before)
			}
		})
	}
}

func TestUnixClientsAreGreeted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "greet.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	srv := &service.Server{}
	serveOn(t, srv, ln)
	c := dialKernel(t, ln.Addr())
	if got := read(t, c); got != "Hello there, unix!\n" {
		t.Errorf("greeting = %q", got)
	}
	_ = c.Close()
	eventually(t, "it has left", func() bool { s := srv.Stats()[0]; return s.Active+s.Lingering == 0 })
}

// Alive is no client, whoever asks and how often.
func TestAliveConcernsNoClient(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			seen := &record{}
			srv := &service.Server{Observer: seen}
			addr := onKernel(t, srv, listen)
			serveOn(t, srv, listen(t, "unix", filepath.Join(t.TempDir(), "alive.sock")))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var running sync.WaitGroup
			for range 8 {
				running.Go(func() {
					for range 200 {
						if err := srv.Alive(ctx); err != nil {
							t.Errorf("Alive = %v", err)
						}
					}
				})
				running.Go(func() {
					for range 50 {
						c := dialKernel(t, addr)
						if got := read(t, c); got != "Hello there, 127.0.0.1!\n" {
							t.Errorf("greeting = %q", got)
						}
						_ = c.Close()
					}
				})
			}
			running.Wait()
			eventually(t, "all visits are reported", func() bool { return len(seen.visits()) >= 400 })
			if opened := len(seen.visits()); opened != 400 || len(seen.troubles()) != 0 {
				t.Errorf("%d visits, trouble %q; want the 400 clients", opened, seen.troubles())
			}
		})
	}
}

func TestShutdownLeavesNothing(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			descriptors := openDescriptors(t)
			srv := &service.Server{Greeter: service.Static(strings.Repeat("x", 64<<20)), WriteTimeout: time.Minute}
			ln := listen(t, "tcp", "127.0.0.1:0")
			ended := make(chan error, 1)
			go func() { ended <- srv.Serve(service.Listener{Listener: ln, Name: "greet"}) }()
			var clients []net.Conn
			for range 20 {
				clients = append(clients, dialKernel(t, ln.Addr()))
			}
			eventually(t, "all are being greeted", func() bool { s := srv.Stats(); return len(s) == 1 && s[0].Active == 20 })
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if err := srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("Shutdown = %v", err)
			}
			<-ended
			if s := srv.Stats()[0]; s.Visits[service.Cut] != 20 {
				t.Errorf("stats = %+v", s)
			}
			for _, c := range clients {
				_ = c.Close()
			}
			eventually(t, "goroutines and descriptors are as before", func() bool {
				return openDescriptors(t) <= descriptors+1 && runtime.NumGoroutine() <= before+1
			})
		})
	}
}

// Who was accepted is lost in a crash, who waits in the backlog is not.
func TestACrowdIsNotAcceptedLongBeforeItIsGreeted(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			const clients, ahead = 400, 50
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // a busy machine
			ln := listen(t, "tcp", "127.0.0.1:0")
			counting := &countingListener{Listener: ln}
			for range clients { // before anybody accepts
				dialKernel(t, ln.Addr())
			}
			var greeted, most atomic.Int64
			everybody := make(chan struct{})
			serveOn(t, &service.Server{Greeter: service.GreeterFunc(func(dst []byte, _ service.Peer) ([]byte, error) {
				n := greeted.Add(1)
				most.Store(max(most.Load(), counting.accepted.Load()-n))
				if n == clients {
					close(everybody)
				}
				return append(dst, "hello\n"...), nil
			})}, counting)
			<-everybody
			if got := most.Load(); got > ahead {
				t.Errorf("%d of %d were accepted and not greeted yet, want at most %d", got, clients, ahead)
			}
		})
	}
}

type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// Who has hung up has left, also if nobody has looked since: but for a visit that is just
// being settled.
func TestPlacesAreFreeAsSoonAsClientsHaveHungUp(t *testing.T) {
	const clients, early = 500, 25
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			var inside atomic.Int64
			addr := onKernel(t, &service.Server{LingerTimeout: time.Minute, Admit: func(service.Peer) (func(), error) {
				if inside.Add(1) > 1 {
					inside.Add(-1)
					return nil, errors.New("one at a time")
				}
				return func() { inside.Add(-1) }, nil
			}}, listen)
			refused := 0
			for range clients {
				c := dialKernel(t, addr)
				if read(t, c) == "" {
					refused++
				}
				_ = c.Close()
			}
			if refused > early {
				t.Errorf("%d of %d were refused, one after the other", refused, clients)
			}
		})
	}
}

// More clients than the reaper sees to at once, all of whom always have something to say.
func TestACrowdThatTalksWithoutEndIsLeft(t *testing.T) {
	const talkers = 300
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			srv := &service.Server{LingerTimeout: 200 * time.Millisecond}
			addr := onKernel(t, srv, listen)
			chatter := make([]byte, 256<<10)
			var running sync.WaitGroup
			for range talkers {
				c := dialKernel(t, addr)
				running.Go(func() {
					for {
						if _, err := c.Write(chatter); err != nil {
							return
						}
					}
				})
			}
			eventually(t, "all were left", func() bool {
				s := srv.Stats()[0]
				return s.Visits[service.Greeted] == talkers && s.Active+s.Lingering == 0
			})
			running.Wait()
		})
	}
}

// A client that is greeted while Shutdown waits, and leaves, is not waited for.
func TestShutdownWaitsForNobodyWhoHasLeft(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			inside, proceed := make(chan struct{}, 2), make(chan struct{}, 2)
			proceed <- struct{}{}
			srv := &service.Server{LingerTimeout: time.Hour, Admit: func(service.Peer) (func(), error) {
				inside <- struct{}{}
				<-proceed
				return nil, nil
			}}
			ln := listen(t, "tcp", "127.0.0.1:0")
			serveOn(t, srv, ln)
			first := dialKernel(t, ln.Addr())
			read(t, first)
			<-inside
			_ = first.Close()

			last := dialKernel(t, ln.Addr())
			<-inside
			ended := make(chan error)
			go func() { ended <- srv.Shutdown(expires(t, 10*time.Second)) }()
			eventually(t, "it no longer listens", func() bool { return !srv.Stats()[0].Open })
			proceed <- struct{}{}
			read(t, last)
			_ = last.Close()
			if err := <-ended; err != nil {
				t.Errorf("Shutdown waited to its end: %v", err)
			}
		})
	}
}

// Child processes of whoever uses the package hold no client and no listener.
func TestDescriptorsAreCloseOnExec(t *testing.T) {
	for name, listen := range paths {
		t.Run(name, func(t *testing.T) {
			srv := &service.Server{LingerTimeout: time.Minute}
			addr := onKernel(t, srv, listen)
			dialKernel(t, addr)
			eventually(t, "the client lingers", func() bool { return srv.Stats()[0].Lingering == 1 })
			open, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				debian.Lacking(t, "a list of its descriptors: %v", err)
			}
			for _, entry := range open {
				to, _ := os.Readlink("/proc/self/fd/" + entry.Name())
				if !strings.HasPrefix(to, "socket:") && !strings.Contains(to, "eventpoll") {
					continue
				}
				info, _ := os.ReadFile("/proc/self/fdinfo/" + entry.Name())
				_, flags, _ := strings.Cut(string(info), "flags:\t")
				flags, _, _ = strings.Cut(flags, "\n")
				if n, err := strconv.ParseInt(flags, 8, 64); err == nil && n&syscall.O_CLOEXEC == 0 {
					t.Errorf("a child process would hold %s", to)
				}
			}
		})
	}
}
