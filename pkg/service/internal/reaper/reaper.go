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
	maxEvents     = 128  // of the poll set that are asked for at once
	trimThreshold = 1024 // more connections than these take memory that is given back when they have gone
)

// Hooks are what a Reaper calls. Closed is needed. None may block.
type Hooks struct {
	// Closed gets connections that the reaper has closed.
	Closed func([]*Conn)

	// OnFirstBytes gets what the client of a Conn with Sniff sends first, unless that is nothing; what
	// it sends more may be missing. The bytes are only valid during the call.
	OnFirstBytes func(*Conn, []byte)

	// Failed gets why the poll set can't be waited for any more. Connections have a goroutine each
	// from then on.
	Failed func(error)
}

// A Reaper closes connections when their clients have hung up, or when their time is over. Use New.
// It runs until Close.
type Reaper struct {
	hooks   Hooks
	running sync.WaitGroup

	mu        sync.Mutex
	ring      ring
	poll      *poll         // nil until a socket of the kernel comes, and where there is none
	unchecked []*Conn       // sockets that wait for their first check, see Sweep
	delay     time.Duration // from Add to that check
	hurried   bool          // delay stays as it is
	sweptAt   time.Time     // when Sweep was called last
	closing   chan struct{} // closed by Close
	failure   error         // why the poll set can't be waited for any more
	asked     chan struct{} // closed when the goroutine of the poll set comes round; nil while nobody asks

	sweeping sync.Mutex // held by one sweep at a time; taken before mu
	waste    []byte     // what clients send, before it is thrown away
	spare    []*Conn    // the memory of the last sweep's unchecked, for the next; guarded by mu
}

// New returns a reaper that calls hooks.
func New(hooks Hooks) *Reaper {
	r := &Reaper{hooks: hooks, delay: minFirstCheckDelay, closing: make(chan struct{})}
	r.ring.init()
	return r
}

// Add takes c over. HalfClose must follow.
func (r *Reaper) Add(c *Conn) {
	c.socket = socketOf(c.Conn)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ring.insert(c)
	c.polled = !r.isClosing() && c.socket != nil && r.startPoll() == nil
	if !c.polled {
		return
	}
	r.poll.wakeBy(r.ring.first().Until)
	r.unchecked = append(r.unchecked, c)
	if len(r.unchecked) == 1 {
		r.poll.wakeBy(time.Now().Add(r.delay))
	}
}

// Start makes the reaper ready for sockets of the kernel, which Add does else. The error says why it
// can't wait for them. Away from Linux, and after Close, it does nothing.
func (r *Reaper) Start() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.isClosing() {
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

// HalfClose closes c for writing, after which it can be closed. It follows Add, and is called once. It
// reports false if the client has gone.
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
	if r.isClosing() {
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

// Evict makes room, and reports whether it could. It closes connections whose clients have hung up,
// unless it looked for them lately; if there are none, it closes up to n of the oldest. It waits
// for one that is just being half-closed, which takes a system call.
func (r *Reaper) Evict(n int) bool {
	if r.sweepIsDue() && r.Sweep() {
		return true
	}
	for {
		gone, pending := r.unlinkOldest(n)
		if len(gone) > 0 || !pending {
			return r.closeAll(gone)
		}
		runtime.Gosched()
	}
}

func (r *Reaper) sweepIsDue() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Since(r.sweptAt) >= r.delay
}

// unlinkOldest unlinks up to n of the oldest connections. pending says that one is in the way which
// is not half-closed yet.
func (r *Reaper) unlinkOldest(n int) (gone []*Conn, pending bool) {
	gone = r.unlinkWhile(Evicted, func(c *Conn) bool {
		n--
		pending = n >= 0 && !c.halfClosed.Load()
		return n >= 0 && !pending
	})
	return gone, pending
}

// Shorten makes no connection that was added stay for more than d from now.
func (r *Reaper) Shorten(d time.Duration) {
	until := time.Now().Add(d)
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.ring.all() {
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

// Hurry sweeps now, and makes the first check of later connections come as soon as it ever does.
func (r *Reaper) Hurry() {
	r.mu.Lock()
	r.delay, r.hurried = minFirstCheckDelay, true
	r.mu.Unlock()
	r.Sweep()
}

// Close closes all connections, also those that are added later, and waits until nothing of the
// reaper runs. It may be called again.
func (r *Reaper) Close() {
	r.mu.Lock()
	if !r.isClosing() {
		close(r.closing)
	}
	poll := r.poll
	r.mu.Unlock()
	r.closeAll(r.unlinkWhile(Closing, func(*Conn) bool { return true }))
	if poll != nil {
		poll.close()
	}
	r.running.Wait()
}

func (r *Reaper) isClosing() bool {
	select {
	case <-r.closing:
		return true
	default:
		return false
	}
}

// run is the goroutine of the poll set.
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
			r.expire()
			r.rearm(p)
		}
	}
}

// fail hands all connections over to goroutines, since the poll set can't be waited for. When the
// reaper is closing, it does nothing.
func (r *Reaper) fail(err error) {
	r.mu.Lock()
	if r.isClosing() {
		r.mu.Unlock()
		return
	}
	r.failure = fmt.Errorf("wait for lingering connections: %w", err)
	r.reply()
	for c := range r.ring.all() {
		if c.polled {
			r.poll.forget(c)
			r.startDrain(c)
		}
	}
	r.unchecked = nil
	r.mu.Unlock()
	r.hooks.Failed(r.failure)
}

// Alive returns nil when the goroutine of the poll set has come round, or if there is none; else,
// when ctx ends, or if it has failed, why not.
func (r *Reaper) Alive(ctx context.Context) error {
	asked, err := r.ask()
	if asked == nil {
		return err
	}
	select {
	case <-asked:
		return nil
	case <-r.closing:
		return nil
	case <-ctx.Done():
		return errors.New("lingering connections are not looked after: their loop does not move")
	}
}

// ask returns what is closed when the goroutine of the poll set comes round; nil if it can't.
func (r *Reaper) ask() (<-chan struct{}, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.poll == nil || r.failure != nil {
		return nil, r.failure
	}
	if r.asked == nil {
		r.asked = make(chan struct{})
	}
	r.poll.setWake(time.Unix(1, 0))
	return r.asked, nil
}

// reply answers the callers that wait. r.mu is held.
func (r *Reaper) reply() {
	if r.asked != nil {
		close(r.asked)
		r.asked = nil
	}
}

// letEventsGather waits for a while, so that many clients that hang up one by one do not
// wake the reaper for each. Evict and Sweep do not wait for it.
func (r *Reaper) letEventsGather() {
	pause := time.NewTimer(minFirstCheckDelay)
	defer pause.Stop()
	select {
	case <-pause.C:
	case <-r.closing:
	}
}

// expire closes the connections whose time is over.
func (r *Reaper) expire() {
	now := time.Now()
	r.closeAll(r.unlinkWhile(Expired, func(c *Conn) bool { return c.halfClosed.Load() && !c.Until.After(now) }))
}

// rearm sets the time to wake for the connections that are there now.
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

// Sweep checks the connections that were added since the last sweep for the first time, and those
// of the poll set with which something has happened. Most clients hang up as soon as they have read
// to the end, and have done so by their first check: it costs less to read from them once, in one
// go, than to put each into the poll set and wait for its event. When Sweep returns, every
// connection that its client had closed before is closed; it reports whether there was any.
func (r *Reaper) Sweep() bool {
	r.sweeping.Lock()
	defer r.sweeping.Unlock()
	unchecked, polled := r.takeUnchecked()
	gone := r.check(unchecked)
	r.keepSpare(unchecked, gone)
	if polled {
		gone += r.checkEvents(r.poll)
	}
	return gone > 0
}

// takeUnchecked returns the connections that wait for their first check, and whether there are
// others in the poll set.
func (r *Reaper) takeUnchecked() (unchecked []*Conn, polled bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	unchecked = r.unchecked
	r.unchecked, r.spare = r.spare, nil
	r.sweptAt = time.Now()
	return unchecked, r.poll != nil && r.poll.len() > 0
}

// keepSpare learns from a first check, and keeps its memory, unless that is much.
func (r *Reaper) keepSpare(checked []*Conn, gone int) {
	clear(checked)
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(checked) > 0 && !r.hurried {
		r.delay = nextFirstCheckDelay(r.delay, len(checked), gone)
	}
	if cap(checked) <= trimThreshold {
		r.spare = checked[:0]
	}
}

// checkEvents checks each connection of the poll set with which something has happened once: some
// clients send without end, and the others must not wait for them. It returns how many were closed.
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

// batchSize is how many connections are checked before visits go on. It takes as long as some
// visits do, which wait for it where Go has one CPU.
const batchSize = 16

// check reads from each connection once, closes those from which nothing more will come, sees that
// the others are in the poll set, and returns how many it has closed. The slice is overwritten.
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

// partition reads from each connection once, and moves those to the front from which nothing more
// will come.
func (r *Reaper) partition(conns []*Conn) (ended int) {
	for i, c := range conns {
		n, err := c.socket.Discard(r.waste)
		if n > 0 && c.Sniff {
			c.Sniff = false
			r.hooks.OnFirstBytes(c, r.waste[:n])
		}
		if n == 0 && !errors.Is(err, syscall.EAGAIN) { // closed by somebody else, if not by the client
			conns[i], conns[ended] = conns[ended], c
			ended++
		}
	}
	return ended
}

// watch puts connections into the poll set, unless they are there. What the kernel does not admit to
// the set (ENOSPC, ENOMEM) is checked again after a while.
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

// remove closes these connections, except those that somebody else has closed. It takes each lock once,
// since visits wait for them. The slice is overwritten.
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

// unlinkWhile unlinks connections, the oldest first, until one is not wanted.
func (r *Reaper) unlinkWhile(cause Cause, wanted func(*Conn) bool) (gone []*Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.ring.all() {
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
	c.Cause = cause
	r.ring.remove(c)
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
