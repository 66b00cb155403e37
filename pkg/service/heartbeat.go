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

	mu       sync.Mutex
	answered chan struct{} // closed, and replaced, when the loop answers; closed for good when it has ended
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
	h.mu.Lock()
	answered := h.answered
	h.mu.Unlock()
	_ = l.SetDeadline(past)
	select {
	case <-answered:
		return true
	case <-ctx.Done():
		return h.resting.Load()
	}
}

// answer is called by the loop when it is interrupted. It removes the deadline first. If it thereby
// removes the interrupt of another caller, that caller has asked before and gets this answer.
func (h *heartbeat) answer(ln net.Listener) {
	if l, ok := ln.(interruptible); ok {
		_ = l.SetDeadline(time.Time{})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.answered)
	h.answered = make(chan struct{})
}

func (h *heartbeat) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.answered)
}
