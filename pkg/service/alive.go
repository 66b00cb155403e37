package service

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An ownDial is a connection that Alive makes to one of our listeners.
type ownDial struct {
	from  string        // its local address, known before it connects
	taken chan struct{} // closed when the accept loop has taken it
	began time.Time
	ended time.Time // when Alive ceased to wait for it; zero: it has not
}

// ownDials are those that may still be in the backlog of a listener. One that Alive has
// given up is among them: the loop takes it when it comes to it, perhaps much later.
type ownDials struct {
	some atomic.Bool // so that the loop need not look
	mu   sync.Mutex
	all  []*ownDial
}

// add must come before the connection does.
func (o *ownDials) add(from string) *ownDial {
	own := &ownDial{from: from, taken: make(chan struct{}), began: time.Now()}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, own)
	o.some.Store(true)
	return own
}

// giveUp says that nobody waits for own any more, whether it is connected or not. nil is
// none.
func (o *ownDials) giveUp(own *ownDial) {
	if own == nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	own.ended = time.Now()
}

// take tells whether a connection from there is one of them, and takes it out. With it go
// those that had been given up before it began: the backlog is a queue, so they were
// never in it.
func (o *ownDials) take(from string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.IndexFunc(o.all, func(own *ownDial) bool { return own.from == from })
	if i < 0 {
		return false
	}
	own := o.all[i]
	close(own.taken)
	o.all = slices.DeleteFunc(o.all, func(other *ownDial) bool {
		return other == own || !other.ended.IsZero() && other.ended.Before(own.began)
	})
	o.some.Store(len(o.all) > 0)
	return true
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
	if a.resting.Load() {
		return nil
	}
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
	return a.own.some.Load() && a.own.take(c.RemoteAddr().String())
}
