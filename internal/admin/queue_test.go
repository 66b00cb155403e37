package admin

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// The next request is that of the source that was answered longest ago, and of its clients that of
// the one that was answered longest ago, or else has waited longest.
func TestOrderOfRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRequestQueue()
		names := make(map[*client]string)
		clients := make(map[string]*client)
		ask := func(source, name string) {
			c := clients[name]
			if c == nil {
				c = &client{source: source}
				clients[name], names[c] = c, name
			}
			c.number, c.ready = q.next(), make(chan struct{})
			q.waiting[c] = struct{}{}
		}
		var order []string
		grant := func(n int) {
			for range n {
				before := make(map[*client]struct{})
				for c := range q.waiting {
					before[c] = struct{}{}
				}
				q.grantNext()
				for c := range before {
					if _, waits := q.waiting[c]; !waits {
						order = append(order, names[c])
					}
				}
				time.Sleep(time.Second)
			}
		}
		ask("A", "a1")
		ask("A", "a2")
		ask("A", "a3")
		ask("B", "b1")
		grant(1) // nobody was answered: a1 has waited longest
		ask("A", "a1")
		ask("A", "a4")
		grant(1) // b1: its source was never answered
		ask("B", "b2")
		grant(6) // A was answered before B; then no more of B; a1 was answered before, and a4 was not
		want := []string{"a1", "b1", "a2", "b2", "a3", "a4", "a1"}
		if !slices.Equal(order, want) {
			t.Errorf("order: %q, want %q", order, want)
		}
	})
}

// Sources are forgotten after a minute when there are many, and only then.
func TestSourcesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newRequestQueue()
		for i := range 2 * 60 * requestRate {
			q.lastServed[strconv.Itoa(i)] = time.Now()
		}
		time.Sleep(2 * time.Minute)
		few := len(q.lastServed)
		if q.prune(); len(q.lastServed) != few {
			t.Errorf("of %d sources, %d are left", few, len(q.lastServed))
		}
		q.lastServed["new"] = time.Now()
		if q.prune(); len(q.lastServed) != 1 || q.lastServed["new"].IsZero() {
			t.Errorf("%d sources are left, want the one of the last minute", len(q.lastServed))
		}
	})
}

// Clients of the unix socket are told apart by their process, those of TCP by their address.
func TestSourceOf(t *testing.T) {
	for _, test := range []struct{ network, address, want string }{
		{"tcp", "127.0.0.1:0", "127.0.0.1"},
		{"unix", filepath.Join(t.TempDir(), "s"), strconv.Itoa(os.Getpid())},
	} {
		ln, err := net.Listen(test.network, test.address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		c, err := net.Dial(test.network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		accepted, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer accepted.Close()
		if got := sourceOf(accepted); got != test.want {
			t.Errorf("source of a client over %s = %q, want %q", test.network, got, test.want)
		}
	}
}
