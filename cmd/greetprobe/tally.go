package main

import (
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"greetd.example/internal/openloop"
	"greetd.example/pkg/probe"
)

// A tally has the statistics of the requests of a load. Many goroutines may call its methods at once.
type tally struct {
	mu         sync.Mutex
	loadReport                         // as far as it grows with each request
	latency    *hdrhistogram.Histogram // of greeted requests: time from when they were due
	service    *hdrhistogram.Histogram // of greeted requests: time from when they started
	lag        *hdrhistogram.Histogram // time from due to start, of requests that no limit has delayed
	slowest    probe.Result            // the greeted request with the longest time from its start
	local      map[syscall.Errno]int   // number of local errors, by errno; 0: errors without an errno
	ended      int
	course     *course
}

func newTally(c *course) *tally {
	return &tally{
		latency: newTimes(), service: newTimes(), lag: newTimes(),
		loadReport: loadReport{Outcomes: map[probe.Status]int{}, Examples: map[probe.Status]string{}},
		local:      map[syscall.Errno]int{},
		course:     c,
	}
}

func (t *tally) start(s openloop.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Started++
	t.Inflight = max(t.Inflight, t.Started-t.ended)
	if s.Held {
		t.Held++
	} else {
		record(t.lag, s.Started.Sub(s.Due))
	}
}

func (t *tally) end(s openloop.Request, r *probe.Result, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended++
	if t.Outcomes[r.Status]++; t.Outcomes[r.Status] == 1 && r.Err != nil {
		t.Examples[r.Status] = safe(r.Err.Error())
	}
	t.Exit = max(t.Exit, exitFor(r.Status))
	if r.Status == probe.LocalError {
		var errno syscall.Errno
		errors.As(r.Err, &errno)
		t.local[errno]++
	}
	if r.Status == probe.OK {
		record(t.latency, now.Sub(s.Due))
		record(t.service, now.Sub(s.Started))
		if t.slowest.Timing.Total < r.Timing.Total {
			t.slowest = *r
		}
		t.course.record(now, now.Sub(s.Due), now.Sub(s.Started))
	}
}

// progress returns one line about the progress of a load.
func (t *tally) progress(since, duration time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := max(duration-since, 0).Round(time.Second)
	return fmt.Sprintf("%d started, %d under way, %d greeted, %d failed; %s to go",
		t.Started, t.Started-t.ended, t.Outcomes[probe.OK], t.ended-t.Outcomes[probe.OK], left)
}
