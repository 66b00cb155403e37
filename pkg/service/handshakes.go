package service

import (
	"net/netip"
	"sync/atomic"
	"time"

	"greetd.example/pkg/service/internal/reaper"
)

// A handshake has the data about an unfinished handshake: the PROXY header, TLS, or both.
type handshake struct {
	source  netip.Prefix // the source that it counts for
	begun   time.Time
	gaveWay atomic.Bool

	prev, next *connection // in handshakes; nil when it has ended
}

// handshakes are the unfinished handshakes, the oldest first. Its methods need the lock of
// connections.
type handshakes struct {
	root    connection
	sources map[netip.Prefix]int // the number of handshakes of each source
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

// changeSource counts c for its present client, after a proxy has announced it.
func (h *handshakes) changeSource(c *connection) {
	if c.shake.next == nil {
		return
	}
	h.forget(c.shake.source)
	c.shake.source = sourceOf(c.peer.Remote.Addr())
	h.sources[c.shake.source]++
}

// Limits of the search in next: how many handshakes it looks at, the oldest first, and how many of
// these may be candidates, which have lasted for grace.
const (
	maxVisited    = 4096
	maxCandidates = 256
)

// next returns the handshake that has to give way first. It has lasted for grace, the server waits for its
// client, and it is the oldest one of the source that has the most of them. If of is not nil, only the
// handshakes of that listener name are considered. If there is no such handshake, next returns nil and the
// time after which there may be one, or 0 if only another event can make one.
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
				return nil, c.shake.begun.Sub(ripe)
			}
			break
		}
		candidates++
		switch {
		case first != nil && h.sources[c.shake.source] <= h.sources[first.shake.source]:
		case reaper.HasUnread(c.conn):
			busy = grace // after that time, the server may wait for the client
		default:
			first = c
		}
	}
	if first == nil {
		return nil, busy
	}
	return first, 0
}

// sourceOf returns the source of a client at ip: its IPv4 address, or its IPv6 network of 64 bits. All
// clients on unix sockets are one source.
func sourceOf(ip netip.Addr) netip.Prefix {
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	source, _ := ip.WithZone("").Prefix(bits)
	return source
}
