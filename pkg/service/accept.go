package service

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	evictedAtOnce = 16  // lingering connections that make room for descriptors at once
	maxInARow     = 100 // after this number of successive accepts that fail because of one client, the loop pauses
)

// An acceptor is the accept loop of one listener. The loop only accepts.
type acceptor struct {
	host

	listener  net.Listener
	lastID    *atomic.Uint64 // of the server's connections
	workers   workers
	trouble   trouble
	heartbeat heartbeat
	inARow    int // accepts that failed because of one client, since the last success
}

// run accepts until the server drains or the listener is closed or broken, and returns why it ended.
func (a *acceptor) run() error {
	defer a.workers.stop()
	for {
		if !a.connections.waitForRoom(a.counters, &a.heartbeat.resting) {
			return ErrClosed
		}
		c, err := a.listener.Accept()
		if err != nil {
			if err := a.acceptFailed(err); err != nil {
				return err
			}
			continue
		}
		a.inARow = 0
		a.trouble.succeeded()
		v := newVisit(&a.host, c, a.lastID.Add(1))
		v.register(&a.heartbeat.resting)
		a.workers.start(v)
		// A crash loses the connections that were accepted, but none in the backlog. So let the visit
		// greet its client before the next client is accepted.
		runtime.Gosched()
	}
}

// acceptFailed handles err of Accept, and returns nil if the loop should call Accept again.
func (a *acceptor) acceptFailed(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		a.heartbeat.answer(a.listener)
		return nil
	case errors.Is(err, net.ErrClosed):
	case concernsOneClient(err) && a.inARow < maxInARow:
		a.inARow++
		return nil
	case AcceptPasses(err):
		return a.recover(err)
	}
	return fmt.Errorf("accept on %s: %w", a.name, err)
}

// recover makes room if possible, and otherwise waits. It returns ErrClosed if draining starts meanwhile.
func (a *acceptor) recover(err error) error {
	a.connections.countAcceptError(a.counters)
	hasRoom := outOfDescriptors(err) && a.connections.reaper.Evict(evictedAtOnce)
	pause := a.trouble.failed(err, hasRoom)
	a.heartbeat.resting.Store(true)
	defer a.heartbeat.resting.Store(false)
	select {
	case <-time.After(pause):
		return nil
	case <-a.connections.draining.Done():
		return ErrClosed
	}
}
