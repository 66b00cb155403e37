package service

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// A handshake is what is known of one that has not ended: of a PROXY header, of TLS, or both.
type handshake struct {
	source  netip.Prefix // the source that it counts for
	begun   time.Time
	gaveWay atomic.Bool

	prev, next *connection // in handshakes; nil when it has ended
}

// handshakes are those that have not ended, the oldest first. Its methods need the lock of
// connections.
type handshakes struct {
	root    connection
	sources map[netip.Prefix]int // how many each source has
}

func (h *handshakes) init() {
	h.root.shake.prev, h.root.shake.next = &h.root, &h.root
	h.sources = make(map[netip.Prefix]int)
}

func (h *handshakes) add(c *connection) {
	last := h.root.shake.prev
	c.shake.begun = time.Now()
	c.shake.prev, c.shake.next = last, &h.root
	last.shake.next, h.root.shake.prev = c, c
	c.shake.source = sourceOf(c.peer.Remote.Addr())
	h.sources[c.shake.source]++
}

// remove does nothing if c is not there.
func (h *handshakes) remove(c *connection) {
	if c.shake.next == nil {
		return
	}
	c.shake.prev.shake.next, c.shake.next.shake.prev = c.shake.next, c.shake.prev
	c.shake.prev, c.shake.next = nil, nil
	h.forget(c.shake.source)
}

func (h *handshakes) forget(source netip.Prefix) {
	h.sources[source]--
	if h.sources[source] == 0 {
		delete(h.sources, source)
	}
}

// changeSource counts c for the client that it has by now.
func (h *handshakes) changeSource(c *connection) {
	if c.shake.next == nil {
		return
	}
	h.forget(c.shake.source)
	c.shake.source = sourceOf(c.peer.Remote.Addr())
	h.sources[c.shake.source]++
}

// How many handshakes next looks at: the oldest, and of those, that wait for their client.
const (
	maxVisited    = 4096
	maxCandidates = 256
)

// next returns the handshake that is to give way first, and in how long. Where there is none, it returns
// nil, and after how long there may be one; 0 if only a change can bring one.
// It has lasted for grace, waits for its client, and is the oldest of the source that has most
// of them. Those of one listener name are looked at, or all, if that is nil.
func (h *handshakes) next(of *counters, grace time.Duration) (first *connection, in time.Duration) {
	ripe := time.Now().Add(-grace)
	visited, candidates, busy := 0, 0, time.Duration(0)
	for c := h.root.shake.next; c != &h.root && visited < maxVisited && candidates < maxCandidates; c = c.shake.next {
		visited++
		if of != nil && c.counters != of {
			continue
		}
		if c.shake.begun.After(ripe) {
			if first == nil {
				return c, c.shake.begun.Sub(ripe)
			}
			break
		}
		candidates++
		switch {
		case first != nil && h.sources[c.shake.source] <= h.sources[first.shake.source]:
		case hasUnread(c.conn):
			busy = grace // by then it may wait for its client
		default:
			first = c
		}
	}
	if first == nil {
		return nil, busy
	}
	return first, 0
}

// sourceOf is the source that a client at ip counts for: its address, or its network of IPv6. Clients on unix
// sockets count as one.
func sourceOf(ip netip.Addr) netip.Prefix {
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	source, _ := ip.WithZone("").Prefix(bits)
	return source
}
