package service

import (
	"cmp"
	"maps"
	"slices"
)

// ListenerStats are the counts of all listeners with one name, since the server was started. They are a
// consistent snapshot: the number of accepted connections is Active plus the sum of Visits.
type ListenerStats struct {
	Name         string
	Open         bool                          // a call of Serve for this name is running
	Full         bool                          // visits in progress have reached MaxConns of the Server or of the Listener
	Active       int                           // visits in progress
	Lingering    int                           // connections whose visit has ended; one that the client has closed may be counted for another 0.5 s
	Visits       map[Outcome]uint64            // visits that have ended; every Outcome is a key
	Reasons      map[Outcome]map[Reason]uint64 // of Visits that were not greeted; every Reason of each Outcome is a key
	Bytes        uint64                        // bytes of greetings that were sent
	AcceptErrors uint64                        // failed accepts after which the server tried again
	Trouble      error                         // why accepting currently fails; nil if it works
}

// Stats returns the counts of all listeners, including closed ones, sorted by name.
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
