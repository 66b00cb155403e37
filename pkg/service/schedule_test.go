package service_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/pkg/service"
)

// The tests in this file force the schedules of races: a hook of the test holds one side until the
// other is where it must be.

// endless is a greeting that no client of these tests reads to its end.
var endless = service.Static(strings.Repeat("x", 4*memnet.Window))

// lateListener is one whose Accept returns a connection that came just before the listener was closed.
type lateListener struct {
	*memnet.Listener
	late  net.Conn
	hold  time.Duration // from the close to the return of Accept
	close chan struct{}
	once  sync.Once
}

func (l *lateListener) Close() error {
	l.once.Do(func() { close(l.close) })
	return l.Listener.Close()
}

func (l *lateListener) Accept() (net.Conn, error) {
	if l.late == nil {
		return l.Listener.Accept()
	}
	<-l.close
	time.Sleep(l.hold)
	late := l.late
	l.late = nil
	return late, nil
}

// late makes a listener return a connection hold after it was closed.
func late(t *testing.T, hold time.Duration) func(*service.Listener) {
	t.Helper()
	return func(ln *service.Listener) {
		memory := ln.Listener.(*memnet.Listener)
		client, server := memnet.Pipe(memory.Addr(), memory.Addr())
		t.Cleanup(func() { _ = client.Close() })
		ln.Listener = &lateListener{Listener: memory, late: directly{server}, hold: hold, close: make(chan struct{})}
	}
}

// directly is a connection with a first write that no deadline keeps from being successful.
type directly struct{ *memnet.Conn }

func (directly) WriteNow(b []byte) (int, error) { return min(len(b), memnet.Window), nil }

// Whoever is accepted while the server closes is cut as all others: Close does not wait for them.
func TestVisitAcceptedDuringCloseIsCut(t *testing.T) {
	for name, hold := range map[string]time.Duration{"before the cut": 0, "after the cut": time.Second} {
		for kind, set := range map[string]func(*service.Listener){
			"greeting": func(*service.Listener) {}, "header": func(ln *service.Listener) { ln.Unwrap = awaitByte },
		} {
			t.Run(kind+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := serve(t, &service.Server{Greeter: endless, WriteTimeout: time.Hour, HandshakeTimeout: time.Hour}, late(t, hold), set)
					begun := time.Now()
					_ = s.Close()
					if took := time.Since(begun); took != hold {
						t.Errorf("Close took %v, want the %v that Accept took", took, hold)
					}
					if v := s.only(t); v.Outcome != service.Cut {
						t.Errorf("outcome = %q, want cut", v.Outcome)
					}
				})
			})
		}
	}
}

// Once visits are cut, nobody is greeted any more, however short the greeting is.
func TestNobodyIsGreetedAfterTheCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{}, late(t, time.Second))
		_ = s.Close()
		if v := s.only(t); v.Outcome != service.Cut || v.Written != 0 {
			t.Errorf("outcome = %q with %d bytes, want cut with none", v.Outcome, v.Written)
		}
	})
}

// Whoever is accepted while the server shuts down has until the end of its context, and no longer.
func TestVisitAcceptedDuringShutdownIsDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: endless, WriteTimeout: time.Hour}, late(t, time.Second))
		shutDownIn3s(t, s)
		if v := s.only(t); v.Outcome != service.Cut || v.Took != 2*time.Second {
			t.Errorf("outcome = %q after %v, want cut after 2s", v.Outcome, v.Took)
		}
	})
}

// The same where another listener's client has taken the last place meanwhile.
func TestShutdownDoesNotWaitForAPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: endless, WriteTimeout: time.Hour, MaxConns: 1}, late(t, time.Second))
		other := memnet.Listen("198.51.100.1:7")
		go func() { _ = s.Serve(service.Listener{Listener: other, Name: "other"}) }()
		c, err := other.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		synctest.Wait() // it has the place
		shutDownIn3s(t, s)
		if cut := len(s.visits()); cut != 2 {
			t.Errorf("%d visits have ended, want 2", cut)
		}
	})
}

// shutDownIn3s shuts s down, with a visit that has to be cut at the end of these 3 s.
func shutDownIn3s(t *testing.T, s *serving) {
	t.Helper()
	begun := time.Now()
	if err := s.Shutdown(expires(t, 3*time.Second)); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
		t.Errorf("Shutdown = %v after %v, want that it cut a visit after 3s", err, time.Since(begun))
	}
}

// slowDeadlines is a connection on which setting the first deadline in the future takes a second.
type slowDeadlines struct {
	*memnet.Conn
	once sync.Once
}

func (c *slowDeadlines) hold(deadline time.Time) {
	if deadline.After(time.Now()) {
		c.once.Do(func() { time.Sleep(time.Second) })
	}
}

func (c *slowDeadlines) SetDeadline(t time.Time) error {
	c.hold(t)
	return c.Conn.SetDeadline(t)
}

func (c *slowDeadlines) SetWriteDeadline(t time.Time) error {
	c.hold(t)
	return c.Conn.SetWriteDeadline(t)
}

// slowListener has slowDeadlines.
type slowListener struct{ *memnet.Listener }

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowDeadlines{Conn: c.(*memnet.Conn)}, nil
}

func onSlowDeadlines(ln *service.Listener) {
	ln.Listener = slowListener{ln.Listener.(*memnet.Listener)}
}

// A visit that sets a deadline while it is cut stays cut.
func TestDeadlineDoesNotUndoACut(t *testing.T) {
	for name, set := range map[string]func(*service.Listener){
		"of a greeting": func(*service.Listener) {},
		"of a header":   func(ln *service.Listener) { ln.Unwrap = awaitByte },
		"of TLS":        speakingTLS(t),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := serve(t, &service.Server{Greeter: endless, WriteTimeout: time.Hour, HandshakeTimeout: time.Hour}, onSlowDeadlines, set)
				s.dial(t)
				synctest.Wait() // the deadline is being set
				begun := time.Now()
				_ = s.Close()
				if took := time.Since(begun); took != time.Second {
					t.Errorf("Close took %v, want the second until the deadline was set", took)
				}
				if v := s.only(t); v.Outcome != service.Cut {
					t.Errorf("outcome = %q, want cut", v.Outcome)
				}
			})
		})
	}
}

// On a busy machine a visit may set the deadline of its handshake when it gives way already.
func TestDeadlineDoesNotUndoGivingWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{MaxConns: 1, LingerTimeout: -1},
			onSlowDeadlines, func(ln *service.Listener) { ln.Unwrap = awaitByte })
		s.dial(t)
		s.dial(t) // the first gives way after half a second
		time.Sleep(2 * time.Second)
		if v := s.only(t); v.Reason != service.ReasonServerFull || v.Took != time.Second {
			t.Errorf("%q, %q after %v; want server_full after a second", v.Outcome, v.Reason, v.Took)
		}
	})
}

// A handshake that ends at the moment at which it gives way has given way.
func TestHandshakeThatEndsAsItGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{MaxConns: 1, LingerTimeout: -1}, onSlowDeadlines, func(ln *service.Listener) {
			ln.Unwrap = func(c net.Conn) (net.Conn, error) {
				time.Sleep(time.Second) // the header came, and whoever reads it is late
				return directly{c.(*slowDeadlines).Conn}, nil
			}
		})
		s.dial(t)
		s.dial(t) // the first gives way after half a second
		time.Sleep(2 * time.Second)
		if v := s.only(t); v.Outcome != service.TimedOut || v.Reason != service.ReasonServerFull || v.Written != 0 {
			t.Errorf("%q, %q with %d bytes; want that it timed out, server_full", v.Outcome, v.Reason, v.Written)
		}
	})
}

// A full server that shuts down does not wait for a place: Shutdown keeps to its context.
func TestShutdownOfAFullServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &service.Server{Greeter: endless, WriteTimeout: time.Hour, MaxConns: 1})
		s.dial(t)
		synctest.Wait()
		shutDownIn3s(t, s)
		if v := s.only(t); v.Outcome != service.Cut {
			t.Errorf("outcome = %q, want cut", v.Outcome)
		}
	})
}

// One new client makes one handshake give way, also if that one takes its time and the server looks again.
func TestOneHandshakeGivesWayToOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := func(c net.Conn) (net.Conn, error) {
			_, err := awaitByte(c)
			time.Sleep(time.Second)
			return c, err
		}
		s := serve(t, &service.Server{MaxConns: 2}, func(ln *service.Listener) { ln.Unwrap = slow })
		for range 3 {
			s.dial(t)
		}
		time.Sleep(time.Second) // the first gave way after half a second, and is leaving
		s.Update(service.Settings{MaxConns: 2}, service.Listener{Name: "greet", Unwrap: slow})
		time.Sleep(time.Second)
		if v := s.only(t); v.ID != 1 || v.Reason != service.ReasonServerFull {
			t.Errorf("visit %d has ended: %q", v.ID, v.Reason)
		}
	})
}

// Whoever waits for a place, and is woken where there is none, goes on waiting: the limit is never exceeded.
func TestWaitingForAPlaceMayBeInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		settings := service.Settings{Greeter: endless, WriteTimeout: time.Minute, MaxConns: 1}
		s := serve(t, &service.Server{Greeter: endless, WriteTimeout: time.Minute, MaxConns: 1})
		other := memnet.Listen("198.51.100.1:7")
		go func() { _ = s.Serve(service.Listener{Listener: other, Name: "other"}) }()
		synctest.Wait() // both wait for a client
		s.dial(t)
		c, err := other.Dial()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		for range 5 {
			synctest.Wait()
			active := 0
			for _, stats := range s.Stats() {
				active += stats.Active
			}
			if active != 1 {
				t.Fatalf("%d visits, want 1", active)
			}
			s.Update(settings) // wakes
		}
	})
}

// deferredListener accepts connections as those of [service.Direct], from clients that send nothing.
type deferredListener struct{ *memnet.Listener }

func (l deferredListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &waitingConn{Conn: c.(*memnet.Conn)}, nil
}

type waitingConn struct {
	*memnet.Conn
	beforeWait func()
}

func (c *waitingConn) BeforeWait(f func()) { c.beforeWait = f }

func (c *waitingConn) Read(b []byte) (int, error) {
	if c.beforeWait != nil {
		c.beforeWait()
	}
	return c.Conn.Read(b)
}

// The second for which the kernel has kept a silent client back counts towards its timeout.
func TestDeferredClientsTimeOutInTime(t *testing.T) {
	for _, deferred := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := serve(t, &service.Server{HandshakeTimeout: 3 * time.Second}, func(ln *service.Listener) {
				ln.Listener = deferredListener{ln.Listener.(*memnet.Listener)}
				ln.Unwrap, ln.Deferred = awaitByte, deferred
			})
			s.dial(t)
			time.Sleep(4 * time.Second)
			want := 3 * time.Second
			if deferred {
				want = 2 * time.Second
			}
			if v := s.only(t); v.Outcome != service.TimedOut || v.Took != want {
				t.Errorf("deferred %v: %s after %v, want timed_out after %v", deferred, v.Outcome, v.Took, want)
			}
		})
	}
}
