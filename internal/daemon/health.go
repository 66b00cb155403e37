package daemon

import (
	"context"
	"errors"
	"time"
)

// An unhealthy error is the reason why the daemon does not send WATCHDOG=1 to systemd.
type unhealthy struct{ error }

func (u unhealthy) Unwrap() error { return u.error }

// prove returns nil if greetd works: every listener of the configuration is served, and the accept
// loops, the reaper and the log make progress.
func (d *daemon) prove(ctx context.Context) error {
	if err := errors.Join(d.listeners.Check(), d.server.Alive(ctx), d.log.Alive(ctx)); err != nil {
		return unhealthy{err}
	}
	return nil
}

// healthy returns the result of prove for the admin socket. Concurrent requests share one result; a
// later request does not get it.
func (d *daemon) healthy() error {
	_, err, _ := d.proving.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return nil, d.prove(ctx)
	})
	return err
}
