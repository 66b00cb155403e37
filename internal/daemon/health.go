package daemon

import (
	"context"
	"errors"
	"time"
)

// An unhealthy error is why systemd's watchdog is not told that greetd works.
type unhealthy struct{ error }

func (u unhealthy) Unwrap() error { return u.error }

// prove returns nil if greetd works: the accept loops move, and so does the log.
func (d *daemon) prove(ctx context.Context) error {
	if err := errors.Join(d.server.Alive(ctx), d.log.Alive(ctx)); err != nil {
		return unhealthy{err}
	}
	return nil
}

// healthy is prove for the admin socket.
func (d *daemon) healthy() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return d.prove(ctx)
}
