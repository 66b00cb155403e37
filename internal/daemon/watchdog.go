package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/systemd"
)

// watchdog tells systemd that greetd works, as long as that is proved: the accept loops
// move, and so does the log.
func (d *daemon) watchdog(ctx context.Context) {
	interval, err := systemd.WatchdogInterval()
	if err != nil {
		d.log.Event(logging.ConfigWarning, fmt.Sprintf("the watchdog is off: %v", err))
	}
	if interval <= 0 {
		return
	}
	tick := time.NewTicker(interval / 4)
	defer tick.Stop()
	for {
		if err := d.healthy(ctx, interval/4); err == nil {
			_ = d.notify.Ping()
		} else if ctx.Err() == nil {
			d.log.Event(logging.WatchdogRefused, fmt.Sprintf("the watchdog is not told that all is well: %v", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// healthy returns nil if greetd proves within timeout that it works.
func (d *daemon) healthy(ctx context.Context, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return errors.Join(d.server.Alive(ctx), d.log.Alive(ctx))
}
