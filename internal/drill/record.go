package drill

import (
	"math"
	"slices"
	"sync"
	"time"
)

// An Outcome is the outcome of one client.
type Outcome string

// The outcomes. A client with NotAsked does not count as lost: this machine could not start it, or an interrupt came
// before the answer.
const (
	Served   Outcome = "served"
	Refused  Outcome = "refused"
	Reset    Outcome = "reset"
	Cut      Outcome = "cut"
	TimedOut Outcome = "timed_out"
	Other    Outcome = "other"
	NotAsked Outcome = "not_asked"
)

// Outcomes returns every outcome.
func Outcomes() []Outcome {
	return []Outcome{Served, Refused, Reset, Cut, TimedOut, Other, NotAsked}
}

// A Client is the outcome of one client, with the times when it was due and when it ended.
type Client struct {
	Due, Ended time.Time
	Outcome    Outcome
	Error      string        // "" if there was none
	Late       time.Duration // from when it was due until this machine started it
}

// at returns the time that determines the step for which the client counts. Usually this is the time when it was due. For
// a connection that was broken, it is the time when this happened, since a client can be due before the step that breaks
// its connection.
func (c Client) at() time.Time {
	if c.Outcome == Reset || c.Outcome == Cut {
		return c.Ended
	}
	return c.Due
}

// A Record collects clients, and summarizes them by step. Many goroutines may call its methods at once. The zero value is
// empty.
type Record struct {
	mu      sync.Mutex
	clients []Client
	newest  time.Time // the latest time at which a served client was due
}

// Add adds a client that has ended.
func (r *Record) Add(c Client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients = append(r.clients, c)
	if c.Outcome == Served && c.Due.After(r.newest) {
		r.newest = c.Due
	}
}

// ServedSince reports whether a client that was due at or after since was served.
func (r *Record) ServedSince(since time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.newest.Before(since)
}

// A Window is the time from the request of a step to the request of the next one.
type Window struct {
	From, To time.Time // To is not part of the window
	Last     bool      // it is the last window: later clients also count for it
}

func (w Window) has(at time.Time) bool { return !at.Before(w.From) && (w.Last || at.Before(w.To)) }

// A Summary has the results of the clients that count for a window.
type Summary struct {
	Counts   map[Outcome]int
	Asked    int    // number of clients, without those with NotAsked
	Example  string // the error of the first client that was lost
	Unasked  string // the error of the first client of NotAsked
	Latency  []time.Duration
	Gap      time.Duration // the longest time in which no client was served
	GapEnded time.Time     // when the first client after it was served; zero if none was
	First    time.Time     // when the first client was served; zero if none was
	Late     time.Duration // the greatest Late of its clients
}

// Again returns the time when clients were served again. This is the end of the longest gap, if the gap is longer than usual
// or if clients were lost. Otherwise it is the time when the first client was served. It is zero if no client was served.
func (s Summary) Again(usual time.Duration) time.Time {
	if s.Lost() == 0 && s.Gap <= usual {
		return s.First
	}
	return s.GapEnded
}

// Lost returns the number of clients that were started and not served.
func (s Summary) Lost() int { return s.Asked - s.Counts[Served] }

// Percentile returns the percentile p of the latency of served clients, from when they were due. It returns 0 if no client
// was served.
func (s Summary) Percentile(p float64) time.Duration {
	if len(s.Latency) == 0 {
		return 0
	}
	rank := int(math.Ceil(float64(len(s.Latency)) * p / 100))
	return s.Latency[max(rank, 1)-1]
}

// Summary returns the results of the clients that count for the window: those that were due in it, and those whose
// connection was broken in it. Each client counts for only one of several adjacent windows.
func (r *Record) Summary(w Window) Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Summary{Counts: make(map[Outcome]int)}
	for _, o := range Outcomes() {
		s.Counts[o] = 0
	}
	var served []time.Time
	for _, c := range r.clients {
		if !w.has(c.at()) {
			continue
		}
		s.Counts[c.Outcome]++
		s.Late = max(s.Late, c.Late)
		switch c.Outcome {
		case Served:
			s.Latency = append(s.Latency, c.Ended.Sub(c.Due))
			served = append(served, c.Ended)
		case NotAsked:
			if s.Unasked == "" {
				s.Unasked = c.Error
			}
			continue
		default:
			if s.Example == "" {
				s.Example = c.Error
			}
		}
		s.Asked++
	}
	slices.Sort(s.Latency)
	slices.SortFunc(served, time.Time.Compare)
	if len(served) > 0 {
		s.First = served[0]
	}
	last := w.From
	for _, at := range served {
		if gap := at.Sub(last); gap > s.Gap {
			s.Gap, s.GapEnded = gap, at
		}
		last = at
	}
	if rest := w.To.Sub(last); s.Asked > s.Counts[Served] && rest > s.Gap { // no client was served until the end of the window
		s.Gap, s.GapEnded = rest, time.Time{}
	}
	return s
}

// A Slice has the results of the clients that count for one short period.
type Slice struct {
	Served, Lost int
	Worst        time.Duration // worst latency of the served clients, from when they were due
}

// Course returns the slices with this width of the time from begin to end.
func (r *Record) Course(begin, end time.Time, width time.Duration) []Slice {
	r.mu.Lock()
	defer r.mu.Unlock()
	course := make([]Slice, max(1, int((end.Sub(begin)+width-1)/width)))
	for _, c := range r.clients {
		i := min(int(c.at().Sub(begin)/width), len(course)-1)
		if i < 0 || c.Outcome == NotAsked {
			continue
		}
		if c.Outcome == Served {
			course[i].Served++
			course[i].Worst = max(course[i].Worst, c.Ended.Sub(c.Due))
		} else {
			course[i].Lost++
		}
	}
	return course
}
