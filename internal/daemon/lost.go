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
			if l.Lost() && !reported[l] {
				reported[l] = true
				d.restore(ctx, l)
			}
		}
	}
}

// restore replaces l, whose file is gone, as a reload of the same configuration would.
func (d *daemon) restore(ctx context.Context, l *systemd.Listener) {
	c := d.inForce()
	d.log.Event(logging.ConfigWarning, fmt.Sprintf("socket file of listener %s was deleted or replaced: %s; listening on it again", l.Name(), l.Address()),
		logging.F("listener", l.Name()), logging.F("address", l.Address()))
	change, err := d.systemd.Prepare(ctx, listenConfigs(c.Config))
	if err != nil {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf("listener %s cannot be reached: %v; then reload", l.Name(), err), logging.F("listener", l.Name()))
		return
	}
	d.listeners.Commit(change, c.settings.Listeners)
}
