package main

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"greetd.example/internal/logging"
	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// watchdog tells systemd that greetd is well, as long as that is proved: the accept
// loops move, and so does the log.
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

// healthy is nil if greetd proves within patience that it works.
func (d *daemon) healthy(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return errors.Join(d.server.Alive(ctx), d.log.Alive(ctx))
}

// statusInterval is how often STATUS= follows the counts.
const statusInterval = time.Second

// report keeps STATUS= up to date.
func (d *daemon) report(ctx context.Context) {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	var last string
	var tide tide
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if active, lingering := connections(d.server.Stats()); tide.ebbs(active + lingering) {
			debug.FreeOSMemory()
		}
		if now := d.status(); now != last && d.notify.Status(now) == nil {
			last = now
		}
	}
}

// A tide tells when a crowd has gone. The runtime would keep the memory that it took for
// minutes, and much of it until there is a next one.
type tide struct{ high int }

// crowd is how many connections take memory that is worth giving back.
const crowd = 1000

func (t *tide) ebbs(connections int) bool {
	t.high = max(t.high, connections)
	if t.high < crowd || connections > t.high/10 {
		return false
	}
	t.high = connections
	return true
}

func connections(stats []service.ListenerStats) (active, lingering int) {
	for _, l := range stats {
		active += l.Active
		lingering += l.Lingering
	}
	return active, lingering
}

// status is one line: the listeners, where they came from, and what is going on.
func (d *daemon) status() string {
	stats := d.server.Stats()
	active, lingering := connections(stats)
	total := make(map[service.Outcome]uint64)
	for _, l := range stats {
		for o, n := range l.Visits {
			total[o] += n
		}
	}
	return fmt.Sprintf("%s; %d active, %d lingering; %s", d.posts.describe(), active, lingering, inWords(total))
}

// inWords leaves out what did not happen, but for greeted.
func inWords(visits map[service.Outcome]uint64) string {
	var words []string
	for _, o := range service.Outcomes() {
		if n := visits[o]; n > 0 || o == service.Greeted {
			words = append(words, fmt.Sprintf("%d %s", n, strings.ReplaceAll(string(o), "_", " ")))
		}
	}
	return strings.Join(words, ", ")
}
