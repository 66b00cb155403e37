package service

import (
	"cmp"
	"maps"
	"slices"
)

// ListenerStats are the numbers of one listener name since the server began. They
// were all taken in one moment: what has come is Active and the Visits, nothing else.
type ListenerStats struct {
	Name         string
	Open         bool                          // a Serve of that name runs
	Full         bool                          // MaxConns of the Server, or of the Listener, is reached by visits under way
	Active       int                           // visits under way
	Lingering    int                           // connections whose visit has ended; those that the client has closed may count for 0.5 s
	Visits       map[Outcome]uint64            // visits that have ended; every Outcome is a key
	Reasons      map[Outcome]map[Reason]uint64 // the Visits that were not greeted; every Reason of each Outcome is a key
	Bytes        uint64                        // of greetings, as far as they were written
	AcceptErrors uint64                        // failed accepts that were tried again
	Trouble      error                         // why accepting fails at present; nil if it does not
}

// Stats returns the numbers of all listeners, sorted by name, those that are closed included.
func (s *Server) Stats() []ListenerStats {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	all := make([]ListenerStats, 0, len(s.connections.counters))
	for _, name := range slices.Sorted(maps.Keys(s.connections.counters)) {
		l := listenerStats(name, s.connections.counters[name])
		for a := range s.acceptors {
			if a.name == name {
				l.Open = true
				l.Full = s.connections.hasTooManyVisits(a.counters)
				l.Trouble = cmp.Or(l.Trouble, a.trouble.present())
			}
		}
		all = append(all, l)
	}
	return all
}

func listenerStats(name string, c *counters) ListenerStats {
	visits := make(map[Outcome]uint64, len(c.visits))
	reasons := make(map[Outcome]map[Reason]uint64)
	for _, o := range Outcomes() {
		visits[o] = c.visits[o.index()]
		if o == Greeted {
			continue
		}
		reasons[o] = make(map[Reason]uint64)
		for i, r := range o.Reasons() {
			reasons[o][r] = c.reasons[o.index()][i]
		}
	}
	return ListenerStats{
		Name: name, Active: c.active, Lingering: c.lingering,
		Visits: visits, Reasons: reasons, Bytes: c.bytes, AcceptErrors: c.acceptErrors,
	}
}
