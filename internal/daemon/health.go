package daemon

import (
	"context"
	"errors"
	"time"
)

// An unhealthy error is why systemd's watchdog gets no WATCHDOG=1.
type unhealthy struct{ error }

func (u unhealthy) Unwrap() error { return u.error }

// prove returns nil if greetd works: every listener of the configuration is served, the accept loops
// and the reaper move, and so does the log.
func (d *daemon) prove(ctx context.Context) error {
	if err := errors.Join(d.listeners.Check(), d.server.Alive(ctx), d.log.Alive(ctx)); err != nil {
		return unhealthy{err}
	}
	return nil
}

// healthy is prove for the admin socket. Requests at the same time share one result, and no other
// request gets it.
func (d *daemon) healthy() error {
	_, err, _ := d.proving.Do("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		return nil, d.prove(ctx)
	})
	return err
}
