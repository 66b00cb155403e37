package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"greetd.example/pkg/systemd"
)

// status returns the line for STATUS=: the reason if the last reload was refused, the listeners with
// their origins, and the counts.
func (d *daemon) status() string {
	c := sum(d.server.Stats())
	line := fmt.Sprintf("%s; %d active, %d lingering; %s", d.describe(), c.active, c.lingering, c.outcomes())
	if last := d.inForce().lastReload; last.Refused() {
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

// longestReason is the maximum number of bytes of the reason of a refused reload in STATUS=.
const longestReason = 300

func shortened(reason string) string {
	if len(reason) <= longestReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:longestReason], "") + "..."
}

// describe returns the name, the address and the origin of each listener.
func (d *daemon) describe() string {
	var all []string
	for _, l := range d.systemd.Listeners() {
		all = append(all, l.String())
	}
	return strings.Join(all, ", ")
}

// trimInterval is the time between two checks whether memory can be returned to the system.
const trimInterval = time.Second

// trimMemory returns memory to the system when many connections have ended, until ctx is done.
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

// A memoryTrim decides when to return memory to the system: when there were many connections, and nine
// of ten have ended. Without that, the runtime would keep their memory for minutes, and much of it until
// there are as many connections again.
type memoryTrim struct{ highWater int }

// trimThreshold is the number of connections from which their memory is worth returning.
const trimThreshold = 1000

// due reports whether to return memory now. connections is the current number of connections.
func (t *memoryTrim) due(connections int) bool {
	t.highWater = max(t.highWater, connections)
	if t.highWater < trimThreshold || connections > t.highWater/10 {
		return false
	}
	t.highWater = connections
	return true
}
