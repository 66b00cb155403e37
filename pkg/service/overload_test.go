package service_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/test/memnet"
	"greetd.example/pkg/service"
)

// crowded is a server with a listener whose clients begin with a handshake, and a plain one.
type crowded struct {
	*service.Server
	*record
	shaking, plain *memnet.Listener
}

func newCrowded(t *testing.T, srv *service.Server, shakingMost int) *crowded {
	t.Helper()
	c := &crowded{srv, &record{}, memnet.Listen("198.51.100.1:443"), memnet.Listen("198.51.100.1:80")}
	srv.Observer = c.record
	go func() {
		_ = srv.Serve(service.Listener{Listener: c.shaking, Name: "shaking", Unwrap: awaitByte, MaxConns: shakingMost})
	}()
	go func() { _ = srv.Serve(service.Listener{Listener: c.plain, Name: "plain"}) }()
	t.Cleanup(func() { _ = srv.Close() })
	synctest.Wait()
	return c
}

// come makes n clients come from ip, one a millisecond.
func (c *crowded) come(t *testing.T, ln *memnet.Listener, ip string, n int) (clients []*memnet.Conn) {
	t.Helper()
	for i := range n {
		client, err := ln.DialFrom(netip.AddrPortFrom(netip.MustParseAddr(ip), uint16(1000+i)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		clients = append(clients, client)
		time.Sleep(time.Millisecond)
	}
	return clients
}

// gaveWay are the clients whose handshake gave way, in order.
func (c *crowded) gaveWay() (clients []string) {
	synctest.Wait()
	for _, v := range c.visits() {
		if v.Outcome == service.TimedOut && v.Reason == service.ReasonServerFull {
			clients = append(clients, v.Remote.String())
		}
	}
	return clients
}

func TestHandshakesGiveWayOldestOfTheGreediestFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowded(t, &service.Server{MaxConns: 8, LingerTimeout: -1}, 0)
		c.come(t, c.shaking, "192.0.2.1", 2) // the oldest
		c.come(t, c.shaking, "192.0.2.66", 4)
		c.come(t, c.shaking, "192.0.2.2", 2)
		time.Sleep(time.Second)
		for range 3 {
			read(t, c.come(t, c.plain, "192.0.2.3", 1)[0])
			c.come(t, c.shaking, "192.0.2.4", 1)
			time.Sleep(time.Millisecond)
		}
		want := []string{"192.0.2.66:1000", "192.0.2.66:1001", "192.0.2.1:1000"}
		if got := c.gaveWay(); !slices.Equal(got, want) {
			t.Errorf("%q gave way, want %q", got, want)
		}
	})
}

// A client has some time for its handshake, however many come.
func TestHandshakesThatHaveJustBegunDoNotGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowded(t, &service.Server{MaxConns: 4, HandshakeTimeout: 3 * time.Second, LingerTimeout: -1}, 0)
		begun := time.Now()
		c.come(t, c.shaking, "192.0.2.66", 4)
		read(t, c.come(t, c.plain, "192.0.2.1", 1)[0])
		if took := time.Since(begun); took < 500*time.Millisecond || took > 510*time.Millisecond {
			t.Errorf("the next client was greeted after %v, want a sixth of HandshakeTimeout", took)
		}
	})
}

// A client that ends its handshake in time is greeted, whoever waits for its place.
func TestHandshakesThatEndAreGreeted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowded(t, &service.Server{MaxConns: 2, LingerTimeout: -1}, 0)
		clients := c.come(t, c.shaking, "192.0.2.66", 2)
		time.Sleep(time.Second)
		_, _ = clients[0].Write([]byte("x"))
		if got := read(t, clients[0]); got != "Hello there, 192.0.2.66!\n" {
			t.Errorf("greeting = %q", got)
		}
		read(t, c.come(t, c.plain, "192.0.2.1", 1)[0])
		if got := c.gaveWay(); len(got) != 0 {
			t.Errorf("%q gave way where there was room", got)
		}
	})
}

// Without handshakes, a full server lets new clients wait, and none that is greeted gives way.
func TestGreetingsDoNotGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowded(t, &service.Server{MaxConns: 2, Greeter: service.Static(strings.Repeat("x", 2*memnet.Window)), WriteTimeout: time.Minute}, 0)
		slow := c.come(t, c.plain, "192.0.2.66", 2)
		waiting := c.come(t, c.plain, "192.0.2.1", 1)
		time.Sleep(30 * time.Second)
		if stats := c.Stats(); stats[0].Active != 2 {
			t.Fatalf("stats = %+v", stats)
		}
		for _, client := range append(slow, waiting...) {
			if got := read(t, client); len(got) != 2*memnet.Window {
				t.Errorf("a client reads %d bytes", len(got))
			}
			_ = client.Close()
		}
	})
}

func TestListenersHaveLimitsOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowded(t, &service.Server{MaxConns: 100, HandshakeTimeout: time.Hour, LingerTimeout: -1}, 3)
		active := func() int { // of the listener with a limit
			synctest.Wait()
			return c.Stats()[1].Active
		}
		c.come(t, c.shaking, "192.0.2.66", 10)
		if active() != 3 {
			t.Errorf("%d visits, want 3", active())
		}
		read(t, c.come(t, c.plain, "192.0.2.1", 1)[0])

		c.Update(service.Settings{MaxConns: 100, HandshakeTimeout: time.Hour, LingerTimeout: -1},
			service.Listener{Name: "shaking", Unwrap: awaitByte, MaxConns: 5})
		if active() != 5 {
			t.Errorf("%d visits after an update, want 5", active())
		}
		time.Sleep(11 * time.Minute) // handshakes are old by now
		if active() != 5 || len(c.gaveWay()) != 5 {
			t.Errorf("%d visits, and %q gave way; want 5 and the five oldest", active(), c.gaveWay())
		}
		c.Update(service.Settings{MaxConns: 100, HandshakeTimeout: time.Hour, LingerTimeout: -1}, service.Listener{Name: "shaking", Unwrap: awaitByte})
		c.come(t, c.shaking, "192.0.2.66", 20)
		if active() != 25 {
			t.Errorf("%d visits without a limit, want 25", active())
		}
	})
}
