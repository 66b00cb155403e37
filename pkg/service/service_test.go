package service_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/pkg/service"
)

const greetAddress = "198.51.100.1:10000"

// record is an Observer that remembers.
type record struct {
	mu      sync.Mutex
	opened  []service.Peer
	closed  []service.Visit
	trouble []string
}

func (r *record) Opened(p service.Peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.opened = append(r.opened, p)
}

func (r *record) Closed(v service.Visit) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = append(r.closed, v)
}

func (r *record) AcceptFailed(listener string, err error, retryIn time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = append(r.trouble, fmt.Sprintf("%s %v %v", listener, errors.Unwrap(err), retryIn))
}

func (r *record) visits() []service.Visit {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]service.Visit(nil), r.closed...)
}

func (r *record) troubles() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.trouble...)
}

// serving is a server under test over a network in memory.
type serving struct {
	*service.Server
	*record
	ln    *memnet.Listener
	ended chan error
}

// serve makes srv greet; the test shuts it down at its end if it has not before.
func serve(t *testing.T, srv *service.Server, settings ...func(*service.Listener)) *serving {
	t.Helper()
	s := &serving{srv, &record{}, memnet.Listen(greetAddress), make(chan error, 1)}
	if srv.Observer == nil {
		srv.Observer = s.record
	} else {
		srv.Observer = service.Observers{srv.Observer, s.record}
	}
	ln := service.Listener{Listener: s.ln, Name: "greet"}
	for _, set := range settings {
		set(&ln)
	}
	go func() { s.ended <- srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	synctest.Wait()
	return s
}

func (s *serving) dial(t *testing.T) *memnet.Conn {
	t.Helper()
	c, err := s.ln.Dial()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// only is the one visit that there was.
func (s *serving) only(t *testing.T) service.Visit {
	t.Helper()
	synctest.Wait()
	all := s.visits()
	if len(all) != 1 {
		t.Fatalf("%d visits have ended, want 1: %+v", len(all), all)
	}
	return all[0]
}

func (s *serving) stats(t *testing.T) service.ListenerStats {
	t.Helper()
	synctest.Wait()
	all := s.Stats()
	if len(all) != 1 {
		t.Fatalf("stats of %d listeners, want 1", len(all))
	}
	return all[0]
}

func read(t *testing.T, c net.Conn) string {
	t.Helper()
	text, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("read: %v (after %q)", err, text)
	}
	return string(text)
}

func TestZeroServerTellsClientsTheirAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		c := s.dial(t)
		if got, want := read(t, c), "Hello there, 192.0.2.7!\n"; got != want {
			t.Errorf("greeting = %q, want %q", got, want)
		}
		v := s.only(t)
		if v.Outcome != service.Greeted || v.Err != nil || v.Written != 24 || v.Took != 0 {
			t.Errorf("visit = %+v", v)
		}
		if v.ID != 1 || v.Listener != "greet" || v.Remote.String() != c.LocalAddr().String() ||
			v.Local.String() != greetAddress || v.Proxy.IsValid() {
			t.Errorf("peer = %+v", v.Peer)
		}
	})
}

func TestMappedIPv4IsIPv4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		c, err := s.ln.DialFrom(netip.MustParseAddrPort("[::ffff:192.0.2.9]:77"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got, want := read(t, c), "Hello there, 192.0.2.9!\n"; got != want {
			t.Errorf("greeting = %q, want %q", got, want)
		}
	})
}

func TestGreetingGoesInOneWriteAndThenLingers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static("welcome\n"), LingerTimeout: 3 * time.Second})
		c := s.dial(t)
		if _, err := c.Write([]byte("I talk first")); err != nil {
			t.Fatal(err)
		}
		if got := s.stats(t); got.Lingering != 1 || got.Active != 0 || got.Visits[service.Greeted] != 1 {
			t.Errorf("while the client stays: %+v", got)
		}
		time.Sleep(2999 * time.Millisecond)
		if got := s.stats(t); got.Lingering != 1 {
			t.Errorf("before the linger timeout: %+v", got)
		}
		if got := read(t, c); got != "welcome\n" {
			t.Errorf("greeting = %q", got)
		}
		time.Sleep(2 * time.Millisecond)
		if got := s.stats(t); got.Lingering != 0 {
			t.Errorf("after the linger timeout: %+v", got)
		}
		if _, err := c.Write([]byte("still there?")); err == nil {
			t.Error("the connection is open after the linger timeout")
		}
	})
}

func TestClientThatHangsUpLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: time.Hour})
		c := s.dial(t)
		read(t, c)
		_ = c.Close()
		if got := s.stats(t); got.Lingering != 0 {
			t.Errorf("after the client has hung up: %+v", got)
		}
	})
}

func TestNegativeLingerClosesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: -1})
		c := s.dial(t)
		if got := read(t, c); !strings.HasPrefix(got, "Hello there") {
			t.Errorf("greeting = %q", got)
		}
		if got := s.stats(t); got.Lingering != 0 || got.Active != 0 {
			t.Errorf("stats = %+v", got)
		}
	})
}

func TestClientThatReadsNothingTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", 1<<20)), WriteTimeout: 4 * time.Second})
		c := s.dial(t)
		time.Sleep(4*time.Second + time.Millisecond)
		v := s.only(t)
		if v.Outcome != service.TimedOut || !errors.Is(v.Err, os.ErrDeadlineExceeded) {
			t.Errorf("outcome = %q, %v", v.Outcome, v.Err)
		}
		if v.Written != memnet.Window {
			t.Errorf("written = %d, want the %d bytes that fit in between", v.Written, memnet.Window)
		}
		if v.Took != 4*time.Second {
			t.Errorf("took = %v, want 4s", v.Took)
		}
		if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a cut greeting ends with %v: it must not look whole", err)
		}
		if got := s.stats(t); got.Bytes != memnet.Window || got.Visits[service.TimedOut] != 1 {
			t.Errorf("stats = %+v", got)
		}
	})
}

func TestClientThatReadsSlowlyTimesOutAtTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", 1<<20))})
		c := s.dial(t)
		var reading sync.WaitGroup
		defer reading.Wait()
		reading.Go(func() {
			kilobyte := make([]byte, 1024)
			time.Sleep(time.Second / 2) // so that no read coincides with the deadline
			for range 20 {
				if _, err := io.ReadFull(c, kilobyte); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		time.Sleep(5*time.Second + time.Millisecond)
		if v := s.only(t); v.Outcome != service.TimedOut || v.Took != 5*time.Second || v.Written != memnet.Window+5*1024 {
			t.Errorf("outcome = %q after %v with %d bytes, want timed_out after 5s with %d", v.Outcome, v.Took, v.Written, memnet.Window+5*1024)
		}
	})
}

func TestPartialWritesGoOnWhereTheyStopped(t *testing.T) {
	var text strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&text, "%d\n", i)
	}
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(text.String())})
		c := s.dial(t)
		var got strings.Builder
		piece := make([]byte, 997)
		for {
			n, err := c.Read(piece)
			got.Write(piece[:n])
			if err != nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if got.String() != text.String() {
			t.Errorf("%d bytes came, want the %d of the greeting, as they are", got.Len(), text.Len())
		}
		if v := s.only(t); v.Outcome != service.Greeted || v.Written != int64(text.Len()) {
			t.Errorf("visit = %+v", v)
		}
	})
}

func TestClientThatResetsHasHungUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", 1<<20))})
		c := s.dial(t)
		synctest.Wait()
		c.Reset()
		if v := s.only(t); v.Outcome != service.HungUp || !errors.Is(v.Err, syscall.ECONNRESET) {
			t.Errorf("outcome = %q, %v", v.Outcome, v.Err)
		}
	})
}

func TestGreeterThatFailsEndsOneVisit(t *testing.T) {
	broken := errors.New("out of words")
	greeters := map[string]struct {
		greet service.GreeterFunc
		check func(error) bool
	}{
		"error": {
			func([]byte, service.Peer) ([]byte, error) { return nil, broken },
			func(err error) bool { return errors.Is(err, broken) },
		},
		"panic": {
			func([]byte, service.Peer) ([]byte, error) { panic("no words") },
			func(err error) bool {
				var p *service.PanicError
				return errors.As(err, &p) && p.Value == "no words" && strings.Contains(string(p.Stack), "service_test.go")
			},
		},
		"goexit": {
			func([]byte, service.Peer) ([]byte, error) { runtime.Goexit(); return nil, nil },
			func(err error) bool { return err != nil },
		},
	}
	for name, tt := range greeters {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := true
				s := serve(t, &service.Server{Greeter: service.GreeterFunc(func(dst []byte, p service.Peer) ([]byte, error) {
					if first {
						first = false
						return tt.greet(dst, p)
					}
					return append(dst, "fine\n"...), nil
				})})
				c := s.dial(t)
				if got := read(t, c); got != "" {
					t.Errorf("greeting = %q", got)
				}
				if v := s.only(t); v.Outcome != service.Failed || !tt.check(v.Err) || v.Written != 0 {
					t.Errorf("visit = %+v", v)
				}
				if got := read(t, s.dial(t)); got != "fine\n" {
					t.Errorf("the next client hears %q", got)
				}
			})
		})
	}
}

func TestAdmit(t *testing.T) {
	no := errors.New("not you")
	synctest.Test(t, func(t *testing.T) {
		inside := 0
		s := serve(t, &service.Server{LingerTimeout: time.Minute, Admit: func(p service.Peer) (func(), error) {
			if p.Remote.Port() == 666 {
				return nil, no
			}
			inside++
			return func() { inside-- }, nil
		}})
		bad, err := s.ln.DialFrom(netip.MustParseAddrPort("192.0.2.66:666"))
		if err != nil {
			t.Fatal(err)
		}
		defer bad.Close()
		if got := read(t, bad); got != "" {
			t.Errorf("a refused client hears %q", got)
		}
		if v := s.only(t); v.Outcome != service.Refused || !errors.Is(v.Err, no) {
			t.Errorf("visit = %+v", v)
		}
		good := s.dial(t)
		if got := read(t, good); got == "" {
			t.Error("an admitted client hears nothing")
		}
		synctest.Wait()
		if inside != 1 {
			t.Errorf("%d inside while the client lingers, want 1", inside)
		}
		_ = good.Close()
		synctest.Wait()
		if inside != 0 {
			t.Errorf("%d inside after it has gone, want 0", inside)
		}
	})
}

// However a visit ends, the place that Admit gave is given back once, when the connection is closed.
func TestPlacesAreGivenBack(t *testing.T) {
	panics := service.GreeterFunc(func([]byte, service.Peer) ([]byte, error) { panic("greeter") })
	fails := service.GreeterFunc(func([]byte, service.Peer) ([]byte, error) { return nil, errors.New("no") })
	exits := service.GreeterFunc(func([]byte, service.Peer) ([]byte, error) { runtime.Goexit(); return nil, nil })
	large := service.Static(strings.Repeat("x", 4*memnet.Window))
	for name, test := range map[string]struct {
		greeter service.Greeter
		tls     bool
		client  func(c *memnet.Conn)
		want    service.Outcome
	}{
		"greeted and gone":                {client: func(c *memnet.Conn) { _, _ = io.ReadAll(c); _ = c.Close() }, want: service.Greeted},
		"greeted and lingers":             {client: func(*memnet.Conn) {}, want: service.Greeted},
		"greeted and resets":              {client: func(c *memnet.Conn) { _, _ = io.ReadAll(c); c.Reset() }, want: service.Greeted},
		"greeter fails":                   {greeter: fails, client: func(*memnet.Conn) {}, want: service.Failed},
		"greeter panics":                  {greeter: panics, client: func(*memnet.Conn) {}, want: service.Failed},
		"greeter ends its goroutine":      {greeter: exits, client: func(*memnet.Conn) {}, want: service.Failed},
		"reads nothing":                   {greeter: large, client: func(*memnet.Conn) {}, want: service.TimedOut},
		"resets while it is greeted":      {greeter: large, client: func(c *memnet.Conn) { time.Sleep(time.Second); c.Reset() }, want: service.HungUp},
		"TLS: plain text":                 {tls: true, client: func(c *memnet.Conn) { _, _ = io.WriteString(c, "GET / HTTP/1.0\r\n\r\n") }, want: service.Refused},
		"TLS: silent":                     {tls: true, client: func(*memnet.Conn) {}, want: service.TimedOut},
		"TLS: half a handshake, and gone": {tls: true, client: func(c *memnet.Conn) { _, _ = io.WriteString(c, hello); _ = c.Close() }, want: service.HungUp},
		"TLS: half a handshake":           {tls: true, client: func(c *memnet.Conn) { _, _ = io.WriteString(c, hello) }, want: service.TimedOut},
		"TLS: a broken handshake": {tls: true, client: func(c *memnet.Conn) {
			_ = tls.Client(c, &tls.Config{ServerName: "another.example"}).Handshake() // it does not trust the certificate
		}, want: service.Refused},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var given, back atomic.Int64
				srv := &service.Server{Greeter: test.greeter, Admit: func(service.Peer) (func(), error) {
					given.Add(1)
					return func() { back.Add(1) }, nil
				}}
				s := serve(t, srv, func(ln *service.Listener) {
					if test.tls {
						speakingTLS(t)(ln)
					}
				})
				test.client(s.dial(t))
				time.Sleep(time.Minute)
				if v := s.only(t); v.Outcome != test.want {
					t.Errorf("outcome = %q, want %q: %v", v.Outcome, test.want, v.Err)
				}
				if stats := s.stats(t); stats.Active+stats.Lingering != 0 {
					t.Errorf("stats = %+v", stats)
				}
				if given.Load() != 1 || back.Load() != 1 {
					t.Errorf("%d places were given and %d given back, want one", given.Load(), back.Load())
				}
			})
		})
	}
}

// proxied is what Unwrap returns: the connection of a client behind a proxy.
type proxied struct {
	net.Conn
	remote, local net.Addr
}

func (p proxied) RemoteAddr() net.Addr { return p.remote }
func (p proxied) LocalAddr() net.Addr  { return p.local }

func (p proxied) ProxyInfo() *service.ProxyInfo {
	return &service.ProxyInfo{Authority: "greet.example"}
}

func TestUnwrapTellsWhoTheClientIs(t *testing.T) {
	client := netip.MustParseAddrPort("203.0.113.5:4711")
	asked := netip.MustParseAddrPort("203.0.113.80:25")
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{}, func(ln *service.Listener) {
			ln.Unwrap = func(c net.Conn) (net.Conn, error) {
				header := make([]byte, 3)
				if _, err := io.ReadFull(c, header); err != nil {
					return nil, err
				}
				if string(header) != "PXY" {
					return nil, errors.New("no header")
				}
				return proxied{c, net.TCPAddrFromAddrPort(client), net.TCPAddrFromAddrPort(asked)}, nil
			}
		})

		good := s.dial(t)
		time.Sleep(time.Second)
		_, _ = good.Write([]byte("PXY"))
		if got, want := read(t, good), "Hello there, 203.0.113.5!\n"; got != want {
			t.Errorf("greeting = %q, want %q", got, want)
		}
		v := s.only(t)
		if v.Remote != client || v.Local != asked || v.Proxy.String() != good.LocalAddr().String() || v.ProxyInfo.Authority != "greet.example" || v.Took != time.Second {
			t.Errorf("visit = %+v", v)
		}

		bad, slow, gone := s.dial(t), s.dial(t), s.dial(t)
		_, _ = bad.Write([]byte("GET"))
		_ = gone.Close()
		synctest.Wait()
		_, _ = slow.Write([]byte("P"))
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		got := map[uint64]service.Visit{}
		for _, v := range s.visits() {
			got[v.ID] = v
		}
		if got[2].Outcome != service.Refused || got[3].Outcome != service.TimedOut || got[4].Outcome != service.HungUp {
			t.Errorf("outcomes = %q %q %q, want refused, timed_out, hung_up", got[2].Outcome, got[3].Outcome, got[4].Outcome)
		}
		if got[3].Took != 3*time.Second {
			t.Errorf("the slow one took %v, want the handshake timeout of 3s", got[3].Took)
		}
	})
}

func TestTLSClientsAreGreeted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		certificate := selfSigned(t)
		s := serve(t, &service.Server{LingerTimeout: 20 * time.Second}, func(ln *service.Listener) {
			ln.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
		})
		c := tls.Client(s.dial(t), &tls.Config{InsecureSkipVerify: true})
		if got := read(t, c); got != "Hello there, 192.0.2.7!\n" {
			t.Errorf("greeting = %q", got)
		}
		if v := s.only(t); v.Outcome != service.Greeted || v.Written != 24 {
			t.Errorf("visit = %+v", v)
		}
		time.Sleep(10 * time.Second) // longer than the write timeout
		if got := s.stats(t); got.Lingering != 1 {
			t.Errorf("stats = %+v, want it to linger", got)
		}

		plain := s.dial(t)
		_, _ = plain.Write([]byte("GET / HTTP/1.0\r\n\r\n"))
		synctest.Wait()
		v := s.visits()[1]
		if v.Outcome != service.Refused || !strings.Contains(v.Err.Error(), "TLS handshake") {
			t.Errorf("plain text on a TLS listener: %q, %v", v.Outcome, v.Err)
		}

		_ = s.dial(t) // says nothing
		time.Sleep(3*time.Second + time.Millisecond)
		synctest.Wait()
		if v := s.visits()[2]; v.Outcome != service.TimedOut || v.Took != 3*time.Second {
			t.Errorf("silence on a TLS listener: %q after %v", v.Outcome, v.Took)
		}
	})
}

func TestFullServerLetsTheBacklogWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", memnet.Window+1)), MaxConns: 2})
		first, second, third := s.dial(t), s.dial(t), s.dial(t)
		if got := s.stats(t); got.Active != 2 {
			t.Errorf("active = %d, want 2", got.Active)
		}
		if err := s.Alive(expires(t, time.Second)); err != nil {
			t.Errorf("a full server is alive, but: %v", err)
		}
		read(t, first)
		if got := s.stats(t); got.Active != 2 || got.Visits[service.Greeted] != 1 {
			t.Errorf("after one was greeted: %+v", got)
		}
		read(t, second)
		read(t, third)
		if got := s.stats(t); got.Visits[service.Greeted] != 3 {
			t.Errorf("in the end: %+v", got)
		}
	})
}

func TestOldestLingererGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{MaxConns: 2, LingerTimeout: time.Hour})
		var clients []net.Conn
		for range 3 {
			c := s.dial(t)
			if got := read(t, c); got == "" {
				t.Error("a client was not greeted")
			}
			synctest.Wait() // it lingers
			clients = append(clients, c)
		}
		if got := s.stats(t); got.Lingering != 2 {
			t.Errorf("lingering = %d, want 2", got.Lingering)
		}
		if _, err := clients[0].Write([]byte("x")); err == nil {
			t.Error("the oldest was not the one to go")
		}
		if _, err := clients[2].Write([]byte("x")); err != nil {
			t.Errorf("the youngest had to go: %v", err)
		}
	})
}

func TestUpdateMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := service.Static(strings.Repeat("x", memnet.Window+1))
		s := serve(t, &service.Server{Greeter: long, MaxConns: 1})
		first, second := s.dial(t), s.dial(t)
		synctest.Wait()
		s.Update(service.Settings{Greeter: service.Static("new\n"), MaxConns: 2})
		if got := read(t, second); got != "new\n" {
			t.Errorf("second hears %q", got)
		}
		if got := read(t, first); got != string(long) {
			t.Errorf("first hears %d bytes, want the old greeting to its end", len(got))
		}
	})
}

func TestVisitSeesOneVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		updated := make(chan struct{})
		old := func(ln *service.Listener) {
			ln.Unwrap = func(c net.Conn) (net.Conn, error) { <-updated; return c, nil }
		}
		s := serve(t, &service.Server{Greeter: service.Static("old\n")}, old)
		before := s.dial(t)
		synctest.Wait()
		s.Update(service.Settings{Greeter: service.Static("new\n")}, service.Listener{Name: "greet"})
		if got := read(t, s.dial(t)); got != "new\n" {
			t.Errorf("who comes after the update hears %q", got)
		}
		close(updated)
		if got := read(t, before); got != "old\n" {
			t.Errorf("who came before the update hears %q", got)
		}
	})
}

func TestUpdateShortensLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: time.Hour})
		s.dial(t)
		synctest.Wait()
		s.Update(service.Settings{LingerTimeout: time.Second})
		s.dial(t)
		time.Sleep(1001 * time.Millisecond)
		if got := s.stats(t); got.Lingering != 0 {
			t.Errorf("lingering = %d a second after the update, want 0", got.Lingering)
		}
	})
}

func TestShutdownDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", memnet.Window+1))})
		c := s.dial(t)
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(expires(t, 10*time.Second)) }()
		synctest.Wait()
		if err := <-s.ended; !errors.Is(err, service.ErrClosed) {
			t.Errorf("Serve returns %v, want ErrClosed", err)
		}
		if _, err := s.ln.Dial(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial after shutdown began: %v", err)
		}
		time.Sleep(time.Second)
		read(t, c)
		_ = c.Close()
		if err := <-down; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if v := s.only(t); v.Outcome != service.Greeted {
			t.Errorf("outcome = %q", v.Outcome)
		}
		late := memnet.Listen(greetAddress)
		if err := s.Serve(service.Listener{Listener: late}); !errors.Is(err, service.ErrClosed) {
			t.Errorf("Serve after Shutdown returns %v, want ErrClosed", err)
		}
		if _, err := late.Dial(); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("Serve after Shutdown leaves its listener open: %v", err)
		}
	})
}

func TestDrainCutsSlowVisits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", 1<<20)), WriteTimeout: time.Minute})
		c := s.dial(t)
		synctest.Wait()
		began := time.Now()
		if err := s.Shutdown(expires(t, 2*time.Second)); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown = %v", err)
		}
		if took := time.Since(began); took != 2*time.Second {
			t.Errorf("Shutdown took %v, want 2s", took)
		}
		if v := s.only(t); v.Outcome != service.Cut || v.Written != memnet.Window {
			t.Errorf("outcome = %q with %d bytes, want cut with %d", v.Outcome, v.Written, memnet.Window)
		}
		if _, err := io.ReadAll(c); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a cut greeting ends with %v", err)
		}
	})
}

func TestShutdownEndsLingeringWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: time.Hour})
		read(t, s.dial(t))
		if err := s.Shutdown(expires(t, time.Second)); err == nil {
			t.Error("Shutdown says nothing about the client that it left behind")
		}
		if v := s.only(t); v.Outcome != service.Greeted {
			t.Errorf("outcome = %q", v.Outcome)
		}
	})
}

func TestCloseEndsAShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: service.Static(strings.Repeat("x", 1<<20)), WriteTimeout: time.Hour})
		s.dial(t)
		synctest.Wait()
		down := make(chan error, 1)
		go func() { down <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-down; !errors.Is(err, service.ErrClosed) {
			t.Errorf("Shutdown = %v, want ErrClosed", err)
		}
		if v := s.only(t); v.Outcome != service.Cut {
			t.Errorf("outcome = %q", v.Outcome)
		}
	})
}

func TestAcceptBacksOffAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: -1})
		failures := make([]error, 10)
		for i := range failures {
			failures[i] = syscall.EMFILE
		}
		s.ln.Fail(failures...)
		read(t, s.dial(t)) // taken by the Accept that waits already
		time.Sleep(5 * time.Second)
		read(t, s.dial(t))
		time.Sleep(1001 * time.Millisecond)
		synctest.Wait()
		want := []string{
			"greet too many open files 5ms", "greet too many open files 10ms", "greet too many open files 20ms",
			"greet too many open files 40ms", "greet too many open files 80ms", "greet too many open files 160ms",
			"greet too many open files 320ms", "greet too many open files 640ms", "greet too many open files 1s",
			"greet too many open files 1s", "greet <nil> 0s",
		}
		if got := s.troubles(); strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Errorf("trouble =\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if got := s.stats(t); got.AcceptErrors != 10 {
			t.Errorf("accept errors = %d, want 10", got.AcceptErrors)
		}
	})
}

func TestLingerersGiveWayWhenDescriptorsRunOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: time.Hour})
		for range 20 {
			read(t, s.dial(t))
		}
		s.ln.Fail(syscall.EMFILE)
		read(t, s.dial(t))
		read(t, s.dial(t)) // without a pause
		if got := s.stats(t); got.Lingering != 6 {
			t.Errorf("lingering = %d, want 22 less the 16 that gave way", got.Lingering)
		}
	})
}

func TestOneEpisodeOfTroubleIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		for range 20 { // one descriptor comes free now and then, for longer than an episode takes to end
			s.ln.Fail(syscall.ENFILE)
			read(t, s.dial(t))
			time.Sleep(200 * time.Millisecond)
			read(t, s.dial(t))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		ends := 0
		for _, line := range s.troubles() {
			if line == "greet <nil> 0s" {
				ends++
			}
		}
		if ends != 1 {
			t.Errorf("the end was reported %d times, want once: %q", ends, s.troubles())
		}
	})
}

// A server that pauses since it can't accept is alive: its watchdog does not kill it for that.
func TestAliveDuringBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		s.ln.Fail(slices.Repeat([]error{syscall.ENOMEM}, 100)...)
		read(t, s.dial(t)) // taken by the Accept that waits already
		time.Sleep(10 * time.Second)
		if err := s.Alive(expires(t, time.Millisecond)); err != nil {
			t.Errorf("Alive = %v", err)
		}
	})
}

// Each episode begins anew: with the shortest pause, and with one report of its end, be that because
// the server ends.
func TestEpisodesOfTroubleBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: -1})
		for range 2 {
			s.ln.Fail(syscall.ENOMEM, syscall.ENOMEM)
			read(t, s.dial(t)) // taken by the Accept that waits already
			read(t, s.dial(t))
			time.Sleep(2 * time.Second)
		}
		s.ln.Fail(syscall.ENOMEM)
		read(t, s.dial(t))
		synctest.Wait()
		_ = s.Close()
		episode := []string{"greet cannot allocate memory 5ms", "greet cannot allocate memory 10ms", "greet <nil> 0s"}
		want := slices.Concat(episode, episode, []string{episode[0], episode[2]})
		if got := s.troubles(); !slices.Equal(got, want) {
			t.Errorf("trouble = %q, want %q", got, want)
		}
	})
}

// A server without trouble reports none, also when it ends.
func TestNoTroubleNoReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		read(t, s.dial(t))
		time.Sleep(2 * time.Second)
		_ = s.Close()
		if got := s.troubles(); len(got) != 0 {
			t.Errorf("trouble = %q", got)
		}
	})
}

// The memory of a large greeting is not kept for the next, however small.
func TestLargeGreetingsLeaveNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		large, most := true, 0
		s := serve(t, &service.Server{LingerTimeout: -1, Greeter: service.GreeterFunc(func(dst []byte, _ service.Peer) ([]byte, error) {
			most = max(most, cap(dst))
			if large = !large; !large {
				return append(dst, strings.Repeat("x", 1<<20)...), nil
			}
			return append(dst, "small\n"...), nil
		})})
		for range 40 {
			read(t, s.dial(t))
		}
		if most > 128<<10 {
			t.Errorf("a greeting began with %d bytes of memory", most)
		}
	})
}

func TestShutdownDuringBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		failures := make([]error, 100)
		for i := range failures {
			failures[i] = syscall.ENOMEM
		}
		s.ln.Fail(failures...)
		read(t, s.dial(t))
		time.Sleep(10 * time.Second)
		began := time.Now()
		if err := s.Shutdown(expires(t, time.Second)); err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("Shutdown took %v during a back-off, want no time at all", took)
		}
	})
}

// What accept(2) reports of one client, or of a network that is down, does not end a listener.
func TestErrorsOfOneClientAreNoTrouble(t *testing.T) {
	for _, errno := range []syscall.Errno{
		syscall.ECONNABORTED, syscall.EINTR, syscall.ENETDOWN, syscall.EPROTO, syscall.ENOPROTOOPT, syscall.EHOSTDOWN,
		syscall.ENONET, syscall.EHOSTUNREACH, syscall.EOPNOTSUPP, syscall.ENETUNREACH, syscall.EPERM, syscall.ETIMEDOUT,
	} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, &service.Server{})
				s.ln.Fail(slices.Repeat([]error{errno}, 10)...)
				read(t, s.dial(t)) // the accept that waits already
				read(t, s.dial(t))
				synctest.Wait()
				if troubles := s.troubles(); len(troubles) != 0 {
					t.Errorf("trouble = %q", troubles)
				}
			})
		})
	}
}

// However many there are in the end: only those in a row count.
func TestErrorsOfManyClientsAreNoTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{LingerTimeout: -1})
		for range 150 {
			s.ln.Fail(syscall.ECONNABORTED)
			read(t, s.dial(t))
		}
		if troubles := s.troubles(); len(troubles) != 0 {
			t.Errorf("trouble = %q", troubles)
		}
	})
}

// An accept that always fails does not take all of a processor in silence.
func TestErrorsOfOneClientWithoutEndAreTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		begun := time.Now()
		s.ln.Fail(slices.Repeat([]error{syscall.EPERM}, 110)...)
		read(t, s.dial(t)) // the accept that waits already
		read(t, s.dial(t))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		troubles := s.troubles()
		if len(troubles) < 2 || !strings.Contains(troubles[0], syscall.EPERM.Error()) {
			t.Errorf("trouble = %q, want that it begins and ends", troubles)
		}
		if time.Since(begun) < 2*time.Second+time.Second {
			t.Error("the loop did not pause")
		}
	})
}

// Nothing of the system's that is short for a moment ends a listener.
func TestShortageIsSurvived(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.ENOSPC} {
		t.Run(errno.Error(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, &service.Server{})
				s.ln.Fail(errno, errno)
				read(t, s.dial(t)) // the accept that waits already
				read(t, s.dial(t))
				if n := s.stats(t).AcceptErrors; n != 2 {
					t.Errorf("%d accept errors, want 2", n)
				}
			})
		})
	}
}

func TestBrokenListenerEndsServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		s.ln.Fail(syscall.EINVAL)
		read(t, s.dial(t))
		err := <-s.ended
		if !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), "greet") {
			t.Errorf("Serve = %v, want EINVAL and the listener's name", err)
		}
		if _, err := s.ln.Dial(); err == nil {
			t.Error("Serve left its listener open")
		}
	})
}

func TestClosedListenerLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		other := memnet.Listen("198.51.100.1:10001")
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(service.Listener{Listener: other, Name: "other"}) }()
		synctest.Wait()
		_ = other.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) || errors.Is(err, service.ErrClosed) {
			t.Errorf("Serve = %v, want net.ErrClosed", err)
		}
		read(t, s.dial(t))
		for _, l := range s.Stats() {
			if l.Open != (l.Name == "greet") {
				t.Errorf("listener %s: open = %v", l.Name, l.Open)
			}
		}
	})
}

func TestAliveNudgesTheLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{})
		for range 3 {
			if err := s.Alive(expires(t, time.Second)); err != nil {
				t.Errorf("Alive = %v", err)
			}
		}
		read(t, s.dial(t)) // the nudges did no harm
		synctest.Wait()
		if got := s.visits(); len(got) != 1 || len(s.troubles()) != 0 {
			t.Errorf("visits = %+v, trouble = %q", got, s.troubles())
		}
	})
}

// wedged is a listener whose Accept does not return until it is closed, whatever
// its deadline says.
type wedged struct{ *memnet.Listener }

func (wedged) SetDeadline(time.Time) error { return nil }

func TestAliveTellsAWedgedLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{}, func(ln *service.Listener) {
			ln.Listener = wedged{ln.Listener.(*memnet.Listener)}
		})
		if err := s.Alive(expires(t, time.Second)); err == nil || !strings.Contains(err.Error(), "greet") {
			t.Errorf("Alive = %v, want the name of the listener", err)
		}
	})
}

// A loop that ends while it is asked is no dead one.
func TestAliveDoesNotWaitForALoopThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{}, func(ln *service.Listener) {
			ln.Listener = wedged{ln.Listener.(*memnet.Listener)}
		})
		time.AfterFunc(time.Second, func() { _ = s.ln.Close() })
		begun := time.Now()
		if err := s.Alive(expires(t, time.Minute)); err != nil || time.Since(begun) != time.Second {
			t.Errorf("Alive = %v after %v", err, time.Since(begun))
		}
	})
}

func TestCountsAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{
			Greeter: service.GreeterFunc(func(dst []byte, p service.Peer) ([]byte, error) {
				switch p.Remote.Port() % 4 {
				case 0:
					panic("four")
				case 1:
					return append(dst, make([]byte, 1<<20)...), nil
				}
				return append(dst, "hello\n"...), nil
			}),
			Admit: func(p service.Peer) (func(), error) {
				if p.Remote.Port()%4 == 2 {
					return nil, errors.New("no")
				}
				return nil, nil
			},
		})
		for range 400 {
			s.dial(t)
		}
		time.Sleep(time.Minute)
		got := s.stats(t)
		for _, o := range []service.Outcome{service.Failed, service.TimedOut, service.Refused, service.Greeted} {
			if got.Visits[o] != 100 {
				t.Errorf("%s = %d, want 100", o, got.Visits[o])
			}
		}
		if opened, closed := len(s.opened), len(s.closed); opened != 400 || closed != 400 {
			t.Errorf("opened = %d, closed = %d, want 400 each", opened, closed)
		}
		if got.Bytes != 100*6+100*memnet.Window {
			t.Errorf("bytes = %d", got.Bytes)
		}
	})
}

func expires(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}
