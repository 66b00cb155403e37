// Package testserver has servers for tests, each with its own behaviour: the good, the
// slow, the silent, the endless and the rude.
package testserver

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A Behavior is how a server treats one visitor. The connection is closed when it
// returns, and it must return soon after the connection is closed.
type Behavior func(c net.Conn)

// Greet says text and waits for the client to hang up.
func Greet(text string) Behavior {
	return func(c net.Conn) {
		say(c, text)
		Silent(c)
	}
}

// GreetAndClose says text and closes.
func GreetAndClose(text string) Behavior {
	return func(c net.Conn) { say(c, text) }
}

// Silent waits for the client to hang up.
func Silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// say says text. Who doesn't want to hear it is none of a server's business.
func say(c net.Conn, text string) { _, _ = io.WriteString(c, text) }

// Close closes at once.
func Close(net.Conn) {}

// Reset resets at once.
func Reset(c net.Conn) { cut(c) }

// GreetAndReset says text, and resets 100 ms later.
func GreetAndReset(text string) Behavior {
	return func(c net.Conn) {
		say(c, text)
		time.Sleep(100 * time.Millisecond)
		cut(c)
	}
}

// cut makes closing c a reset.
func cut(c net.Conn) {
	if c, ok := c.(interface{ SetLinger(seconds int) error }); ok {
		_ = c.SetLinger(0)
	}
}

// Repeat says text again and again, at once and then after each pause.
func Repeat(text string, pause time.Duration) Behavior {
	return func(c net.Conn) {
		for {
			if _, err := io.WriteString(c, text); err != nil {
				return
			}
			time.Sleep(pause)
		}
	}
}

// GreetLate says text after a delay, and holds open.
func GreetLate(text string, delay time.Duration) Behavior {
	return func(c net.Conn) {
		time.Sleep(delay)
		Greet(text)(c)
	}
}

// GreetInPieces says the pieces with pauses in between, and holds open.
func GreetInPieces(pause time.Duration, pieces ...string) Behavior {
	return func(c net.Conn) {
		for _, piece := range pieces {
			say(c, piece)
			time.Sleep(pause)
		}
		Silent(c)
	}
}

// Big says n bytes without a newline, and holds open.
func Big(n int) Behavior {
	return func(c net.Conn) {
		if _, err := c.Write(bytes.Repeat([]byte("x"), n)); err == nil {
			Silent(c)
		}
	}
}

// Strict greets clients that wait with text, and closes the connection of those that send data within 200 ms.
func Strict(text string) Behavior {
	return func(c net.Conn) {
		_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		if n, _ := c.Read(make([]byte, 1)); n > 0 {
			say(c, "554 you speak before your turn\r\n")
			return
		}
		_ = c.SetReadDeadline(time.Time{})
		Greet(text)(c)
	}
}

// A Server serves with one Behavior until its test ends.
type Server struct {
	Addr     string       // to dial
	Visits   atomic.Int64 // connections so far
	Received atomic.Int64 // bytes that visitors sent

	ln    net.Listener
	mu    sync.Mutex
	conns map[net.Conn]bool
	open  sync.WaitGroup
}

// Listen starts a Server on a port of 127.0.0.1.
func Listen(tb testing.TB, behavior Behavior) *Server {
	tb.Helper()
	return ListenOn(tb, "tcp", "127.0.0.1:0", behavior)
}

// ListenOn starts a Server at an address.
func ListenOn(tb testing.TB, network, addr string, behavior Behavior) *Server {
	tb.Helper()
	ln := listen(tb, network, addr)
	s := &Server{Addr: ln.Addr().String(), ln: ln, conns: make(map[net.Conn]bool)}
	s.open.Go(func() { s.accept(behavior) })
	tb.Cleanup(s.stop)
	return s
}

func listen(tb testing.TB, network, addr string) net.Listener {
	tb.Helper()
	ln, err := new(net.ListenConfig).Listen(tb.Context(), network, addr)
	if err != nil {
		tb.Fatal(err)
	}
	return ln
}

func (s *Server) accept(behavior Behavior) {
	for {
		c, err := s.ln.Accept()
		if err != nil {
			return
		}
		s.Visits.Add(1)
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.open.Go(func() { s.serve(c, behavior) })
	}
}

func (s *Server) serve(c net.Conn, behavior Behavior) {
	behavior(counted{c, &s.Received})
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	c.Close()
}

func (s *Server) stop() {
	s.ln.Close()
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.open.Wait()
}

// counted counts what is read.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

// SetLinger is net.TCPConn's.
func (c counted) SetLinger(seconds int) error {
	return c.Conn.(*net.TCPConn).SetLinger(seconds)
}

// Blackhole returns an address on which nobody answers a SYN: the backlog of its
// socket is full. With a behavior, it begins to serve after delay.
func Blackhole(tb testing.TB, network, addr string, behavior Behavior, delay time.Duration) string {
	tb.Helper()
	ln := listen(tb, network, addr)
	raw, err := ln.(*net.TCPListener).SyscallConn()
	if err != nil {
		tb.Fatal(err)
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = relisten(fd, 0) })
	if err := errors.Join(err, failed); err != nil {
		tb.Fatal(err)
	}
	filler, err := new(net.Dialer).DialContext(tb.Context(), network, ln.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	s := &Server{Addr: ln.Addr().String(), ln: ln, conns: make(map[net.Conn]bool)}
	tb.Cleanup(func() {
		filler.Close()
		s.stop()
	})
	if behavior != nil {
		s.open.Go(func() {
			time.Sleep(delay)
			s.accept(behavior)
		})
	}
	return s.Addr
}
