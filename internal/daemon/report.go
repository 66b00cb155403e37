package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"greetd.example/pkg/systemd"
)

// status is the line of STATUS=: why the last reload was refused, if it was, the listeners, where they came from, and the counts.
func (d *daemon) status() string {
	c := sum(d.server.Stats())
	line := fmt.Sprintf("%s; %d active, %d lingering; %s", d.describe(), c.active, c.lingering, c.outcomes())
	if last := d.inForce().lastReload; last != nil && !last.OK {
		line = "last reload refused: " + shortened(last.Error) + "; " + line
	}
	switch d.systemd.State() {
	case systemd.LameDuck:
		return fmt.Sprintf("lame duck for %v, then draining: %s", d.inForce().Timeouts.LameDuck, line)
	case systemd.Draining:
		return "draining: " + line
	default:
		return line
	}
}

// longestReason is how much of the reason of a refused reload systemctl status shows.
const longestReason = 300

func shortened(reason string) string {
	if len(reason) <= longestReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:longestReason], "") + "..."
}

// describe names each listener, its address and origin.
func (d *daemon) describe() string {
	var all []string
	for _, l := range d.systemd.Listeners() {
		all = append(all, l.String())
	}
	return strings.Join(all, ", ")
}

// trimInterval is how often it is seen whether memory can be returned.
const trimInterval = time.Second

// trimMemory returns memory to the system when many connections have gone.
func (d *daemon) trimMemory(ctx context.Context) {
	tick := time.NewTicker(trimInterval)
	defer tick.Stop()
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
	}
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
