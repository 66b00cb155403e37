package daemon

import (
	"context"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"greetd.example/pkg/service"
	"greetd.example/pkg/systemd"
)

// status returns the line for STATUS=: the reason if the last reload was refused, the listeners with
// their origins, and the counts.
func (d *daemon) status() string {
	c := sum(d.server.Stats())
	line := fmt.Sprintf("%s; %d active, %d lingering; %s", d.describe(), c.Active, c.Lingering, outcomes(c.Visits))
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

// sum returns the sums of the counts of all listeners. Every outcome and every reason has an entry, also without
// listeners.
func sum(stats []service.ListenerStats) service.ListenerStats {
	total := service.ListenerStats{Visits: make(map[service.Outcome]uint64), Reasons: make(map[service.Outcome]map[service.Reason]uint64)}
	for _, o := range service.Outcomes() {
		total.Visits[o] = 0
		for _, r := range o.Reasons() {
			if total.Reasons[o] == nil {
				total.Reasons[o] = make(map[service.Reason]uint64)
			}
			total.Reasons[o][r] = 0
		}
	}
	for _, l := range stats {
		total.Active += l.Active
		total.Lingering += l.Lingering
		total.Bytes += l.Bytes
		for o, n := range l.Visits {
			total.Visits[o] += n
		}
		for o, reasons := range l.Reasons {
			for r, n := range reasons {
				total.Reasons[o][r] += n
			}
		}
	}
	return total
}

// outcomes returns the number of visits with each outcome, such as "12 greeted, 1 timed out". It omits
// outcomes with no visit, except greeted.
func outcomes(visits map[service.Outcome]uint64) string {
	var words []string
	for _, o := range service.Outcomes() {
		if n := visits[o]; n > 0 || o == service.Greeted {
			words = append(words, fmt.Sprintf("%d %s", n, strings.ReplaceAll(string(o), "_", " ")))
		}
	}
	return strings.Join(words, ", ")
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
		if c := sum(d.server.Stats()); trim.due(c.Active + c.Lingering) {
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
