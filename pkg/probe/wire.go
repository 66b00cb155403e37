package probe

import (
	"context"
	"errors"
	"net"
	"time"
)

// A wire is a connection that is used until ctx is done, or an allowance is spent.
type wire struct {
	net.Conn
	ctx     context.Context   //nolint:containedctx // the steps of one probe share it, as they share the connection
	own     allowance         // from the beginning; the zero value: ctx ends before
	until   time.Time         // whichever is first
	early   []byte            // that was read too early, and is to be read first
	refusal func(error) error // what an error of Read means as a late refusal of TLS; nil if it is none
}

// Read implements net.Conn.
func (w *wire) Read(b []byte) (int, error) {
	if len(w.early) > 0 {
		n := copy(b, w.early)
		w.early = w.early[n:]
		return n, nil
	}
	return w.Conn.Read(b)
}

func newWire(ctx context.Context, conn net.Conn, read time.Duration) *wire {
	w := &wire{Conn: conn, ctx: ctx, refusal: func(error) error { return nil }}
	w.renew(read)
	return w
}

// spent says in words which deadline has passed, or is just passing.
func (w *wire) spent() string {
	if w.own != (allowance{}) {
		return w.own.Error()
	}
	return spent(w.ctx)
}

// wait lets the next reads and writes take d, and no longer than until.
func (w *wire) wait(d time.Duration) {
	deadline := time.Now().Add(d)
	if deadline.After(w.until) {
		deadline = w.until
	}
	_ = w.SetDeadline(deadline)
	if errors.Is(w.ctx.Err(), context.Canceled) {
		interrupt(w.Conn) // it came while the deadline was being set
	}
}

// renew gives the next step an allowance of d, as if it were the beginning.
func (w *wire) renew(d time.Duration) {
	w.own, w.until = allowance{time: d}, time.Now().Add(d)
	if deadline, ok := w.ctx.Deadline(); ok && deadline.Before(w.until) {
		w.own, w.until = allowance{}, deadline
	}
	w.wait(time.Until(w.until))
}

// interrupt wakes whatever blocks on conn.
func interrupt(conn net.Conn) { _ = conn.SetDeadline(time.Unix(1, 0)) }

// An allowance is why a context ended: its time is spent.
type allowance struct {
	time time.Duration
	of   string // what all of it was for
}

func (a allowance) Error() string { return "within " + a.time.String() + a.of }

// spent says in words which deadline of ctx has passed, or is just passing.
func spent(ctx context.Context) string {
	<-ctx.Done()
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause.Error()
	}
	return "in the time that was given"
}

// since returns the time since t, for a Timing.
func since(t time.Time) *time.Duration {
	d := time.Since(t)
	return &d
}
