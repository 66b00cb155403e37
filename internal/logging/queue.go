package logging

import "sync"

const (
	queueSize = 4096 // entries that may wait
	reserve   = 256  // more, for warnings and worse
)

// A queue holds the entries that wait for the worker, in their order. Its methods
// never block. The zero value is an empty queue.
type queue struct {
	mu      sync.Mutex
	ring    [queueSize + reserve]*entry
	head, n int
	closed  bool
	drops   drops
	lost    uint64 // entries dropped ever
}

// drops counts entries that were dropped and not yet told of.
type drops struct {
	entries uint64
	visits  [visitKinds]uint64 // how many of them told of a visit, by outcome
}

// put takes e, or drops it when there is no room.
func (q *queue) put(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room := queueSize
	if e.urgent() {
		room += reserve
	}
	if q.closed || q.n >= room {
		q.miss(e)
		e.free()
		return
	}
	q.ring[(q.head+q.n)%len(q.ring)] = e
	q.n++
}

// drop counts e, which can't be written, as dropped.
func (q *queue) drop(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.miss(e)
}

func (q *queue) miss(e *entry) {
	q.lost++
	q.drops.entries++
	if i, ok := e.event.outcomeIndex(); ok {
		q.drops.visits[i]++
	}
}

// next removes and returns the oldest entry, nil if there is none.
func (q *queue) next() *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return nil
	}
	e := q.ring[q.head]
	q.ring[q.head] = nil
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return e
}

// close makes put drop everything.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

// dropped returns how many entries were dropped ever, and whether some of them are
// not yet told of.
func (q *queue) dropped() (ever uint64, untold bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.lost, q.drops.entries > 0
}

// takeDrops returns what was dropped since it was last called.
func (q *queue) takeDrops() drops {
	q.mu.Lock()
	defer q.mu.Unlock()
	d := q.drops
	q.drops = drops{}
	return d
}
