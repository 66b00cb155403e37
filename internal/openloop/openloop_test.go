package openloop_test

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"greetd.example/internal/openloop"
)

func TestConstantDoesNotDrift(t *testing.T) {
	thirds := first(3_000_001, openloop.Constant(3))
	if got := thirds[1]; got != 333_333_333 {
		t.Errorf("second time = %v, want 333.333333ms", got)
	}
	if got := thirds[3_000_000]; got != 1_000_000*time.Second {
		t.Errorf("after three million at 3/s = %v, want a million seconds", got)
	}
}

func TestPoisson(t *testing.T) {
	const n = 100_000
	times := first(n, openloop.Poisson(50, 1))
	if !slices.IsSorted(times) {
		t.Error("times do not ascend")
	}
	if got := float64(n) / times[n-1].Seconds(); got < 49 || got > 51 {
		t.Errorf("rate = %.2f/s, want about 50/s", got)
	}
	// In a Poisson process a share of 1-1/e of the gaps is below the mean.
	short := 0
	for i := 1; i < n; i++ {
		if times[i]-times[i-1] < 20*time.Millisecond {
			short++
		}
	}
	if got := float64(short) / n; got < 0.622 || got > 0.642 {
		t.Errorf("share of gaps below their mean = %.3f, want about 0.632", got)
	}
	if again := first(n, openloop.Poisson(50, 1)); !slices.Equal(again, times) {
		t.Error("the same seed gives other times")
	}
	if other := first(n, openloop.Poisson(50, 2)); slices.Equal(other, times) {
		t.Error("another seed gives the same times")
	}
}

// first is the first n times of a schedule.
func first(n int, due iter.Seq[time.Duration]) (times []time.Duration) {
	for at := range due {
		if len(times) == n {
			break
		}
		times = append(times, at)
	}
	return times
}

// TestSkip stops the runner from 1 s to 5.5 s, as SIGSTOP would.
func TestSkip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got requests
		begin := time.Now()
		var skipped []string
		r := openloop.Runner{
			Due: func(yield func(time.Duration) bool) {
				for at := range openloop.Constant(1) {
					if at == 2*time.Second {
						time.Sleep(4500 * time.Millisecond)
					}
					if !yield(at) {
						return
					}
				}
			},
			Do:    func(_ context.Context, s openloop.Request) { got.add(s) },
			Count: 4,
			Skip:  time.Second,
			Skipped: func(n int, since, until time.Time) {
				skipped = append(skipped, fmt.Sprint(n, " ", since.Sub(begin), " to ", until.Sub(begin)))
			},
		}
		if due := r.Run(t.Context()); due != 4 {
			t.Errorf("%d started, want 4", due)
		}
		var at []time.Duration
		for i, s := range got.started {
			at = append(at, s.Due.Sub(begin))
			if s.Seq != i {
				t.Errorf("request %d has the number %d", i, s.Seq)
			}
		}
		if want := []time.Duration{0, time.Second, 6 * time.Second, 7 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("started those of %v, want %v", at, want)
		}
		if want := []string{"4 2s to 5s"}; !slices.Equal(skipped, want) {
			t.Errorf("skipped %q, want %q", skipped, want)
		}
	})
}

func TestBefore(t *testing.T) {
	want := []time.Duration{0, time.Second / 2}
	if got := slices.Collect(openloop.Before(time.Second, openloop.Constant(2))); !slices.Equal(got, want) {
		t.Errorf("before 1s = %v, want %v", got, want)
	}
}

// requests keeps what was started, in order.
type requests struct {
	mu      sync.Mutex
	started []openloop.Request
}

func (s *requests) add(request openloop.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = append(s.started, request)
}

// at takes the times in seconds.
func at(times ...float64) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for _, s := range times {
			if !yield(time.Duration(s * float64(time.Second))) {
				return
			}
		}
	}
}

func lateness(started []openloop.Request) (late []float64) {
	for _, s := range started {
		late = append(late, s.Started.Sub(s.Due).Seconds())
	}
	return late
}

func TestSlowRequestsDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got requests
		begin := time.Now()
		r := openloop.Runner{
			Due:   openloop.Constant(1),
			Count: 5,
			Do: func(_ context.Context, s openloop.Request) {
				got.add(s)
				time.Sleep(10 * time.Second)
			},
		}
		if due := r.Run(t.Context()); due != 5 {
			t.Errorf("%d came due, want 5", due)
		}
		for i, s := range got.started {
			if s.Seq != i || s.Held || s.Started != begin.Add(time.Duration(i)*time.Second) || s.Due != s.Started {
				t.Errorf("request %d: %+v", i, s)
			}
		}
		if took := time.Since(begin); took != 14*time.Second {
			t.Errorf("run took %v, want 14s: until the last request ended", took)
		}
	})
}

func TestLimitHoldsRequestsBackAndReportsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got requests
		r := openloop.Runner{
			Due: at(0, 1, 2, 3, 30),
			Do: func(_ context.Context, s openloop.Request) {
				got.add(s)
				time.Sleep(5 * time.Second)
			},
			MaxInflight: 2,
		}
		r.Run(t.Context())
		if late, want := lateness(got.started), []float64{0, 0, 3, 3, 0}; !slices.Equal(late, want) {
			t.Errorf("started late by %v, want %v", late, want)
		}
		for i, want := range []bool{false, false, true, true, false} {
			if got.started[i].Held != want {
				t.Errorf("request %d: held = %v, want %v", i, got.started[i].Held, want)
			}
		}
	})
}

func TestNothingStartsAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got requests
		begin := time.Now()
		r := openloop.Runner{
			Due: openloop.Before(10*time.Second, openloop.Constant(1)),
			Do: func(_ context.Context, s openloop.Request) {
				got.add(s)
				time.Sleep(8 * time.Second)
			},
			MaxInflight: 1,
			End:         10 * time.Second,
		}
		if due := r.Run(t.Context()); due != 10 {
			t.Errorf("%d came due, want 10", due)
		}
		if len(got.started) != 2 {
			t.Errorf("%d started, want 2: at 0s and at 8s", len(got.started))
		}
		if took := time.Since(begin); took != 16*time.Second {
			t.Errorf("run took %v, want 16s: until the second request ended", took)
		}
	})
}

func TestInterruptEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, interrupt := context.WithTimeout(t.Context(), 4500*time.Millisecond)
		defer interrupt()
		var got requests
		begin := time.Now()
		r := openloop.Runner{
			Due: openloop.Constant(1),
			Do: func(ctx context.Context, s openloop.Request) {
				got.add(s)
				<-ctx.Done()
			},
			MaxInflight: 3,
		}
		if due := r.Run(ctx); due != 5 {
			t.Errorf("%d came due, want 5: at 0s to 4s", due)
		}
		if len(got.started) != 3 {
			t.Errorf("%d started, want 3", len(got.started))
		}
		if took := time.Since(begin); took != 4500*time.Millisecond {
			t.Errorf("run took %v, want 4.5s", took)
		}
	})
}
