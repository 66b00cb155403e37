package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// statusInterval is how often STATUS= follows the counts.
const statusInterval = time.Second

// report keeps STATUS= up to date, and returns memory to the system when many
// connections have gone.
func (d *daemon) report(ctx context.Context) {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	var last string
	var trim memoryTrim
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if c := sum(d.server.Stats()); trim.due(c.active + c.lingering) {
			debug.FreeOSMemory()
		}
		if now := d.status(); now != last && d.notify.Status(now) == nil {
			last = now
		}
	}
}

// status is one line: the listeners, where they came from, and the counts.
func (d *daemon) status() string {
	c := sum(d.server.Stats())
	return fmt.Sprintf("%s; %d active, %d lingering; %s", d.describe(), c.active, c.lingering, c.outcomes())
}

// describe names each listener, its address and origin.
func (d *daemon) describe() string {
	var all []string
	for _, l := range d.listeners.Listeners() {
		all = append(all, l.String())
	}
	return strings.Join(all, ", ")
}

// A memoryTrim decides when to return memory to the system: when nine of ten of many
// connections have gone. The runtime would keep their memory for minutes, and much of it
// until as many come again.
type memoryTrim struct{ highWater int }

// trimThreshold is how many connections take memory that is worth returning.
const trimThreshold = 1000

func (t *memoryTrim) due(connections int) bool {
	t.highWater = max(t.highWater, connections)
	if t.highWater < trimThreshold || connections > t.highWater/10 {
		return false
	}
	t.highWater = connections
	return true
}
