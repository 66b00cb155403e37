package admin

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"greetd.example/internal/words"
	"greetd.example/pkg/service"
)

const (
	historyStep   = time.Second
	historyLength = 600 // number of points: ten minutes
)

// A History has the points of the last ten minutes. It is the answer to GET /history. With ?after=N it has
// only the points after number N.
type History struct {
	Started time.Time `json:"started"` // as in [Status]; after a restart of the daemon, the numbers begin again at 1
	Points  []Point   `json:"points"`  // oldest first
}

// A Point has the counts of one period of about one second.
type Point struct {
	Number    uint64    `json:"number"` // of the point, from 1
	At        time.Time `json:"at"`     // end of the period, by the monotonic clock
	Seconds   float64   `json:"seconds"`
	Outcomes  Outcomes  `json:"outcomes"`    // visits that ended in the period
	Active    int       `json:"active"`      // at its end
	Lingering int       `json:"lingering"`   // at its end
	Median    *float64  `json:"p50_seconds"` // of the duration of its greeted visits, interpolated; nil if there were none
	P99       *float64  `json:"p99_seconds"`
}

// A history keeps the last points.
type history struct {
	begin  sync.Once // of keepHistory
	mu     sync.Mutex
	ring   [historyLength]Point // number n is at n % historyLength
	latest uint64               // the number of the latest point; 0 if there is none

	// The counts at the end of the latest point.
	at       time.Time
	outcomes Outcomes
	counts   []uint64
}

// keepHistory adds a point each second until Shutdown.
func (s *Server) keepHistory() {
	defer func() {
		if cause := recover(); cause != nil {
			s.failed("keep the history", cause)
		}
	}()
	tick := time.NewTicker(historyStep)
	defer tick.Stop()
	for {
		s.sample()
		select {
		case <-tick.C:
		case <-s.ending.Done():
			return
		}
	}
}

// sample adds one point. The first call adds none: it stores the counts from which the second call counts.
func (s *Server) sample() {
	status := s.daemon.Status()
	s.tracker.complete(time.Now(), &status, true)
	bounds, counts := s.daemon.Durations()
	s.history.add(time.Now(), status, bounds, counts)
}

func (h *history) add(now time.Time, status Status, bounds []time.Duration, counts []uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.at.IsZero() {
		h.at, h.outcomes, h.counts = now, status.Outcomes, counts
		return
	}
	since := now.Sub(h.at)
	p := Point{
		Number: h.latest + 1, At: h.at.Add(since), Seconds: since.Seconds(),
		Outcomes: make(Outcomes), Active: status.Connections.Active, Lingering: status.Connections.Lingering,
	}
	for _, outcome := range service.Outcomes() {
		p.Outcomes[outcome] = status.Outcomes[outcome] - h.outcomes[outcome]
	}
	passed := make([]uint64, len(counts))
	for i := range counts {
		passed[i] = counts[i] - h.counts[i]
	}
	p.Median, p.P99 = quantile(0.5, bounds, passed), quantile(0.99, bounds, passed)
	h.ring[p.Number%historyLength], h.latest = p, p.Number
	h.at, h.outcomes, h.counts = p.At, status.Outcomes, counts
}

// quantile returns the q-quantile of the durations of visits, in seconds. It estimates as Prometheus does: it
// assumes that the durations in a bucket are spread evenly. If the quantile is above the last bound, it
// returns the last bound. It returns nil if there were no visits.
func quantile(q float64, bounds []time.Duration, counts []uint64) *float64 {
	rank := q * float64(counts[len(bounds)])
	if rank == 0 {
		return nil
	}
	lower, below := time.Duration(0), uint64(0)
	for i, bound := range bounds {
		if float64(counts[i]) >= rank {
			share := (rank - float64(below)) / float64(counts[i]-below)
			seconds := (float64(lower) + share*float64(bound-lower)) / float64(time.Second)
			return &seconds
		}
		lower, below = bound, counts[i]
	}
	seconds := lower.Seconds()
	return &seconds
}

// after returns the points with numbers above n that are still kept.
func (h *history) after(n uint64) []Point {
	h.mu.Lock()
	defer h.mu.Unlock()
	points := []Point{}
	if h.latest > historyLength {
		n = max(n, h.latest-historyLength)
	}
	for n++; n <= h.latest; n++ {
		points = append(points, h.ring[n%historyLength])
	}
	return points
}

func (s *Server) serveHistory(w http.ResponseWriter, r *http.Request) {
	var after uint64
	if text := r.URL.Query().Get("after"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			writeText(w, http.StatusBadRequest, "after="+words.Quote(text)+" is not the number of a point: it counts from 1")
			return
		}
		after = n
	}
	writeJSON(w, http.StatusOK, History{s.daemon.Status().Started, s.history.after(after)})
}
