package daemon

import (
	"context"
	"fmt"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/systemd"
)

// lostInterval is how often it is checked whether unix sockets still have their files.
const lostInterval = time.Second

// restoreLost binds unix sockets again whose file somebody has deleted or replaced.
func (d *daemon) restoreLost(ctx context.Context) {
	tick := time.NewTicker(lostInterval)
	defer tick.Stop()
	reported := make(map[*systemd.Listener]bool)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, l := range d.systemd.Listeners() {
			if l.Lost() {
				d.restore(ctx, l, !reported[l])
				reported[l] = true
			}
		}
	}
}

// restore replaces l, whose file is gone, as a reload of the same configuration would. It
// logs only if it is the first attempt.
func (d *daemon) restore(ctx context.Context, l *systemd.Listener, first bool) {
	c := d.inForce()
	warn := func(message string) {
		if first {
			d.log.Event(logging.ConfigWarning, message, logging.F("listener", l.Name()), logging.F("address", l.Address()))
		}
	}
	warn(fmt.Sprintf("socket file of listener %s was deleted or replaced: %s; listening on it again", l.Name(), l.Address()))
	change, err := d.systemd.Prepare(ctx, listenConfigs(c.Config))
	if err != nil {
		warn(fmt.Sprintf("cannot listen again, retrying every second: %v", err))
		return
	}
	d.listeners.Commit(change, c.settings.Listeners)
}
