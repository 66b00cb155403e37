package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// An ownDial is a connection that Alive makes to one of our listeners.
type ownDial struct {
	from  string        // its local address, known before it connects
	taken chan struct{} // closed when the accept loop has taken it
}

// Alive proves that every accept loop works, for a watchdog. It connects to each
// listener; where that can't be done (no network in the sandbox, a full backlog) it
// interrupts the loop, which must then come round. A loop that rests on purpose,
// because MaxConns is reached or accepting has failed, is alive. Alive's own
// connections are no visits: limits, Stats and the Observer leave them out. The
// error names each listener whose loop did not move until ctx ended; ctx must have
// a deadline, or Alive may wait for ever.
func (s *Server) Alive(ctx context.Context) error {
	s.init()
	s.mu.Lock()
	results := make(chan error, len(s.acceptors))
	loops := len(s.acceptors)
	for a := range s.acceptors {
		go func() { results <- a.alive(ctx) }() // awaited below
	}
	s.mu.Unlock()

	var dead []error
	for range loops {
		dead = append(dead, <-results)
	}
	return errors.Join(dead...)
}

func (a *acceptor) alive(ctx context.Context) error {
	before := a.moved.Load()
	half, cancel := context.WithTimeout(ctx, patience(ctx)/2)
	defer cancel()
	if a.answers(half) {
		return nil
	}

	select {
	case <-a.beat: // of an earlier nudge
	default:
	}
	if l, ok := a.Listener.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(past)
		select {
		case <-a.beat:
			return nil
		case <-a.server.draining:
			return nil
		case <-ctx.Done():
		}
	}
	if a.moved.Load() != before || a.resting.Load() {
		return nil
	}
	return fmt.Errorf("listener %s: the accept loop does not move", a.Name)
}

// patience is how long ctx lasts.
func patience(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return time.Until(end)
	}
	return time.Hour
}

// nudged answers the interruption by alive.
func (a *acceptor) nudged() {
	if l, ok := a.Listener.Listener.(interface{ SetDeadline(time.Time) error }); ok {
		_ = l.SetDeadline(time.Time{})
	}
	select {
	case a.beat <- struct{}{}:
	default:
	}
}

// isOwn tells the connection that Alive has made.
func (a *acceptor) isOwn(c net.Conn) bool {
	own := a.own.Load()
	if own == nil || c.RemoteAddr().String() != own.from {
		return false
	}
	a.own.Store(nil)
	close(own.taken)
	return true
}
