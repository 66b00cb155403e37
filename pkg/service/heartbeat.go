package service

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A heartbeat shows whether one accept loop works.
type heartbeat struct {
	resting atomic.Bool // the loop waits on purpose: for room, or after a failure

	mu    sync.Mutex
	asked chan struct{} // closed when the loop answers; nil while nobody asks
	ended bool          // the loop has ended, and cannot answer
}

// An interruptible is a listener whose Accept can be interrupted.
type interruptible interface{ SetDeadline(time.Time) error }

// beats reports whether the loop that accepts on ln works: it pauses on purpose, or it answers an
// interrupt before ctx ends. For a loop that has ended, or cannot be interrupted, it reports true.
func (h *heartbeat) beats(ctx context.Context, ln net.Listener) bool {
	l, ok := ln.(interruptible)
	if !ok || h.resting.Load() {
		return true
	}
	answer := h.ask()
	if answer == nil {
		return true
	}
	_ = l.SetDeadline(past)
	select {
	case <-answer:
		return true
	case <-ctx.Done():
		return h.resting.Load()
	}
}

// ask returns a channel that is closed when the loop answers, or nil if the loop has ended. Callers
// that ask at the same time get the same channel.
func (h *heartbeat) ask() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.asked == nil && !h.ended {
		h.asked = make(chan struct{})
	}
	return h.asked
}

// answer is called by the loop when it is interrupted. It removes the deadline first. If it thereby
// removes the interrupt of another caller, that caller has asked before and gets this answer.
func (h *heartbeat) answer(ln net.Listener) {
	if l, ok := ln.(interruptible); ok {
		_ = l.SetDeadline(time.Time{})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reply()
}

// end is called when the loop has ended.
func (h *heartbeat) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ended = true
	h.reply()
}

// reply answers the callers that wait. h.mu is held.
func (h *heartbeat) reply() {
	if h.asked != nil {
		close(h.asked)
		h.asked = nil
	}
}
