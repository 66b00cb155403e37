package daemon

import (
	"context"
	"fmt"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/systemd"
)

const (
	lostInterval = time.Second // time between two checks whether unix sockets still have their files
	lostRetry    = 10          // number of checks between two attempts to restore a listener
)

// restoreLost binds a unix socket again if its file was deleted or replaced.
func (d *daemon) restoreLost(ctx context.Context) {
	tick := time.NewTicker(lostInterval)
	defer tick.Stop()
	lost := make(map[*systemd.Listener]int) // number of checks that found the listener without its file
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, l := range d.systemd.Listeners() {
			if !l.Lost() {
				continue
			}
			if lost[l]%lostRetry == 0 {
				d.restore(ctx, l, lost[l] == 0)
			}
			lost[l]++
		}
	}
}

// restore replaces l, whose file is gone, as a reload of the same configuration would do. It logs only
// the first attempt.
func (d *daemon) restore(ctx context.Context, l *systemd.Listener, first bool) {
	warn := func(message string) {
		if first {
			d.log.Event(logging.ConfigWarning, message, logging.F("listener", l.Name()), logging.F("address", l.Address()))
		}
	}
	warn(fmt.Sprintf("socket file of listener %s was deleted or replaced: %s; listening on it again", l.Name(), l.Address()))
	err := d.systemd.ReloadWith(ctx, func(ctx context.Context) error { // no reload runs at the same time
		c := d.inForce()
		change, err := d.systemd.Prepare(ctx, listenConfigs(c.Config, c.settings.Listeners))
		if err == nil {
			d.listeners.Commit(change, c.settings.Listeners)
		}
		return err
	})
	if err != nil {
		warn(fmt.Sprintf("cannot listen again, retrying every %v: %v", lostRetry*lostInterval, err))
	}
}
