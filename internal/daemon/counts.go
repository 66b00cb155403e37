package daemon

import (
	"fmt"
	"strings"

	"greetd.example/pkg/service"
)

// counts has the sums of the counts of all listeners.
type counts struct {
	active, lingering int
	bytes             uint64
	visits            map[service.Outcome]uint64
	reasons           map[service.Outcome]map[service.Reason]uint64
}

func sum(stats []service.ListenerStats) counts {
	c := counts{visits: make(map[service.Outcome]uint64), reasons: allReasons(nil)}
	for _, l := range stats {
		c.active += l.Active
		c.lingering += l.Lingering
		c.bytes += l.Bytes
		for o, n := range l.Visits {
			c.visits[o] += n
		}
		for o, reasons := range l.Reasons {
			for r, n := range reasons {
				c.reasons[o][r] += n
			}
		}
	}
	return c
}

// outcomes returns the number of visits with each outcome, such as "12 greeted, 1 timed out". It omits
// outcomes with no visit, except greeted.
func (c counts) outcomes() string {
	var words []string
	for _, o := range service.Outcomes() {
		if n := c.visits[o]; n > 0 || o == service.Greeted {
			words = append(words, fmt.Sprintf("%d %s", n, strings.ReplaceAll(string(o), "_", " ")))
		}
	}
	return strings.Join(words, ", ")
}
