// Package openloop starts work at times that were fixed beforehand, whatever
// becomes of the work started before. What a slow server delays is then seen in
// the time that work took from when it was due, and not hidden by asking less
// often (coordinated omission).
package openloop

import (
	"iter"
	"math"
	"math/rand/v2"
	"time"
)

// Constant is due at 0, 1/rate, 2/rate and so on, without end. The rate is a second
// and above 0. Each time is worked out from the start, so errors do not add up.
func Constant(rate float64) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for i := 0; yield(seconds(float64(i) / rate)); i++ {
		}
	}
}

// Poisson is due at random, each time independent of the others, at the rate a
// second in the long run, without end. The rate is above 0. The same seed gives the
// same times.
func Poisson(rate float64, seed uint64) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		random := rand.New(rand.NewPCG(seed, 0))
		due := 0.0
		for {
			due += random.ExpFloat64() / rate
			if !yield(seconds(due)) {
				return
			}
		}
	}
}

// Before is those times of a schedule that come before the end.
func Before(end time.Duration, due iter.Seq[time.Duration]) iter.Seq[time.Duration] {
	return func(yield func(time.Duration) bool) {
		for at := range due {
			if at >= end || !yield(at) {
				return
			}
		}
	}
}

func seconds(s float64) time.Duration {
	return time.Duration(math.Round(s * float64(time.Second)))
}
