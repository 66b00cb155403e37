package main

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A course has the results of a load for each second. A request counts in the second in which it ended.
type course struct {
	start   time.Time
	latency *hdrhistogram.Histogram // of the present second
	service *hdrhistogram.Histogram
	p99     []float64 // 99th percentile of the latency in each earlier second, in milliseconds; NaN: no client was greeted
	log     *hdrhistogram.HistogramLogWriter
	err     error // the first error of log
}

// newCourse returns an empty course. If log is not nil, the course writes an interval log to it, in version 1.3
// of the format of HdrHistogram: two lines a second, with the tags latency and service, in nanoseconds.
func newCourse(start time.Time, log io.Writer) *course {
	c := &course{start: start, latency: newTimes(), service: newTimes()}
	if log != nil {
		c.log = hdrhistogram.NewHistogramLogWriter(log)
		c.err = cmp.Or(c.log.OutputLogFormatVersion(), c.log.OutputStartTime(start.UnixMilli()), c.log.OutputLegend())
	}
	return c
}

func (c *course) record(now time.Time, latency, service time.Duration) {
	c.advance(int(now.Sub(c.start) / time.Second))
	record(c.latency, latency)
	record(c.service, service)
}

func (c *course) advance(second int) {
	for len(c.p99) < second {
		from := c.start.Add(time.Duration(len(c.p99)) * time.Second)
		c.p99 = append(c.p99, p99(c.latency))
		c.write("latency", c.latency, from)
		c.write("service", c.service, from)
	}
}

// write logs h, the histogram of the second that began at from, and resets it.
func (c *course) write(tag string, h *hdrhistogram.Histogram, from time.Time) {
	defer h.Reset()
	if c.log == nil || c.err != nil || h.TotalCount() == 0 {
		return
	}
	h.SetTag(tag)
	h.SetStartTimeMs(from.UnixMilli())
	h.SetEndTimeMs(from.Add(time.Second).UnixMilli())
	c.err = c.log.OutputIntervalHistogram(h)
}

// finish ends all seconds of a load with this duration, and the time after it if requests ended there.
func (c *course) finish(took time.Duration) {
	c.advance(int(took / time.Second))
	if c.latency.TotalCount() > 0 {
		c.advance(len(c.p99) + 1)
	}
}

func p99(h *hdrhistogram.Histogram) float64 {
	if h.TotalCount() == 0 {
		return math.NaN()
	}
	return float64(h.ValueAtPercentile(99)) / float64(time.Millisecond)
}

// mostNines is the maximum number of nines in a plot of percentiles: 99.9999 %.
const mostNines = 6

// percentiles returns a chart of the times in h by percentile. Each further nine has the same width on the axis.
func percentiles(h *hdrhistogram.Histogram, columns int) chart {
	nines := min(max(math.Ceil(math.Log10(float64(h.TotalCount()))), 1), mostNines)
	values := make([]float64, columns)
	for i := range values {
		at := nines * float64(i) / float64(len(values)-1)
		values[i] = milliseconds(h.ValueAtPercentile(100 - 100*math.Pow(10, -at)))
	}
	values[0], values[len(values)-1] = milliseconds(h.Min()), milliseconds(h.Max())
	return chart{
		values: values, caption: "ms from due by percentile", to: nines, ticks: int(nines) + 1, label: ninesLabel(nines),
	}
}

func milliseconds(ns int64) float64 { return float64(ns) / float64(time.Millisecond) }

// ninesLabel returns a function that formats the percentile with a number of nines, as the label of an axis that
// ends at end.
func ninesLabel(end float64) func(float64) string {
	return func(nines float64) string {
		switch n := int(math.Round(nines)); {
		case n == 0:
			return "min"
		case n == int(end):
			return "max"
		default:
			return fmt.Sprintf("%.*f%%", max(n-2, 0), 100-100*math.Pow(10, -float64(n)))
		}
	}
}

// An hdrFile is a file with the times of a load, in a format of the tools of HdrHistogram. A nil hdrFile does
// nothing.
type hdrFile struct {
	file *os.File
	*bufio.Writer
	intervals bool // the format is a log with one interval a second; else percentiles
}

// createHDR creates or truncates the file at path. It returns nil if path is "".
func createHDR(path string) (*hdrFile, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("write histogram: %w", err)
	}
	return &hdrFile{file, bufio.NewWriter(file), strings.HasSuffix(path, ".hlog")}, nil
}

// log returns the writer for an interval log; nil if the file has another format.
func (h *hdrFile) log() io.Writer {
	if h == nil || !h.intervals {
		return nil
	}
	return h
}

// finish writes the percentiles, if they are the format of the file, and closes the file.
func (h *hdrFile) finish(t *tally) error {
	if h == nil {
		return nil
	}
	err := t.course.err
	if !h.intervals {
		const ticksPerHalfDistance = 5 // the default of the tools of HdrHistogram
		_, err = t.latency.PercentilesPrint(h, ticksPerHalfDistance, float64(time.Millisecond))
	}
	if err := errors.Join(err, h.Flush(), h.file.Close()); err != nil {
		return fmt.Errorf("write histogram: %w", err)
	}
	return nil
}

// newTimes returns a histogram of times in nanoseconds, from a microsecond to longest, with a precision of three
// digits.
func newTimes() *hdrhistogram.Histogram {
	return hdrhistogram.New(int64(time.Microsecond), int64(longest), 3)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	_ = h.RecordValue(int64(min(max(d, 0), longest))) // can't fail: the value is in the range of the histogram
}
