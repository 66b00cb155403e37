package systemd

import (
	"context"
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
	s.Abandon()
	if !s.ClientsWait() {
		return
	}
	waiting()
	pause := firstRepair
	for end := time.Now().Add(repairTime); time.Now().Before(end); pause = min(2*pause, lastRepair) {
		_ = s.Notifier.Extend(2 * lastRepair)
		if !s.Pause(ctx, pause) || changed() {
			return
		}
	}
}
