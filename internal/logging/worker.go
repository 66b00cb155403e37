package logging

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	summaryEvery = time.Second // and so long drops are gathered under load
	firstPause   = 10 * time.Millisecond
	lastPause    = time.Second           // between attempts, and between looks at a stalled output
	flushPause   = 50 * time.Millisecond // the same when the log is being closed
	patience     = time.Second           // so long an output may fail before that is told
)

// A worker is the only one that writes to the output. It takes entries from the
// queue, and makes those that sum up what was left out.
type worker struct {
	queue  *queue
	limit  *limiter
	recent *recent

	awake    chan struct{} // there is something to look at
	bell     *os.File      // an eventfd: the same for a worker that waits in poll
	bellFD   int
	deadline atomic.Pointer[time.Time] // set when the log is closed
	pings    chan chan struct{}
	complain func(message string) // says on stderr that the output fails
	done     chan struct{}
	left     remains // valid when done is closed

	mu   sync.Mutex
	next []*output // to be used from now on, in turn; the last one stays

	// Known to the worker alone.
	out      *output
	buf      []byte
	pause    time.Duration // before the next attempt
	failing  failure
	said     *entry    // about the output, to be written before all others
	dropsDue time.Time // when dropped entries are told of at the latest
}

// A failure is a time during which the output could not be written to.
type failure struct {
	since time.Time // zero: none
	err   error
	told  bool
}

// remains is what a worker could not write before the deadline.
type remains struct {
	entries uint64 // that were logged, or were owed as a summary
	visits  uint64 // of which they told
}

func newWorker(q *queue, l *limiter, r *recent, out *output, complain func(string)) (*worker, error) {
	bell, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open log: eventfd: %w", err)
	}
	return &worker{
		queue: q, limit: l, recent: r, out: out, complain: complain,
		bell: os.NewFile(uintptr(bell), "eventfd"), bellFD: bell,
		awake: make(chan struct{}, 1), pings: make(chan chan struct{}, 1), done: make(chan struct{}),
	}, nil
}

// wake makes the worker look for entries.
func (w *worker) wake() {
	select {
	case w.awake <- struct{}{}:
	default:
	}
}

// ring makes it look for orders, even while it waits for the output.
func (w *worker) ring() {
	_, _ = w.bell.Write(binary.NativeEndian.AppendUint64(nil, 1)) // fails only after the end
	w.wake()
}

// use makes the worker write to out from now on. It closes the carrier of the output
// before, unless out has the same.
func (w *worker) use(out *output) {
	w.mu.Lock()
	w.next = append(w.next, out)
	w.mu.Unlock()
	w.ring()
}

// work runs until the log is closed and everything is written, or the deadline has
// passed.
func (w *worker) work() {
	defer close(w.done)
	for {
		w.heed()
		e, due := w.take()
		switch {
		case e != nil && !w.expired() && w.deliver(e):
			e.free()
		case e != nil:
			w.leave(e)
			return
		case w.deadline.Load() != nil:
			w.out.close()
			return
		default:
			w.idle(due)
		}
	}
}

// heed does what others asked for.
func (w *worker) heed() {
	select {
	case answer := <-w.pings:
		close(answer)
	default:
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, next := range w.next {
		if w.out.carrier != next.carrier {
			w.out.close()
			w.failing, w.pause = failure{}, 0
		}
		w.out = next
	}
	w.next = nil
}

// take returns the entry to be written next. If there is none it returns when there
// will be, or the zero time if nothing is owed.
func (w *worker) take() (e *entry, due time.Time) {
	if e, w.said = w.said, nil; e != nil {
		return e, time.Time{}
	}
	closing := w.deadline.Load() != nil
	if !closing {
		if e, due = w.owed(summaryEvery); e != nil {
			return e, due
		}
	}
	if e = w.queue.next(); e != nil {
		return e, time.Time{}
	}
	if e = w.dropped(); e == nil && closing {
		e, _ = w.owed(0)
	}
	return e, due
}

// owed returns the summary of the visits that were suppressed, once the first of
// them is older than age; and what take does.
func (w *worker) owed(age time.Duration) (e *entry, due time.Time) {
	t, due := w.limit.take(age)
	if t.total() > 0 {
		return summary(t, time.Now()), time.Time{}
	}
	if _, untold := w.queue.dropped(); !untold {
		w.dropsDue = time.Time{}
	} else if w.dropsDue.IsZero() {
		w.dropsDue = time.Now().Add(summaryEvery)
	} else if time.Now().After(w.dropsDue) {
		return w.dropped(), time.Time{}
	}
	return nil, due
}

// dropped returns the entry that tells how many were dropped, nil if none was.
func (w *worker) dropped() *entry {
	d := w.queue.takeDrops()
	if d.entries == 0 {
		return nil
	}
	w.dropsDue = time.Time{}
	e := newEntry(EntriesDropped, time.Now(), fmt.Sprintf(
		"%s dropped: %s did not take them in time", count(d.entries, "log entry", "log entries"), w.out.name))
	e.addNumber("dropped", d.entries)
	for i, visits := range d.visits {
		e.visits += visits
		e.addNumber(droppedKeys[i], visits)
	}
	w.recent.add(e)
	return e
}

// idle waits until there is something to look at, or something is due.
func (w *worker) idle(due time.Time) {
	var alarm <-chan time.Time
	if !due.IsZero() {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		alarm = timer.C
	}
	select {
	case <-w.awake:
	case <-alarm:
	}
}

// deliver writes e to the output, and to the next one if the output is changed
// meanwhile. It reports false if the deadline came first.
func (w *worker) deliver(e *entry) bool {
	out, limit := w.out, w.out.limit
	w.buf = out.form(w.buf[:0], e, limit)
	rest := w.buf
	for {
		n, err := out.send(rest)
		rest = rest[n:]
		switch {
		case len(rest) == 0 && err == nil:
			w.works()
			return true
		case err == nil, errors.Is(err, unix.EINTR):
			w.pause = 0
		case errors.Is(err, unix.EMSGSIZE) && limit > 64:
			limit /= 2
			w.buf = out.form(w.buf[:0], e, limit)
			rest = w.buf
		case errors.Is(err, unix.EMSGSIZE):
			w.queue.drop(e)
			return true
		case errors.Is(err, unix.EAGAIN):
			w.wait(out.descriptor(), lastPause)
		default:
			w.fails(err)
			w.wait(-1, w.pause)
		}
		if w.expired() {
			return false
		}
		w.heed()
		if w.out == out {
			continue
		}
		// Half a line must be finished where it was begun.
		if begun := len(rest) < len(w.buf); !begun || w.out.carrier != out.carrier {
			out, limit = w.out, w.out.limit
			w.buf = out.form(w.buf[:0], e, limit)
			rest = w.buf
		}
	}
}

// wait returns when fd can be written to, the bell rings or limit has passed, with
// the deadline as a limit of its own. A negative fd is not waited for.
func (w *worker) wait(fd int, limit time.Duration) {
	if deadline := w.deadline.Load(); deadline != nil {
		limit = min(limit, flushPause, max(time.Until(*deadline), 0))
	}
	ready := []unix.PollFd{{Fd: int32(w.bellFD), Events: unix.POLLIN}, {Fd: int32(fd), Events: unix.POLLOUT}}
	milliseconds := (limit + time.Millisecond - 1) / time.Millisecond
	if _, err := unix.Poll(ready, int(milliseconds)); err == nil && ready[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(w.bellFD, count[:])
	}
}

// expired reports whether the deadline has passed.
func (w *worker) expired() bool {
	deadline := w.deadline.Load()
	return deadline != nil && !time.Now().Before(*deadline)
}

// fails notes that the output could not be written to, and says so once.
func (w *worker) fails(err error) {
	now := time.Now()
	w.pause = min(max(2*w.pause, firstPause), lastPause)
	w.failing.err = err
	if w.failing.since.IsZero() {
		w.failing.since = now
	}
	if !w.failing.told && now.Sub(w.failing.since) >= patience {
		w.failing.told = true
		w.complain(fmt.Sprintf("cannot log to %s: %s; entries wait, and are dropped when %d do", w.out.name, err, queueSize))
	}
}

// works notes that the output was written to. Whether it had failed for long, the
// output itself is told.
func (w *worker) works() {
	failed := w.failing
	w.failing, w.pause = failure{}, 0
	if !failed.told {
		return
	}
	w.said = troubleOver(w.out.name, time.Since(failed.since), failed.err)
	w.recent.add(w.said)
}

// troubleOver returns the entry that tells how long an output failed, and why.
func troubleOver(output string, took time.Duration, err error) *entry {
	e := newEntry(OutputTroubled, time.Now(), fmt.Sprintf(
		"could not log to %s for %s: %s", output, duration(took), printable(err)))
	e.addNumber("duration_usec", uint64(took.Microseconds()))
	e.addError(err)
	return e
}

// leave counts e, and everything behind it, as not written.
func (w *worker) leave(e *entry) {
	w.heed()
	w.out.close()
	if w.said != nil {
		w.left.entries++
	}
	for ; e != nil; e = w.queue.next() {
		w.left.entries++
		w.left.visits += e.visits
	}
	d := w.queue.takeDrops()
	w.left.entries += d.entries
	for _, visits := range d.visits {
		w.left.visits += visits
	}
	t, _ := w.limit.take(0)
	w.left.visits += t.total()
}
