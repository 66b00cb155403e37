package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	firstPause = 5 * time.Millisecond // after the first failed accept; doubles up to
	lastPause  = time.Second
	calm       = time.Second // so long without a failure ends an episode of trouble
	giveWay    = 16          // lingering connections that make room for descriptors at once
)

// An acceptor is the accept loop of one listener. The loop only accepts.
type acceptor struct {
	Listener

	server   *Server
	counters *counters
	trouble  trouble

	// What Alive looks at.
	moved   atomic.Uint64 // rises each time the loop comes round
	resting atomic.Bool   // the loop waits on purpose: for room, or after a failure
	own     ownDials      // the connections that Alive is making to us
	beat    chan struct{} // a nudge was answered
}

func (a *acceptor) loop() error {
	for {
		a.moved.Add(1)
		if !a.server.waitForRoom(a) {
			return ErrClosed
		}
		c, err := a.Accept()
		switch {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded):
			a.nudged()
			continue
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("accept on %s: %w", a.Name, err)
		case passing(err):
			continue
		case lasting(err):
			if !a.failed(err) {
				return ErrClosed
			}
			continue
		default:
			return fmt.Errorf("accept on %s: %w", a.Name, err)
		}
		a.trouble.ease(a)
		if a.isOwn(c) {
			_ = c.Close()
			continue
		}
		v := newVisit(a, c)
		a.server.register(v)
		go v.run() // Shutdown waits
		// A crash loses whoever was accepted, and nobody in the backlog: so greet this one
		// before the next is accepted, when many come at once.
		runtime.Gosched()
	}
}

// passing tells the errors that concern one client which has gone already. Linux
// reports pending network errors of the new socket from accept (accept(2)).
func passing(err error) bool {
	for _, gone := range []error{
		syscall.ECONNABORTED, syscall.EINTR, syscall.EPROTO, syscall.ENETDOWN, syscall.ENOPROTOOPT,
		syscall.EHOSTDOWN, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EPERM, syscall.ETIMEDOUT,
	} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

// lasting tells the errors that say the system is short of something.
func lasting(err error) bool { return outOfDescriptors(err) || outOfMemory(err) }

func outOfDescriptors(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

func outOfMemory(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM)
}

// failed tells that accepting failed, makes room if it can, and otherwise waits. It
// reports whether to try again.
func (a *acceptor) failed(err error) bool {
	a.server.mu.Lock()
	a.counters.acceptErrors++
	a.server.mu.Unlock()

	if outOfDescriptors(err) && a.server.reaper.evict(giveWay) {
		a.trouble.begin(a, err, 0)
		return true
	}
	pause := a.trouble.next()
	a.trouble.begin(a, err, pause)
	return a.pause(pause)
}

// pause rests for d, or until draining starts, and reports whether it did rest.
func (a *acceptor) pause(d time.Duration) bool {
	a.resting.Store(true)
	defer a.resting.Store(false)
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-a.server.draining:
		return false
	}
}

// waitForRoom rests while MaxConns visits are under way, and reports false when
// draining starts. Lingering connections are no reason to wait: they give way when
// a client has come (see register).
func (s *Server) waitForRoom(a *acceptor) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.closing {
			return false
		}
		limit := s.rules.Load().maxConns
		if limit <= 0 || s.visits.len < limit {
			return true
		}
		s.rest(a)
	}
}

// rest waits for a change. s.mu is held, except while it waits.
func (s *Server) rest(a *acceptor) {
	changed := s.changed
	s.waiters++
	s.mu.Unlock()
	a.resting.Store(true)
	<-changed
	a.resting.Store(false)
	s.mu.Lock()
	s.waiters--
}

// register makes v one of the visits under way, which v.run ends. Where MaxConns is reached, the
// oldest lingering connection gives way; another listener may have been quicker to
// take the last place, and then v waits for the next.
func (s *Server) register(v *visit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closing {
		limit := s.rules.Load().maxConns
		if limit <= 0 || s.visits.len+s.lingering < limit {
			break
		}
		s.mu.Unlock()
		gaveWay := s.reaper.evict(1)
		s.mu.Lock()
		if !gaveWay && s.visits.len+s.lingering >= limit {
			s.rest(v.acceptor)
		}
	}
	v.rules = s.rules.Load()
	s.running.Add(1)
	s.visits.push(v)
	v.acceptor.counters.active++
	select {
	case <-s.cutting:
		v.cut()
	default:
	}
}

// trouble is an episode of failing accepts. It is over when none has failed for a
// while, so that a server at its limit does not tell of each descriptor that comes
// free.
type trouble struct {
	why   atomic.Pointer[error] // nil when there is no trouble
	mu    sync.Mutex            // orders what the Observer is told
	delay time.Duration
	timer *time.Timer // runs from the first success on
}

// next is how long to pause before accepting is tried again.
func (t *trouble) next() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delay = min(max(2*t.delay, firstPause), lastPause)
	return t.delay
}

// present is why accepting fails, or nil.
func (t *trouble) present() error {
	if why := t.why.Load(); why != nil {
		return *why
	}
	return nil
}

func (t *trouble) begin(a *acceptor, err error, retryIn time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.why.Store(&err)
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if a.server.Observer != nil {
		a.server.Observer.AcceptFailed(a.Name, err, retryIn)
	}
}

func (t *trouble) ease(a *acceptor) {
	if t.why.Load() == nil { // and there is no delay, then
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.delay = 0
	if t.why.Load() != nil && t.timer == nil {
		t.timer = time.AfterFunc(calm, func() { t.end(a) })
	}
}

func (t *trouble) end(a *acceptor) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.why.Swap(nil) == nil {
		return
	}
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	if a.server.Observer != nil {
		a.server.Observer.AcceptFailed(a.Name, nil, 0)
	}
}
