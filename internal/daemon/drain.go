package daemon

import (
	"context"
	"fmt"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
)

// lameDuck continues to greet for timeouts.lameduck, while the daemon reports that it is not ready. It
// returns the reason for the drain that follows. A second signal ends it at once. why is the reason for
// the shutdown.
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

// drain stops accepting clients, and waits for visits in progress for at most timeouts.drain. A second
// signal cuts these visits at once.
func (d *daemon) drain(why string) {
	timeout := d.inForce().Timeouts.Drain
	d.log.Event(logging.Stopping, fmt.Sprintf("%s, shutting down: draining for up to %v", why, timeout), logging.F("reason", why))
	d.systemd.DrainTimeout = max(timeout, 1) // 0 would mean the default of systemd.Service
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

// logTotals writes the last entry of the log, with the counts of all visits. err is the error of the drain.
func (d *daemon) logTotals(err error) {
	fields := []logging.Field{logging.F("uptime_usec", time.Since(d.started).Microseconds())}
	total := sum(d.server.Stats())
	for _, o := range service.Outcomes() {
		fields = append(fields, logging.F(string(o), total.Visits[o]))
		for _, r := range o.Reasons() {
			if n := total.Reasons[o][r]; n > 0 {
				fields = append(fields, logging.F(string(o)+"_"+string(r), n))
			}
		}
	}
	message := "greetd has stopped: " + outcomes(total.Visits)
	if err != nil && total.Visits[service.Cut] > 0 {
		message += "; " + err.Error()
	}
	d.log.Event(logging.Stopped, message, fields...)
}
