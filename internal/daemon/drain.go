package daemon

import (
	"context"
	"fmt"
	"os"
	"syscall"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
)

const (
	drainTick      = 500 * time.Millisecond
	drainExtension = 5 * time.Second // of systemd's timeout, after each progress
)

// drain stops: no new clients, and visits that have begun end within timeouts.drain. A
// second signal cuts them.
func (d *daemon) drain(signals <-chan os.Signal, why string) error {
	timeout := d.inForce().Timeouts.Drain
	d.setState(draining)
	_ = d.notify.Stopping("draining: " + d.status())
	d.log.Event(logging.Stopping, fmt.Sprintf("greetd stops, since %s: visits have %v to end", why, timeout), logging.F("reason", why))

	ctx, cancel := context.WithTimeoutCause(context.Background(), timeout, fmt.Errorf("the drain took longer than timeouts.drain, %v", timeout))
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- d.server.Shutdown(ctx) }() // received below
	tick := time.NewTicker(drainTick)
	defer tick.Stop()
	left := d.left()
	for {
		select {
		case err := <-drained:
			d.listeners.Wait()
			d.logTotals(err)
			return nil
		case s := <-signals:
			if s != syscall.SIGHUP {
				d.log.Event(logging.Stopping, "greetd cuts the visits that are left, since it was told twice")
				_ = d.server.Close()
			}
		case <-tick.C:
			if now := d.left(); now < left { // no extension without progress
				left = now
				_ = d.notify.Extend(drainExtension)
			}
			_ = d.notify.Status("draining: " + d.status())
		}
	}
}

// left is how many connections are still open.
func (d *daemon) left() int {
	c := sum(d.server.Stats())
	return c.active + c.lingering
}

// logTotals writes the last entry.
func (d *daemon) logTotals(err error) {
	fields := []logging.Field{logging.F("uptime_usec", time.Since(d.started).Microseconds())}
	total := sum(d.server.Stats())
	for _, o := range service.Outcomes() {
		fields = append(fields, logging.F(string(o), total.visits[o]))
	}
	message := "greetd has stopped: " + total.outcomes()
	if err != nil && total.visits[service.Cut] > 0 {
		message += "; " + err.Error()
	}
	d.log.Event(logging.Stopped, message, fields...)
}
