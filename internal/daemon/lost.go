package daemon

import (
	"context"
	"fmt"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/systemd"
)

const (
	lostInterval = time.Second // between two checks whether unix sockets still have their files
	lostRetry    = 10          // checks until another attempt to restore one
)

// restoreLost binds unix sockets again whose file somebody has deleted or replaced.
func (d *daemon) restoreLost(ctx context.Context) {
	tick := time.NewTicker(lostInterval)
	defer tick.Stop()
	lost := make(map[*systemd.Listener]int) // how many checks have found it so
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

// restore replaces l, whose file is gone, as a reload of the same configuration would. It
// logs only if it is the first attempt.
func (d *daemon) restore(ctx context.Context, l *systemd.Listener, first bool) {
	warn := func(message string) {
		if first {
			d.log.Event(logging.ConfigWarning, message, logging.F("listener", l.Name()), logging.F("address", l.Address()))
		}
	}
	warn(fmt.Sprintf("socket file of listener %s was deleted or replaced: %s; listening on it again", l.Name(), l.Address()))
	err := d.systemd.ReloadWith(ctx, func(ctx context.Context) error { // no reload meanwhile
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
