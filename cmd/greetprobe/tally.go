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

// newTimes returns a histogram of times in nanoseconds, from a microsecond to longest, with a precision of three
// digits.
func newTimes() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(longest), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 0), longest))) // can't fail: the value is in the range of the histogram
}

// A tally has the statistics of the requests of a load. Many goroutines may call its methods at once.
type tally struct {
	mu       sync.Mutex
	latency  *hdrhistogram.Histogram // of greeted requests: time from when they were due
	service  *hdrhistogram.Histogram // of greeted requests: time from when they started
	lag      *hdrhistogram.Histogram // time from due to start, of requests that no limit has delayed
	outcomes map[probe.Status]int
	examples map[probe.Status]string // the first error of each status
	slowest  probe.Result            // the greeted request with the longest time from its start
	local    map[syscall.Errno]int   // number of local errors, by errno; 0: errors without an errno
	exit     int                     // the largest exit code
	started  int
	ended    int
	peak     int // maximum number of requests in flight at once
	held     int // number of requests that started late because of the limit
	course   *course
}

func newTally(c *course) *tally {
	return &tally{
		latency: newTimes(), service: newTimes(), lag: newTimes(),
		outcomes: map[probe.Status]int{}, examples: map[probe.Status]string{}, local: map[syscall.Errno]int{},
		course: c,
	}
}

func (t *tally) start(s openloop.Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.started++
	t.peak = max(t.peak, t.started-t.ended)
	if s.Held {
		t.held++
	} else {
		record(t.lag, s.Started.Sub(s.Due))
	}
}

func (t *tally) end(s openloop.Request, r *probe.Result, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended++
	if t.outcomes[r.Status]++; t.outcomes[r.Status] == 1 && r.Err != nil {
		t.examples[r.Status] = safe(r.Err.Error())
	}
	t.exit = max(t.exit, exitFor(r.Status))
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
		t.started, t.started-t.ended, t.outcomes[probe.OK], t.ended-t.outcomes[probe.OK], left)
}
