package reaper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	maxEvents     = 128  // events of the poll set that one call asks for
	trimThreshold = 1024 // the memory for more connections than this is freed when they are closed
)

// The limits of the delay from Add to the first check. The delay adapts to the clients, which may be
// near or far, so that most have hung up by then.
const (
	minFirstCheckDelay = 2 * time.Millisecond
	maxFirstCheckDelay = 512 * time.Millisecond
)

// Hooks are what a Reaper calls. Closed is needed. None may block.
type Hooks struct {
	// Closed gets connections that the reaper has closed.
	Closed func([]*Conn)

	// OnFirstBytes gets the first bytes that the client of a Conn with Sniff sends, if it sends any.
	// Later bytes may be missing. The slice is valid only during the call.
	OnFirstBytes func(*Conn, []byte)

	// Failed gets the reason if the reaper cannot wait for the poll set any more. From then on each
	// connection has a goroutine.
	Failed func(error)
}

// A Reaper closes connections when their clients have hung up, or when their time is over. Use New.
// It runs until Close.
type Reaper struct {
	hooks   Hooks
	running sync.WaitGroup

	mu        sync.Mutex
	ring      Ring
	poll      *poll           // nil until the first socket of the kernel is added
	unchecked []*Conn         // sockets that wait for their first check, see Sweep
	delay     time.Duration   // from Add to that check
	hurried   bool            // Hurry was called: delay does not change
	sweptAt   time.Time       // when Sweep was called last
	closing   context.Context // done when Close begins
	close     context.CancelFunc
	failure   error         // why the reaper cannot wait for the poll set any more
	asked     chan struct{} // closed when the goroutine of the poll set answers; nil while nobody asks

	sweeping sync.Mutex // held by one sweep at a time; taken before mu
	waste    []byte     // buffer for input of clients, which is discarded
	spare    []*Conn    // memory of unchecked from the last sweep, for reuse; guarded by mu
}

// New returns a reaper that calls hooks.
func New(hooks Hooks) *Reaper {
	r := &Reaper{hooks: hooks, delay: minFirstCheckDelay}
	r.closing, r.close = context.WithCancel(context.Background())
	r.ring.Init()
	return r
}

// Add takes over c. HalfClose must follow.
func (r *Reaper) Add(c *Conn) {
	c.socket = socketOf(c.Conn)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring.insert(c)
	c.polled = r.closing.Err() == nil && c.socket != nil && r.startPoll() == nil
	if !c.polled {
		return
	}
	r.poll.wakeBy(r.ring.first().Until)
	r.unchecked = append(r.unchecked, c)
	if len(r.unchecked) == 1 {
		r.poll.wakeBy(time.Now().Add(r.delay))
	}
}

// Start prepares the reaper for sockets of the kernel; without Start, the first Add does this. The error
// says why the reaper cannot wait for them. On systems other than Linux, and after Close, Start does
// nothing.
func (r *Reaper) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing.Err() != nil {
		return nil
	}
	if err := r.startPoll(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return fmt.Errorf("wait for lingering connections: %w", err)
	}
	return nil
}

// startPoll makes the poll set and starts its goroutine, unless both are there. r.mu is held.
func (r *Reaper) startPoll() error {
	if r.poll != nil {
		return r.failure
	}
	p, err := newPoll()
	if err != nil {
		return err
	}
	r.poll, r.waste = p, make([]byte, 64<<10)
	r.running.Go(func() { r.run(p) }) // Close waits
	return nil
}

// HalfClose closes c for writing; from then on the reaper may close c. It must be called once, after
// Add. It reports false if the client has left.
func (r *Reaper) HalfClose(c *Conn) bool {
	err := c.Conn.CloseWrite()
	c.halfClosed.Store(true)
	switch {
	case err != nil:
		r.remove([]*Conn{c}, ClientGone)
	case !c.polled && !r.drainAlone(c):
		r.remove([]*Conn{c}, Closing)
	}
	return err == nil
}

// drainAlone makes a goroutine drain c, unless c was closed meanwhile. It reports false when the
// reaper is closing.
func (r *Reaper) drainAlone(c *Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing.Err() != nil {
		return false
	}
	r.startDrain(c)
	return true
}

// startDrain makes a goroutine drain c, unless c was closed meanwhile. r.mu is held.
func (r *Reaper) startDrain(c *Conn) {
	if c.unlinked {
		return
	}
	_ = c.Conn.SetReadDeadline(c.Until)
	r.running.Go(func() { r.drain(c) }) // Close waits
}

// drain reads from c to the end, and closes it.
func (r *Reaper) drain(c *Conn) {
	if c.Sniff {
		first := make([]byte, 512)
		if n, _ := c.Conn.Read(first); n > 0 {
			r.hooks.OnFirstBytes(c, first[:n])
		}
	}
	cause := ClientGone
	if _, err := io.Copy(io.Discard, c.Conn); errors.Is(err, os.ErrDeadlineExceeded) {
		cause = Expired
	}
	r.remove([]*Conn{c}, cause)
}

// Evict makes room, and reports whether it could. It closes the connections whose clients have hung
// up, unless the last sweep was a moment ago. If there are none, it closes up to n of the oldest
// connections. If one of these is being half-closed, it waits for that, which takes one system call.
func (r *Reaper) Evict(n int) bool {
	r.mu.Lock()
	due := time.Since(r.sweptAt) >= r.delay
	r.mu.Unlock()
	if due && r.Sweep() {
		return true
	}
	for {
		left, pending := n, false // pending: the next one is not half-closed yet
		gone := r.unlinkWhile(Evicted, func(c *Conn) bool {
			left--
			pending = left >= 0 && !c.halfClosed.Load()
			return left >= 0 && !pending
		})
		if len(gone) > 0 || !pending {
			return r.closeAll(gone)
		}
		runtime.Gosched()
	}
}

// Shorten limits the time of all connections that were added to d from now.
func (r *Reaper) Shorten(d time.Duration) {
	until := time.Now().Add(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.ring.All() {
		if !c.Until.After(until) {
			continue
		}
		c.Until = until
		if c.fd == 0 {
			_ = c.Conn.SetReadDeadline(until)
		}
	}
	if first := r.ring.first(); r.poll != nil && first != nil {
		r.poll.wakeBy(first.Until)
	}
}

// Hurry sweeps now, and sets the delay before the first check of later connections to its minimum.
func (r *Reaper) Hurry() {
	r.mu.Lock()
	r.delay, r.hurried = minFirstCheckDelay, true
	r.mu.Unlock()
	r.Sweep()
}

// Close closes all connections, also those that are added later, and waits until all goroutines of the
// reaper have ended. It may be called again.
func (r *Reaper) Close() {
	r.mu.Lock()
	r.close()
	poll := r.poll
	r.mu.Unlock()
	r.closeAll(r.unlinkWhile(Closing, func(*Conn) bool { return true }))
	if poll != nil {
		poll.close()
	}
	r.running.Wait()
}

func (r *Reaper) run(p *poll) {
	for {
		event, err := p.wait()
		switch {
		case err != nil:
			r.fail(err)
			return
		case event:
			r.sweeping.Lock()
			r.checkEvents(p)
			r.sweeping.Unlock()
			r.letEventsGather()
		default:
			r.Sweep()
			now := time.Now()
			r.closeAll(r.unlinkWhile(Expired, func(c *Conn) bool { return c.halfClosed.Load() && !c.Until.After(now) }))
			r.rearm(p)
		}
	}
}

// fail gives each connection a goroutine, since the reaper cannot wait for the poll set. If the reaper
// is closing, it does nothing.
func (r *Reaper) fail(err error) {
	r.mu.Lock()
	if r.closing.Err() != nil {
		r.mu.Unlock()
		return
	}
	r.failure = fmt.Errorf("wait for lingering connections: %w", err)
	r.reply()
	for c := range r.ring.All() {
		if c.polled {
			r.poll.forget(c)
			r.startDrain(c)
		}
	}
	r.unchecked = nil
	r.mu.Unlock()
	r.hooks.Failed(r.failure)
}

// Alive returns nil when the goroutine of the poll set has answered, or if there is none. If the
// goroutine has failed, or does not answer before ctx ends, Alive returns the reason.
func (r *Reaper) Alive(ctx context.Context) error {
	r.mu.Lock()
	if r.poll == nil || r.failure != nil {
		defer r.mu.Unlock()
		return r.failure
	}
	if r.asked == nil {
		r.asked = make(chan struct{})
	}
	asked := r.asked
	r.poll.setWake(time.Unix(1, 0))
	r.mu.Unlock()
	select {
	case <-asked:
		return nil
	case <-r.closing.Done():
		return nil
	case <-ctx.Done():
		return errors.New("lingering connections are not handled: their loop does not answer")
	}
}

// reply answers the callers that wait. r.mu is held.
func (r *Reaper) reply() {
	if r.asked != nil {
		close(r.asked)
		r.asked = nil
	}
}

// letEventsGather waits for a short time, so that the reaper does not wake up for each of many clients
// that hang up one after the other. Evict and Sweep do not wait for it.
func (r *Reaper) letEventsGather() {
	select {
	case <-time.After(minFirstCheckDelay):
	case <-r.closing.Done():
	}
}

// rearm sets the time at which the goroutine wakes, for the present connections.
func (r *Reaper) rearm(p *poll) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.reply()
	p.setWake(time.Time{})
	if first := r.ring.first(); first != nil {
		p.wakeBy(first.Until)
	}
	if len(r.unchecked) > 0 {
		p.wakeBy(time.Now().Add(r.delay))
	}
}

// Sweep checks the connections that were added since the last sweep, and those of the poll set that have
// an event. Most clients hang up as soon as they have read to the end, and have done so before their
// first check. So it is cheaper to read from all of them once than to put each into the poll set and
// to wait for its event. When Sweep returns, every connection that a client had closed before is
// closed. Sweep reports whether there was any.
func (r *Reaper) Sweep() bool {
	r.sweeping.Lock()
	defer r.sweeping.Unlock()
	r.mu.Lock()
	unchecked, polled := r.unchecked, r.poll != nil && r.poll.len() > 0
	r.unchecked, r.spare = r.spare, nil
	r.sweptAt = time.Now()
	r.mu.Unlock()

	gone := r.check(unchecked)
	clear(unchecked)
	r.mu.Lock()
	if len(unchecked) > 0 && !r.hurried {
		r.delay = nextFirstCheckDelay(r.delay, len(unchecked), gone)
	}
	if cap(unchecked) <= trimThreshold {
		r.spare = unchecked[:0]
	}
	r.mu.Unlock()

	if polled {
		gone += r.checkEvents(r.poll)
	}
	return gone > 0
}

// nextFirstCheckDelay returns the next delay. After the last delay, checked connections were checked
// for the first time, and gone of these had been closed by their clients.
func nextFirstCheckDelay(delay time.Duration, checked, gone int) time.Duration {
	if 2*gone < checked {
		return min(2*delay, maxFirstCheckDelay)
	}
	return max(delay/2, minFirstCheckDelay)
}

// checkEvents checks each connection of the poll set that has an event, but only once: some clients send
// without end, and the other connections must not wait for these. It returns how many were closed.
// r.sweeping is held.
func (r *Reaper) checkEvents(p *poll) (closed int) {
	r.mu.Lock()
	rounds := p.len()/maxEvents + 1 // the kernel takes turns between them
	r.mu.Unlock()
	for more := true; more && rounds > 0; rounds-- {
		var n int
		n, more = p.ready()
		r.mu.Lock()
		conns := p.conns(n)
		r.mu.Unlock()
		closed += r.check(conns)
		clear(conns)
	}
	return closed
}

// batchSize is the number of connections that are checked before other goroutines may run. A batch takes
// as long as a few visits. If Go uses one CPU, visits wait for it.
const batchSize = 16

// check reads from each connection once, and closes those that have ended. It puts the others into the
// poll set, unless they are there. It returns how many it has closed. The slice is overwritten.
// r.sweeping is held.
func (r *Reaper) check(conns []*Conn) (closed int) {
	for batch := range slices.Chunk(conns, batchSize) {
		ended := r.partition(batch)
		r.remove(batch[:ended], ClientGone)
		r.watch(batch[ended:])
		closed += ended
		runtime.Gosched()
	}
	return closed
}

// partition reads from each connection once, and moves those that have ended to the front.
func (r *Reaper) partition(conns []*Conn) (ended int) {
	for i, c := range conns {
		n, err := c.socket.Discard(r.waste)
		if n > 0 && c.Sniff {
			c.Sniff = false
			r.hooks.OnFirstBytes(c, r.waste[:n])
		}
		if n == 0 && !errors.Is(err, syscall.EAGAIN) { // closed by the client or by other code
			conns[i], conns[ended] = conns[ended], c
			ended++
		}
	}
	return ended
}

// watch puts connections into the poll set, unless they are there. If the kernel has no room in the set
// (ENOSPC, ENOMEM), the connection is checked again later.
func (r *Reaper) watch(conns []*Conn) {
	if len(conns) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range conns {
		if !c.unlinked && c.fd == 0 && r.failure == nil && !r.poll.add(c) {
			r.unchecked = append(r.unchecked, c)
		}
	}
}

// remove closes conns, except those that other code has closed. It takes each lock only once, since
// visits wait for the locks. The slice is overwritten.
func (r *Reaper) remove(conns []*Conn, cause Cause) {
	gone := conns[:0]
	r.mu.Lock()
	for _, c := range conns {
		if !c.unlinked {
			r.unlink(c, cause)
			gone = append(gone, c)
		}
	}
	r.mu.Unlock()
	r.closeAll(gone)
}

// unlinkWhile unlinks connections, the oldest first, as long as wanted reports true.
func (r *Reaper) unlinkWhile(cause Cause, wanted func(*Conn) bool) (gone []*Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.ring.All() {
		if !wanted(c) {
			break
		}
		r.unlink(c, cause)
		gone = append(gone, c)
	}
	return gone
}

// unlink takes c out of the ring and the poll set. r.mu is held; closeAll must follow.
func (r *Reaper) unlink(c *Conn, cause Cause) {
	c.Cause, c.unlinked = cause, true
	r.ring.Remove(c)
	if r.poll != nil {
		r.poll.forget(c)
	}
}

// closeAll closes connections that are unlinked, and reports whether there was any.
func (r *Reaper) closeAll(gone []*Conn) bool {
	for _, c := range gone {
		_ = c.Conn.Close()
	}
	if len(gone) > 0 {
		r.hooks.Closed(gone)
	}
	return len(gone) > 0
}
