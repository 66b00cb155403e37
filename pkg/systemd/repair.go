package systemd

import (
	"context"
	"slices"
	"syscall"
	"time"
)

const (
	repairTime  = time.Minute // longest time to wait for a repair
	firstRepair = 250 * time.Millisecond
	lastRepair  = 5 * time.Second
)

// AwaitRepair is for a start that has failed because of the configuration, for example of an invalid file: call it before
// the process ends. It closes the sockets from the fd store that no Listen has used, in all processes, and removes them
// from the store. So no client waits at a port that is not served.
//
// A socket of a socket unit stays open, and systemd would start the service again and again while a client waits there. If
// a client waits, AwaitRepair therefore calls waiting, and returns only when changed reports that another start is useful,
// after a minute, when ctx is done, or when the service has to stop (SIGTERM, SIGINT). It calls changed after 250 ms, then
// less often, up to once in 5 s, and after SIGHUP. Unless it is stopped, the socket unit then starts the service again.
func (s *Service) AwaitRepair(ctx context.Context, waiting func(), changed func() bool) {
	s.abandon()
	if !s.clientsWait() {
		return
	}
	waiting()
	next := firstRepair
	for end := time.Now().Add(repairTime); time.Now().Before(end); next = min(2*next, lastRepair) {
		_ = s.Notifier.Extend(2 * lastRepair)
		if !s.pause(ctx, next) || changed() {
			return
		}
	}
}

// abandon closes the sockets from the fd store that no Listen has used. Those of socket units stay open.
func (s *Service) abandon() {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.passed = slices.DeleteFunc(s.passed, func(socket openSocket) bool {
		if socket.isOwn() {
			s.discard(socket)
		}
		return socket.isOwn()
	})
}

// clientsWait reports whether a client waits at a socket of a socket unit that no Listen has used.
func (s *Service) clientsWait() bool {
	s.changing.Lock()
	defer s.changing.Unlock()
	return slices.ContainsFunc(s.passed, func(socket openSocket) bool {
		return socket.Origin == SocketUnit && clientWaits(socket.Listener)
	})
}

// pause waits for d, or until SIGHUP. It returns false at once if the service has to stop, because of SIGTERM, SIGINT, or
// the end of ctx.
func (s *Service) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case sig := <-s.signals:
		return sig == syscall.SIGHUP
	case <-timer.C:
		return true
	}
}
