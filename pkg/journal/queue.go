package journal

import "sync"

// The size of a Writer's queue.
const (
	QueueSize = 4096 // entries that may wait in a Writer
	Reserve   = 256  // room beyond QueueSize, for urgent entries
)

// A queue holds the entries that wait for the Writer, in their order. Its methods
// never block. The zero value is an empty queue.
type queue[E any] struct {
	mu      sync.Mutex
	ring    [QueueSize + Reserve]E
	head, n int
	closed  bool
}

// put appends e, or calls refused if there is no room. The queue is locked while refused runs, so that
// no other goroutine sees the queue before the refusal is counted.
func (q *queue[E]) put(e E, urgent bool, refused func(e E, written bool)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	room := QueueSize
	if urgent {
		room += Reserve
	}
	if q.closed || q.n >= room {
		refused(e, false)
		return
	}
	q.ring[(q.head+q.n)%len(q.ring)] = e
	q.n++
}

// next removes and returns the oldest entry, if there is one.
func (q *queue[E]) next() (e E, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return e, false
	}
	var none E
	e, q.ring[q.head] = q.ring[q.head], none
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return e, true
}

func (q *queue[E]) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}
