//go:build linux

package journal

import (
	"context"
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
	firstPause   = 10 * time.Millisecond // between attempts to write, doubled until maxPause
	maxPause     = time.Second
	flushPause   = 50 * time.Millisecond // instead of maxPause while the Writer is being closed
	failingDelay = time.Second           // how long an output may fail before this is reported
	minLimit     = 64                    // values are never cut to less than this
)

var (
	// ErrClosed is returned by [Writer.Alive] after Close.
	ErrClosed = errors.New("the log is closed")

	// ErrNotWritten is returned by [Writer.Close] if the time ran out before all entries were written.
	ErrNotWritten = errors.New("entries not written in time")
)

// An Output is a destination for entries of type E, and their encoding. It must not be changed
// after it was passed to a Writer.
type Output[E any] struct {
	Name string // for the hooks

	// Encode appends e to dst in the format of the output, and returns the extended slice. No value
	// of e may be longer than limit bytes in it. Only the goroutine of the Writer calls Encode. It
	// calls it again for the same entry if the first result was too long, or if the output has
	// changed.
	Encode func(dst []byte, e E, limit int) []byte
	Limit  int // the limit for the first call of Encode

	Conn Conn // the Writer closes it when it gets another output, and at the end
}

// A Conn transports bytes to an output. [Socket] and [Stream] are Conns.
type Conn interface {
	// Send writes b, and returns how many bytes were accepted. It does not block. EAGAIN means that
	// poll will report when there is room again, and EMSGSIZE that b is too long.
	Send(b []byte) (int, error)

	// FD returns the descriptor to poll for writing; it is negative if there is none.
	FD() int

	Close() error
}

// Hooks connect a Writer with its owner. They must not be nil, must not block, and must not call
// the Writer. Only the goroutine of the Writer calls them, except Done.
type Hooks[E any] struct {
	// Next returns an entry that the owner wants to be written before the entries in the queue. If
	// it has none, it returns when it should be called again; the zero time means after the next
	// Wake or Put.
	Next func(State) (e E, ok bool, again time.Time)

	// Done is called once for each entry from Put or Next, when it was written or dropped. Several
	// goroutines may call it at once.
	Done func(e E, written bool)

	// Failing is called when the output has failed for a second, and then not again until
	// Recovered.
	Failing func(output string, err error)

	// Recovered is called when the output works again, with the time for which it failed, and the
	// last error.
	Recovered func(output string, failed time.Duration, err error)
}

// A State describes a Writer that calls Next.
type State struct {
	Output  string // the name of the output
	Idle    bool   // no entry waits
	Closing bool   // Close was called
}

// A Writer writes entries to an output, one after the other. All its methods may be called at once.
// Only Close and Alive wait.
type Writer[E any] struct {
	hooks    Hooks[E]
	queue    queue[E]
	awake    chan struct{} // wakes the goroutine while nothing is to be written
	signal   *os.File      // an eventfd, wakes it while it waits for the output
	signalFD int
	deadline atomic.Pointer[time.Time] // set by Close
	done     chan struct{}
	result   error // of Close, valid when done is closed

	mu       sync.Mutex
	commands []func() // of Use and Alive, for the goroutine

	// For the goroutine alone.
	out     *Output[E]
	buf     []byte
	pause   time.Duration // before the next attempt
	failing failure
}

// A failure is a period in which the output could not be written to.
type failure struct {
	since    time.Time // zero: none
	err      error
	reported bool
}

// NewWriter returns a Writer to out, which need not be reachable yet. The caller must call Close.
func NewWriter[E any](out *Output[E], hooks Hooks[E]) (*Writer[E], error) {
	w, err := newWriter(out, hooks)
	if err != nil {
		return nil, err
	}
	go w.run() // Close waits
	return w, nil
}

func newWriter[E any](out *Output[E], hooks Hooks[E]) (*Writer[E], error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("open log: eventfd: %w", err)
	}
	return &Writer[E]{
		hooks: hooks, out: out,
		signal: os.NewFile(uintptr(fd), "eventfd"), signalFD: fd,
		awake: make(chan struct{}, 1), done: make(chan struct{}),
	}, nil
}

// Put adds e to the queue. It drops e if the queue is full or the Writer is closed. Urgent entries
// may use the reserve of the queue.
func (w *Writer[E]) Put(e E, urgent bool) {
	w.queue.put(e, urgent, w.hooks.Done)
	w.Wake()
}

// Wake makes the Writer call Hooks.Next.
func (w *Writer[E]) Wake() {
	select {
	case w.awake <- struct{}{}:
	default:
	}
}

// Use makes the Writer write to out from now on, also the entries that are in the queue. If a part
// of an entry was already written, and out has the same Conn, the rest is written in the old
// format.
func (w *Writer[E]) Use(out *Output[E]) {
	w.command(func() {
		if w.out.Conn != out.Conn {
			_ = w.out.Conn.Close()
			w.failing, w.pause = failure{}, 0
		}
		w.out = out
	})
}

func (w *Writer[E]) command(do func()) {
	w.mu.Lock()
	w.commands = append(w.commands, do)
	w.mu.Unlock()
	w.interrupt()
}

// interrupt wakes the goroutine, even if it waits for the output.
func (w *Writer[E]) interrupt() {
	_, _ = w.signal.Write(binary.NativeEndian.AppendUint64(nil, 1)) // fails only after the end
	w.Wake()
}

// Alive returns nil if the goroutine of the Writer runs, even if it waits for an output that is
// stuck. It returns an error if the goroutine has ended, or has not answered when ctx ends.
func (w *Writer[E]) Alive(ctx context.Context) error {
	answer := make(chan struct{})
	w.command(func() { close(answer) })
	select {
	case <-answer:
		return nil
	case <-w.done:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("the log writer does not answer: %w", context.Cause(ctx))
	}
}

// Close writes the entries in the queue, for at most timeout, and closes the Conn of the output. It
// returns ErrNotWritten if some are left; it has called Hooks.Done for these.
func (w *Writer[E]) Close(timeout time.Duration) error {
	w.queue.close()
	deadline := time.Now().Add(timeout)
	w.deadline.Store(&deadline)
	w.interrupt()
	select {
	case <-w.done:
	case <-time.After(2 * timeout):
		return errors.New("a write never returned")
	}
	_ = w.signal.Close()
	return w.result
}

// run writes entries until the Writer is closed and everything is written, or the
// deadline has passed.
func (w *Writer[E]) run() {
	defer close(w.done)
	for {
		w.obey()
		e, ok, again := w.take()
		switch {
		case ok && (w.expired() || !w.write(e)):
			w.giveUp(e)
			return
		case ok:
		case w.deadline.Load() != nil:
			_ = w.out.Conn.Close()
			return
		default:
			w.sleep(again)
		}
	}
}

func (w *Writer[E]) obey() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, do := range w.commands {
		do()
	}
	w.commands = nil
}

// take returns the entry to be written next. If there is none it returns when there may
// be one, the zero time if that is not known.
func (w *Writer[E]) take() (e E, ok bool, again time.Time) {
	state := State{Output: w.out.Name, Closing: w.deadline.Load() != nil}
	if e, ok, _ = w.hooks.Next(state); ok {
		return e, ok, again
	}
	if e, ok = w.queue.next(); ok {
		return e, ok, again
	}
	state.Idle = true
	return w.hooks.Next(state)
}

// sleep returns after a Wake, or at the time again.
func (w *Writer[E]) sleep(again time.Time) {
	var alarm <-chan time.Time
	if !again.IsZero() {
		alarm = time.After(time.Until(again))
	}
	select {
	case <-w.awake:
	case <-alarm:
	}
}

// write writes e to the output, and to the next one if the output is changed meanwhile.
// It reports false if the deadline came first.
func (w *Writer[E]) write(e E) bool {
	out, limit := w.out, w.out.Limit
	rest := w.encode(out, e, limit)
	for {
		n, err := out.Conn.Send(rest)
		rest = rest[n:]
		switch {
		case err == nil && len(rest) == 0:
			w.works()
			w.hooks.Done(e, true)
			return true
		case err == nil, errors.Is(err, unix.EINTR):
			w.pause = 0
		case errors.Is(err, unix.EMSGSIZE) && limit > minLimit:
			limit /= 2
			rest = w.encode(out, e, limit)
		case errors.Is(err, unix.EMSGSIZE):
			w.hooks.Done(e, false)
			return true
		case errors.Is(err, unix.EAGAIN):
			w.wait(out.Conn.FD(), maxPause)
		default:
			w.fails(err)
			w.wait(-1, w.pause)
		}
		if w.expired() {
			return false
		}
		w.obey()
		if w.out == out || len(rest) < len(w.buf) && w.out.Conn == out.Conn {
			continue // in the second case, a line that was begun must be finished in the same output
		}
		out, limit = w.out, w.out.Limit
		rest = w.encode(out, e, limit)
	}
}

func (w *Writer[E]) encode(out *Output[E], e E, limit int) []byte {
	w.buf = out.Encode(w.buf[:0], e, limit)
	return w.buf
}

// wait returns when fd can be written to, after an interrupt or after limit, and in any
// case at the deadline. A negative fd is ignored.
func (w *Writer[E]) wait(fd int, limit time.Duration) {
	if deadline := w.deadline.Load(); deadline != nil {
		limit = min(limit, flushPause, max(time.Until(*deadline), 0))
	}
	ready := []unix.PollFd{{Fd: int32(w.signalFD), Events: unix.POLLIN}, {Fd: int32(fd), Events: unix.POLLOUT}}
	milliseconds := (limit + time.Millisecond - 1) / time.Millisecond
	if _, err := unix.Poll(ready, int(milliseconds)); err == nil && ready[0].Revents != 0 {
		var count [8]byte
		_, _ = unix.Read(w.signalFD, count[:])
	}
}

func (w *Writer[E]) expired() bool {
	deadline := w.deadline.Load()
	return deadline != nil && !time.Now().Before(*deadline)
}

// fails records that the output could not be written to, and reports it after failingDelay.
func (w *Writer[E]) fails(err error) {
	now := time.Now()
	w.pause = min(max(2*w.pause, firstPause), maxPause)
	w.failing.err = err
	if w.failing.since.IsZero() {
		w.failing.since = now
	}
	if !w.failing.reported && now.Sub(w.failing.since) >= failingDelay {
		w.failing.reported = true
		w.hooks.Failing(w.out.Name, err)
	}
}

// works records that the output was written to.
func (w *Writer[E]) works() {
	failed := w.failing
	w.failing, w.pause = failure{}, 0
	if failed.reported {
		w.hooks.Recovered(w.out.Name, time.Since(failed.since), failed.err)
	}
}

func (w *Writer[E]) giveUp(e E) {
	w.obey()
	_ = w.out.Conn.Close()
	w.result = ErrNotWritten
	for ok := true; ok; e, ok = w.queue.next() {
		w.hooks.Done(e, false)
	}
}
