package daemon

import (
	"context"
	"fmt"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
)

// lameDuck goes on greeting for timeouts.lameduck, not ready any more, and returns why that
// is over. A second signal ends it at once.
func (d *daemon) lameDuck(ctx context.Context, why string) string {
	timeouts := d.inForce().Timeouts
	if timeouts.LameDuck == 0 || ctx.Err() != nil {
		return why
	}
	d.log.Event(logging.Stopping, fmt.Sprintf("%s, shutting down: lame duck for %v (not ready, still greeting), then draining for up to %v",
		why, timeouts.LameDuck, timeouts.Drain), logging.F("reason", why))
	if err := d.systemd.Linger(ctx, timeouts.LameDuck); err != nil {
		return err.Error() + ", lame duck skipped"
	}
	return "lame duck ended"
}

// drain stops: no new clients, and visits that have begun end within timeouts.drain. A
// second signal cuts them.
func (d *daemon) drain(why string) {
	timeout := d.inForce().Timeouts.Drain
	d.log.Event(logging.Stopping, fmt.Sprintf("%s, shutting down: draining for up to %v", why, timeout), logging.F("reason", why))
	d.systemd.DrainTimeout = max(timeout, 1) // 0 is a default there
	err := d.systemd.Drain(context.Background(), func(ctx context.Context) error {
		cutting := context.AfterFunc(ctx, func() {
			d.log.Event(logging.Stopping, fmt.Sprintf("%v, cutting the remaining visits", context.Cause(ctx)))
		})
		defer cutting()
		return d.server.Shutdown(ctx)
	})
	d.listeners.Wait()
	d.logTotals(err)
}

// logTotals writes the last entry.
func (d *daemon) logTotals(err error) {
	fields := []logging.Field{logging.F("uptime_usec", time.Since(d.started).Microseconds())}
	total := sum(d.server.Stats())
	for _, o := range service.Outcomes() {
		fields = append(fields, logging.F(string(o), total.visits[o]))
		for _, r := range o.Reasons() {
			if n := total.reasons[o][r]; n > 0 {
				fields = append(fields, logging.F(string(o)+"_"+string(r), n))
			}
		}
	}
	message := "greetd has stopped: " + total.outcomes()
	if err != nil && total.visits[service.Cut] > 0 {
		message += "; " + err.Error()
	}
	d.log.Event(logging.Stopped, message, fields...)
}
