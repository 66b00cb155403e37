package service

import (
	"context"
	"net"
	"sync/atomic"
	"time"
)

// A heartbeat shows whether one accept loop works.
type heartbeat struct {
	moved    atomic.Uint64 // rises each time the loop comes round
	resting  atomic.Bool   // the loop waits on purpose: for room, or after a failure
	own      ownDials      // the connections that prove makes
	answered chan struct{} // an interrupt was answered; it has room for one
}

// beats reports whether the loop that accepts on ln works: it rests on purpose, accepts a
// connection of ours, or can be interrupted and comes round. It waits until ctx ends, or draining
// is closed.
func (h *heartbeat) beats(ctx context.Context, ln net.Listener, draining <-chan struct{}) bool {
	if h.resting.Load() {
		return true
	}
	before := h.moved.Load()
	half, cancel := context.WithTimeout(ctx, timeLeft(ctx)/2)
	defer cancel()
	if connects(half, ln.Addr(), &h.own) || h.answers(ctx, ln, draining) {
		return true
	}
	return h.moved.Load() != before || h.resting.Load()
}

// timeLeft is how long ctx lasts.
func timeLeft(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return time.Until(end)
	}
	return time.Hour
}

// An interruptible is a listener whose Accept can be interrupted.
type interruptible interface{ SetDeadline(time.Time) error }

// answers interrupts the loop, and reports whether it answers, or draining ends it.
func (h *heartbeat) answers(ctx context.Context, ln net.Listener, draining <-chan struct{}) bool {
	select {
	case <-h.answered: // an earlier interrupt
	default:
	}
	l, ok := ln.(interruptible)
	if !ok {
		return false
	}
	_ = l.SetDeadline(past)
	select {
	case <-h.answered:
	case <-draining:
	case <-ctx.Done():
		return false
	}
	return true
}

// answer is the loop's, when it is interrupted.
func (h *heartbeat) answer(ln net.Listener) {
	if l, ok := ln.(interruptible); ok {
		_ = l.SetDeadline(time.Time{})
	}
	select {
	case h.answered <- struct{}{}:
	default:
	}
}

// isOwn reports whether c was made by connects.
func (h *heartbeat) isOwn(c net.Conn) bool {
	return h.own.some.Load() && h.own.remove(c.RemoteAddr().String())
}
