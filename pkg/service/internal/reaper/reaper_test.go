package reaper

import (
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"greetd.example/pkg/service/internal/direct"
)

// paths are the kinds of sockets: net's, and direct's.
var paths = map[string]func(net.Listener) net.Listener{
	"net":    func(ln net.Listener) net.Listener { return ln },
	"direct": func(ln net.Listener) net.Listener { return direct.Listen(ln.(*net.TCPListener)) },
}

// reaping is a reaper under test, and what it has called.
type reaping struct {
	*Reaper
	ln net.Listener

	mu    sync.Mutex
	gone  []*Conn
	first map[*Conn]string

	failed chan error
}

func newReaping(t *testing.T, wrap func(net.Listener) net.Listener) *reaping {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &reaping{ln: wrap(ln), first: make(map[*Conn]string), failed: make(chan error, 1)}
	r.Reaper = New(Hooks{Closed: func(gone []*Conn) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.gone = append(r.gone, gone...)
	}, OnFirstBytes: func(c *Conn, first []byte) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.first[c] += string(first)
	}, Failed: func(err error) { r.failed <- err }})
	t.Cleanup(func() { _ = r.ln.Close() })
	t.Cleanup(r.Close)
	return r
}

// add hands a new connection over, whose time is over after d, and returns its client.
func (r *reaping) add(t *testing.T, d time.Duration) (client *net.TCPConn, c *Conn) {
	t.Helper()
	client, c = r.connect(t, d)
	r.Add(c)
	r.HalfClose(c)
	return client, c
}

func (r *reaping) connect(t *testing.T, d time.Duration) (client *net.TCPConn, c *Conn) {
	t.Helper()
	dialled, err := net.Dial("tcp", r.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dialled.Close() })
	_ = dialled.SetDeadline(time.Now().Add(time.Minute))
	server, err := r.ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialled.(*net.TCPConn), &Conn{Conn: server.(HalfCloser), Until: time.Now().Add(d)}
}

func (r *reaping) closedConns() []*Conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.gone)
}

// neverChecks makes the reaper do nothing by itself for as long as the test takes.
func (r *reaping) neverChecks() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delay = time.Hour
}

func (r *Reaper) isHurried() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hurried
}

// eventually waits until ok says so; the deadline is only for a test that hangs.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("in a minute it did not happen that %s", what)
		}
	}
}

func TestConnectionsAreClosedOnceWhenTheirClientsHangUp(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			var want []*Conn
			for i := range 300 { // more than one batch, and than the events asked for at once
				client, c := r.add(t, time.Hour)
				want = append(want, c)
				if i%2 == 0 {
					_, _ = client.Write([]byte("unread"))
				}
				if text, err := io.ReadAll(client); err != nil || len(text) > 0 {
					t.Errorf("the client reads %q, %v", text, err)
				}
				_ = client.Close()
			}
			eventually(t, "all are closed", func() bool { return len(r.closedConns()) >= len(want) })
			r.Close()
			gone := r.closedConns()
			for _, c := range want {
				if n := len(slices.DeleteFunc(slices.Clone(gone), func(other *Conn) bool { return other != c })); n != 1 {
					t.Errorf("closed was called %d times for one connection", n)
				}
			}
		})
	}
}

func TestConnectionsAreClosedWhenTheirTimeIsOver(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			client, short := r.add(t, 50*time.Millisecond)
			_, long := r.add(t, time.Hour)
			began := time.Now()
			eventually(t, "the first is closed", func() bool { return len(r.closedConns()) > 0 })
			if gone := r.closedConns(); !slices.Equal(gone, []*Conn{short}) || time.Now().Before(short.Until) {
				t.Errorf("%d are closed after %v, want the first after 50ms", len(gone), time.Since(began))
			}
			eventually(t, "the client can't write", func() bool { _, err := client.Write([]byte("x")); return err != nil })
			r.Shorten(time.Millisecond)
			eventually(t, "the second is closed", func() bool { return slices.Equal(r.closedConns(), []*Conn{short, long}) })
		})
	}
}

// One whose time is over sooner than the first check comes is not kept until then.
func TestTimeMayEndBeforeTheFirstCheck(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			r.neverChecks()
			r.add(t, time.Millisecond)
			eventually(t, "it is closed", func() bool { return len(r.closedConns()) == 1 })
		})
	}
}

// A client that has hung up gives way before one that stays, even if the reaper has not seen yet
// that it has.
func TestEvictPrefersClientsThatHaveHungUp(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			r.neverChecks()
			_, stays := r.add(t, time.Minute)
			client, leaves := r.add(t, time.Minute)
			_ = client.Close()
			for _, want := range []*Conn{leaves, stays} {
				if !r.Evict(1) {
					t.Error("Evict made no room")
				}
				if gone := r.closedConns(); gone[len(gone)-1] != want {
					t.Error("one gave way that stays, before the one whose client has hung up")
				}
				r.mu.Lock()
				r.sweptAt = time.Time{} // as if that was long ago
				r.mu.Unlock()
			}
			if r.Evict(1) {
				t.Error("Evict made room where nobody was")
			}
		})
	}
}

func TestEvictTakesTheOldestThatAreHalfClosed(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			r.neverChecks()
			var all []*Conn
			for range 5 {
				_, c := r.add(t, time.Minute)
				all = append(all, c)
			}
			if !r.Evict(3) || !slices.Equal(r.closedConns(), all[:3]) {
				t.Errorf("%d gave way, want the three oldest", len(r.closedConns()))
			}

			_, pending := r.connect(t, time.Second) // goes first
			r.Add(pending)
			evicted := make(chan bool)
			go func() { evicted <- r.Evict(1) }()
			select {
			case <-evicted:
				t.Error("Evict did not wait for one that is just being half-closed")
			case <-time.After(20 * time.Millisecond):
				r.HalfClose(pending)
				<-evicted
			}
			if gone := r.closedConns(); len(gone) != 4 || gone[3] != pending {
				t.Error("another one gave way than the oldest")
			}
		})
	}
}

// What comes after Hurry is checked soon, too.
func TestHurryEndsTheWaitForTheFirstCheck(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			r.neverChecks()
			for want := 1; want <= 2; want++ {
				client, _ := r.add(t, time.Hour)
				_ = client.Close()
				if want == 1 {
					r.Hurry()
				}
				eventually(t, "it is closed", func() bool { return len(r.closedConns()) == want })
			}
			if !r.isHurried() {
				t.Error("the delay may grow again")
			}
		})
	}
}

func TestFirstBytesAreForThoseThatWantThem(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			var clients []*net.TCPConn
			var conns []*Conn
			for i := range 2 {
				client, c := r.connect(t, time.Hour)
				c.Sniff = i == 0
				_, _ = client.Write([]byte("first"))
				r.Add(c)
				r.HalfClose(c)
				clients, conns = append(clients, client), append(conns, c)
			}
			eventually(t, "the first bytes came", func() bool { r.mu.Lock(); defer r.mu.Unlock(); return r.first[conns[0]] != "" })
			for _, client := range clients {
				_, _ = client.Write([]byte("second"))
				_ = client.Close()
			}
			eventually(t, "both are closed", func() bool { return len(r.closedConns()) == 2 })
			if len(r.first) != 1 || r.first[conns[0]] != "first" {
				t.Errorf("first bytes = %q of one, and of %d", r.first[conns[0]], len(r.first))
			}
		})
	}
}

func TestCloseClosesAllAndWhatComesLater(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			_, before := r.add(t, time.Hour)
			_, between := r.connect(t, time.Hour)
			r.Add(between)
			r.Close()
			r.HalfClose(between)
			_, after := r.add(t, time.Hour)
			if gone := r.closedConns(); len(gone) != 3 {
				t.Errorf("%d are closed, want all 3 at once", len(gone))
			}
			r.Close() // again
			if gone := r.closedConns(); !slices.Equal(gone, []*Conn{before, between, after}) {
				t.Errorf("%d are closed, want 3", len(gone))
			}
		})
	}
}

// tcpBefore and directBefore do something before they are half-closed.
type tcpBefore struct {
	*net.TCPConn
	before func()
}

func (c tcpBefore) CloseWrite() error {
	c.before()
	return c.TCPConn.CloseWrite()
}

type directBefore struct {
	*direct.Conn
	before func()
}

func (c directBefore) CloseWrite() error {
	c.before()
	return c.Conn.CloseWrite()
}

// pipe is a connection without a descriptor.
type pipe struct{ net.Conn }

func (p pipe) CloseWrite() error { return nil }

func TestConnectionsWithoutDescriptor(t *testing.T) {
	gone := make(chan []*Conn, 3)
	first := make(chan string, 1)
	r := New(Hooks{Closed: func(c []*Conn) { gone <- c }, OnFirstBytes: func(_ *Conn, b []byte) { first <- string(b) }})
	defer r.Close()
	for _, d := range []time.Duration{time.Hour, time.Millisecond} {
		client, server := net.Pipe()
		c := &Conn{Conn: pipe{server}, Until: time.Now().Add(d), Sniff: d == time.Hour}
		r.Add(c)
		r.HalfClose(c)
		if c.Sniff {
			_, _ = client.Write([]byte("hello"))
			if got := <-first; got != "hello" {
				t.Errorf("first bytes = %q", got)
			}
			_ = client.Close()
		}
		if got := <-gone; len(got) != 1 || got[0] != c {
			t.Errorf("%d are closed, want this one", len(got))
		}
	}
}

// A connection whose time is over, or whose place is needed, before it is half-closed is not closed then:
// that would reset a client that has sent something, and its greeting would be lost.
func TestNothingIsClosedBeforeItIsHalfClosed(t *testing.T) {
	for name, wrap := range paths {
		t.Run(name, func(t *testing.T) {
			r := newReaping(t, wrap)
			client, c := r.connect(t, 0)
			_, _ = client.Write([]byte("unread"))
			look := func() {
				for range 20 { // its time is over by now, and again
					if err := r.Alive(t.Context()); err != nil {
						t.Error(err)
					}
					r.Sweep()
				}
				if gone := r.closedConns(); len(gone) != 0 {
					t.Error("it was closed before it was half-closed")
				}
			}
			switch below := c.Conn.(type) {
			case *net.TCPConn:
				c.Conn = tcpBefore{below, look}
			case *direct.Conn:
				c.Conn = directBefore{below, look}
			}
			r.Add(c)
			look()
			if _, err := c.Conn.Write([]byte("greeting")); err != nil {
				t.Fatal(err)
			}
			r.HalfClose(c)
			if text, err := io.ReadAll(client); err != nil || string(text) != "greeting" {
				t.Errorf("the client reads %q, %v", text, err)
			}
			eventually(t, "it is closed", func() bool { return len(r.closedConns()) == 1 })
		})
	}
}

// ended is a socket whose client has closed it.
type ended struct{}

func (ended) Control(func(fd int)) error { return nil }

func (ended) Discard([]byte) (int, error) { return 0, nil }

// The memory of a crowd is given back.
func TestSparesAreSmall(t *testing.T) {
	r := New(Hooks{Closed: func([]*Conn) {}})
	defer r.Close()
	for _, n := range []int{1, trimThreshold, 100 * trimThreshold, 2} {
		for range n {
			r.unchecked = append(r.unchecked, &Conn{socket: ended{}, unlinked: true})
		}
		r.Sweep()
		if cap(r.unchecked) > trimThreshold || cap(r.spare) > trimThreshold {
			t.Errorf("after a check of %d, room for %d is kept", n, cap(r.spare))
		}
	}
}
