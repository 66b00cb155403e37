package main

import (
	"fmt"
	"io"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"greetd.example/internal/words"
)

// longest is the maximum time in the histograms. It is far above the time that the timeouts allow for a probe. The
// histograms have a precision of three digits.
const longest = time.Hour

// pingStats has the statistics of a series of probes, the same as those of ping(8). Times are in whole
// microseconds, as in ping(8).
type pingStats struct {
	sent, received int // number of probes that have ended, and of those with a greeting
	min, max       time.Duration
	sum, sumSquare float64 // of the times in microseconds, and of their squares
	times          *hdrhistogram.Histogram
	outages        outages
}

func newPingStats() *pingStats {
	return &pingStats{times: hdrhistogram.New(1, longest.Microseconds(), 3)}
}

// add counts the probe with the number seq, from 0, which was due at due. took is the time until the greeting, if ok
// is true.
func (s *pingStats) add(seq int, due time.Time, ok bool, took time.Duration) {
	s.sent++
	s.outages.add(seq, due, ok)
	if !ok {
		return
	}
	took = took.Truncate(time.Microsecond)
	if s.received == 0 || took < s.min {
		s.min = took
	}
	s.max = max(s.max, took)
	s.received++
	us := float64(took.Microseconds())
	s.sum += us
	s.sumSquare += us * us
	_ = s.times.RecordValue(min(took, longest).Microseconds()) // can't fail: the value is in the range of the histogram
}

// loss returns the share of probes without a greeting, in percent.
func (s *pingStats) loss() float64 {
	return float64(s.sent-s.received) * 100 / float64(max(s.sent, 1))
}

func (s *pingStats) avg() time.Duration {
	return time.Duration(s.sum/float64(max(s.received, 1))) * time.Microsecond
}

// mdev returns the standard deviation of the times, with the arithmetic of ping_common.c in iputils: there are two
// formulas with different rounding, of which the size of the sum chooses one. Fractions of the variance and of its
// root, in microseconds, are cut off.
func (s *pingStats) mdev() time.Duration {
	n := float64(s.received)
	var variance int64
	if s.sum < math.MaxInt32 {
		variance = int64((s.sumSquare - float64(s.sum*s.sum)/n) / n)
	} else {
		avg := s.avg().Microseconds()
		variance = int64(s.sumSquare/n - float64(avg*avg))
	}
	root := new(big.Int).Sqrt(big.NewInt(max(variance, 0)))
	return time.Duration(root.Int64()) * time.Microsecond
}

func (s *pingStats) percentile(p float64) time.Duration {
	return min(time.Duration(s.times.ValueAtPercentile(p))*time.Microsecond, s.max)
}

// print writes the summary. took is the time from the start of the first probe to the start of the last one.
func (s *pingStats) print(w io.Writer, target string, took time.Duration, now time.Time) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n--- %s greeting statistics ---\n", target)
	fmt.Fprintf(&b, "%d probes sent, %d received, %.6g%% loss, time %d ms\n",
		s.sent, s.received, float32(s.loss()), took.Round(time.Millisecond).Milliseconds())
	if s.received > 0 {
		fmt.Fprintf(&b, "min/avg/max/mdev = %s/%s/%s/%s ms\n", ms(s.min), ms(s.avg()), ms(s.max), ms(s.mdev()))
		fmt.Fprintf(&b, "p50/p90/p99 = %s/%s/%s ms\n", ms(s.percentile(50)), ms(s.percentile(90)), ms(s.percentile(99)))
	}
	if o := s.outages.longestUntil(now); o.probes > 0 {
		fmt.Fprintf(&b, "longest outage %s s: %s, %s\n", decimals(o.length(), time.Second), words.Count(o.probes, "probe"), o.when())
	}
	_, _ = io.WriteString(w, b.String())
}

// ms formats d in milliseconds with three decimals, as ping(8) does in its summary.
func ms(d time.Duration) string { return decimals(d, time.Millisecond) }

// decimals formats d as a number of units with three decimals. It cuts further decimals, and does not round.
func decimals(d, unit time.Duration) string {
	return fmt.Sprintf("%d.%03d", d/unit, d%unit*1000/unit)
}

// outage is a sequence of consecutive probes that failed.
type outage struct {
	first  int       // number of its first probe
	probes int       // number of probes
	from   time.Time // when its first probe was due
	until  time.Time // when the first successful probe after it was due; the present if there is none
	over   bool      // there was a successful probe after it
}

func (o outage) length() time.Duration { return o.until.Sub(o.from) }

func (o outage) when() string {
	text := fmt.Sprintf("from seq %d at %s", o.first+1, o.from.Format(time.TimeOnly))
	if !o.over {
		text += ", still going on"
	}
	return text
}

// outages finds the longest outage. Probes may end in any order; outages processes them in the order of their
// numbers.
type outages struct {
	next    int // number of the next probe to process
	waiting map[int]ended
	current outage // its probes is 0 if there is none
	worst   outage // the longest outage that is over
}

// ended is a probe that has ended before an earlier one.
type ended struct {
	due time.Time
	ok  bool
}

func (o *outages) add(seq int, due time.Time, ok bool) {
	if o.waiting == nil {
		o.waiting = map[int]ended{}
	}
	o.waiting[seq] = ended{due, ok}
	for e, found := o.waiting[o.next]; found; e, found = o.waiting[o.next] {
		delete(o.waiting, o.next)
		o.look(e)
		o.next++
	}
}

func (o *outages) look(e ended) {
	switch {
	case !e.ok && o.current.probes == 0:
		o.current = outage{first: o.next, probes: 1, from: e.due}
	case !e.ok:
		o.current.probes++
	case o.current.probes > 0:
		o.current.until, o.current.over = e.due, true
		if o.current.length() > o.worst.length() {
			o.worst = o.current
		}
		o.current = outage{}
	}
}

// longestUntil returns the longest outage up to now, including the current one. Its probes is 0 if there was no
// outage.
func (o *outages) longestUntil(now time.Time) outage {
	if current := o.current; current.probes > 0 {
		current.until = now
		if current.length() > o.worst.length() {
			return current
		}
	}
	return o.worst
}
