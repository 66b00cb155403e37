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
	Open         bool               // somebody accepts on it
	Active       int                // visits under way
	Lingering    int                // connections whose visit has ended; who hangs up is among them for up to half a second
	Visits       map[Outcome]uint64 // visits that have ended; every Outcome is a key
	Bytes        uint64             // of greetings, as far as they were written
	AcceptErrors uint64             // failed accepts that were tried again
	Trouble      error              // why accepting fails at present; nil if it does not
}

// counters are guarded by Server.mu.
type counters struct {
	active, lingering int
	visits            [6]uint64 // in the order of Outcomes
	bytes             uint64
	acceptErrors      uint64
}

func (o Outcome) index() int {
	switch o {
	case Greeted:
		return 0
	case Refused:
		return 1
	case HungUp:
		return 2
	case TimedOut:
		return 3
	case Cut:
		return 4
	default:
		return 5
	}
}

// Stats tells the numbers of all listeners, by name, those that are closed included.
func (s *Server) Stats() []ListenerStats {
	s.init()
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]ListenerStats, 0, len(s.counters))
	for _, name := range slices.Sorted(maps.Keys(s.counters)) {
		c := s.counters[name]
		visits := make(map[Outcome]uint64, len(c.visits))
		for _, o := range Outcomes() {
			visits[o] = c.visits[o.index()]
		}
		all = append(all, ListenerStats{
			Name: name, Active: c.active, Lingering: c.lingering,
			Visits: visits, Bytes: c.bytes, AcceptErrors: c.acceptErrors,
		})
	}
	for a := range s.acceptors {
		for i := range all {
			if all[i].Name == a.Name {
				all[i].Open = true
				all[i].Trouble = cmp.Or(all[i].Trouble, a.trouble.present())
			}
		}
	}
	return all
}
