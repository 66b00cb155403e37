package service

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"greetd.example/pkg/service/internal/reaper"
)

// connections has all connections of one server, those with a visit in progress and the lingering
// ones. It counts them, keeps their number within the limit, and ends them.
type connections struct {
	reaper  *reaper.Reaper
	running sync.WaitGroup // visits

	mu        sync.Mutex
	limit     int                  // of visits and lingering ones together; 0 or less: none
	grace     time.Duration        // time after which an unfinished handshake may give way to a new client
	counters  map[string]*counters // by Listener.Name; kept when a listener is gone, since counts never go down
	visits    reaper.Ring          // the connections with a visit in progress
	active    int                  // how many these are
	shaking   handshakes           // the visits whose handshake is unfinished
	leaving   int                  // how many visits have given way and not ended yet
	lingering int                  // the connections that the reaper has
	waiters   int                  // how many wait for changed
	draining  context.Context      // done when Shutdown or Close begins
	cutting   context.Context      // done when visits are to be cut
	endAccept context.CancelFunc   // makes draining done
	endVisits context.CancelFunc   // makes cutting done
	changed   chan struct{}        // closed, and replaced, when there may be room or no connection is left
}

// counters are the numbers of one listener name. They are guarded by connections.mu.
type counters struct {
	limit             int // of active; 0 or less: none
	active, lingering int
	visits            [len(outcomes)]uint64              // in the order of Outcomes
	reasons           [len(outcomes)][mostReasons]uint64 // in the order of Outcomes and of their Reasons
	bytes             uint64
	acceptErrors      uint64
}

func (c *counters) count(v Visit) {
	c.visits[v.Outcome.index()]++
	c.bytes += uint64(v.Written)
	if i := slices.Index(reasons[v.Outcome.index()], v.Reason); i >= 0 {
		c.reasons[v.Outcome.index()][i]++
	}
}

// A connection belongs to connections from before the beginning of its visit until it is closed.
type connection struct {
	conn     net.Conn // as it was accepted
	peer     Peer
	counters *counters
	leave    func() // what Admit returned
	isCut    atomic.Bool

	alertMayCome bool // refused, but lingers: the client may still send an alert, or more data that is not TLS

	lingerer reaper.Conn // what the reaper has of it; until then, its place in visits
	shake    handshake
	trace    *trace // nil: its steps are not reported
}

var past = time.Unix(1, 0) // a deadline that interrupts

// newConnections returns an empty connections. The reaper calls onFirstBytes and failed.
func newConnections(onFirstBytes func(c *connection, first []byte), failed func(error)) *connections {
	cs := &connections{
		counters: make(map[string]*counters),
		changed:  make(chan struct{}),
	}
	cs.draining, cs.endAccept = context.WithCancel(context.Background())
	cs.cutting, cs.endVisits = context.WithCancel(context.Background())
	cs.visits.Init()
	cs.shaking.init()
	cs.reaper = reaper.New(reaper.Hooks{
		Closed:       cs.lingeringClosed,
		OnFirstBytes: func(l *reaper.Conn, first []byte) { onFirstBytes(l.Owner.(*connection), first) },
		Failed:       failed,
	})
	return cs
}

// countersOf returns the counters of a listener name, and sets the limit of that name.
func (cs *connections) countersOf(name string, limit int) *counters {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c := cs.counters[name]
	if c == nil {
		c = &counters{}
		cs.counters[name] = c
	}
	c.limit = limit
	return c
}

func (cs *connections) countAcceptError(c *counters) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.acceptErrors++
}

// setLimits changes the limit of all connections, the grace of handshakes, and the limits of the
// listener names.
func (cs *connections) setLimits(limit int, grace time.Duration, named map[string]int) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.limit, cs.grace = limit, grace
	for name, c := range cs.counters {
		c.limit = named[name]
	}
	cs.wake() // there may be more room now
}

// waitForRoom waits while the number of visits has reached a limit, and reports false when draining
// starts. It does not wait because of lingering connections or of handshakes that take long: these
// give way when a client has connected (see begin). resting is true while it waits.
func (cs *connections) waitForRoom(of *counters, resting *atomic.Bool) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for !cs.isDraining() {
		if !cs.hasTooManyVisits(of) {
			return true
		}
		c, in := cs.nextToGiveWay(of)
		if c != nil {
			return true
		}
		cs.rest(resting, in)
	}
	return false
}

// rest waits for a change, but at most for d if d is above 0. cs.mu must be held; rest releases it
// while it waits.
func (cs *connections) rest(resting *atomic.Bool, d time.Duration) {
	changed := cs.changed
	cs.waiters++
	cs.mu.Unlock()
	resting.Store(true)
	var end <-chan time.Time
	if d > 0 {
		end = time.After(d)
	}
	select {
	case <-changed:
	case <-end:
	}
	resting.Store(false)
	cs.mu.Lock()
	cs.waiters--
}

// begin registers c as a visit. finish ends the visit, and running.Done must follow. If a limit is
// reached, the oldest lingering connection gives way, or a handshake that takes long. If another
// listener has taken the last place meanwhile, c waits for the next one. shakes says that c begins
// with a handshake, which endHandshake ends.
func (cs *connections) begin(c *connection, shakes bool, resting *atomic.Bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for !cs.isDraining() && (cs.isFull() || cs.hasTooManyVisits(c.counters)) {
		cs.makeRoom(c.counters, resting)
	}
	cs.running.Add(1)
	c.lingerer.Owner = c
	cs.visits.Append(&c.lingerer)
	cs.active++
	c.counters.active++
	if shakes {
		cs.shaking.add(c)
	}
	if cs.cutting.Err() != nil {
		c.cut()
	}
}

// makeRoom makes one connection give way to a client of a listener, or waits. cs.mu must be held;
// makeRoom releases it while it waits.
func (cs *connections) makeRoom(of *counters, resting *atomic.Bool) {
	if cs.isFull() {
		cs.mu.Unlock()
		gaveWay := cs.reaper.Evict(1)
		cs.mu.Lock()
		if gaveWay || !cs.isFull() {
			return
		}
	}
	if !cs.hasTooManyVisits(of) && !cs.isFull() {
		return
	}
	if cs.leaving > 0 { // its place will be free in a moment
		cs.rest(resting, 0)
		return
	}
	c, in := cs.nextToGiveWay(of)
	if c != nil {
		cs.giveWay(c)
	}
	cs.rest(resting, in)
}

func (cs *connections) isFull() bool { return cs.limit > 0 && cs.active+cs.lingering >= cs.limit }

// hasTooManyVisits reports whether one more visit would be too many, for the listener or for all.
func (cs *connections) hasTooManyVisits(of *counters) bool {
	return cs.limit > 0 && cs.active >= cs.limit || of.limit > 0 && of.active >= of.limit
}

// nextToGiveWay returns the handshake that has to give way to a client of a listener, or after what time
// there may be one, as handshakes.next does. If the listener's own limit is reached, it is one of that listener.
func (cs *connections) nextToGiveWay(to *counters) (c *connection, in time.Duration) {
	if to.limit > 0 && to.active >= to.limit {
		return cs.shaking.next(to, cs.grace)
	}
	return cs.shaking.next(nil, cs.grace)
}

// giveWay interrupts the handshake of c.
func (cs *connections) giveWay(c *connection) {
	cs.shaking.remove(c)
	c.shake.gaveWay.Store(true)
	cs.leaving++
	_ = c.conn.SetDeadline(past)
}

// endHandshake says that c's handshake has ended, and reports false if c has to give way.
func (cs *connections) endHandshake(c *connection) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.shaking.remove(c)
	return !c.shake.gaveWay.Load()
}

// announce says that a proxy has announced the client of c. The handshake then counts for that client.
func (cs *connections) announce(c *connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.shaking.changeSource(c)
}

// finish ends the visit of c and counts it. If c lingers, it is added to the reaper before the client
// sees the end of the greeting. So a client that connects again at once finds its place free.
func (cs *connections) finish(c *connection, ended Visit, lingers bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.visits.Remove(&c.lingerer)
	cs.active--
	cs.shaking.remove(c)
	if c.shake.gaveWay.Load() {
		cs.leaving--
	}
	c.counters.active--
	c.counters.count(ended)
	if lingers {
		cs.lingering++
		c.counters.lingering++
		cs.reaper.Add(&c.lingerer)
	}
	cs.wake()
}

func (cs *connections) lingeringClosed(gone []*reaper.Conn) {
	cs.mu.Lock()
	cs.lingering -= len(gone)
	for _, l := range gone {
		l.Owner.(*connection).counters.lingering--
	}
	cs.wake()
	cs.mu.Unlock()
	for _, l := range gone {
		c := l.Owner.(*connection)
		if c.trace != nil {
			c.trace.closed(closeCauses[l.Cause])
		}
		if c.leave != nil {
			c.leave()
		}
	}
}

// drain makes the accept loops end.
func (cs *connections) drain() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.endAccept()
	cs.wake()
}

func (cs *connections) isDraining() bool { return cs.draining.Err() != nil }

// drained waits until no connection is left, ctx ends, or the visits are cut.
func (cs *connections) drained(ctx context.Context) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.waiters++
	defer func() { cs.waiters-- }()
	for cs.active+cs.lingering > 0 {
		changed := cs.changed
		cs.mu.Unlock()
		var err error
		select {
		case <-changed:
		case <-cs.cutting.Done():
			err = ErrClosed
		case <-ctx.Done():
			err = context.Cause(ctx)
		}
		cs.mu.Lock()
		if err != nil {
			return err
		}
	}
	return nil
}

// cut interrupts every visit. Each visit then ends and reports it.
func (cs *connections) cut() {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.endVisits()
	for l := range cs.visits.All() {
		l.Owner.(*connection).cut()
	}
}

// cut makes all I/O of c fail from now on.
func (c *connection) cut() {
	c.isCut.Store(true)
	_ = c.conn.SetDeadline(past)
}

// wake makes all waiting calls check again. cs.mu is held.
func (cs *connections) wake() {
	if cs.waiters == 0 {
		return
	}
	close(cs.changed)
	cs.changed = make(chan struct{})
}
