package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/guptarohit/asciigraph"

	"greetd.example/internal/words"
)

// labelWidth is the number of columns before the curve of a plot, for a time of timeWidth columns and the axis.
// labelMargin is the number of columns after the curve, for the last label of the horizontal axis.
const (
	labelWidth  = timeWidth + 3
	timeWidth   = 9
	labelMargin = 4
)

// belowPlot is the number of lines below the curve of a plot: the axis, its labels, the caption, and the line about
// values above the top.
const belowPlot = 4

// A chart has times in milliseconds for a plot. NaN stands for a failed probe, which is drawn as an x at the bottom.
type chart struct {
	values  []float64
	caption string
	to      float64              // end of the horizontal axis, which begins at 0
	ticks   int                  // number of ticks on the horizontal axis, including both ends
	label   func(float64) string // formats the label of a tick
}

// draw returns a plot of the chart, as wide as the screen. Values far above the others are cut off at the top, marked
// with a ^, and counted below the caption.
func (c chart) draw(on screen) string {
	top := c.top()
	beyond, greatest := 0, 0.0
	for _, v := range c.values {
		if v > top {
			beyond, greatest = beyond+1, max(greatest, v)
		}
	}
	values := squeeze(c.values, on.curve())
	if len(values) == 1 {
		values = append(values, values[0]) // a line needs two points
	}
	least := 0.001 // milliseconds at the top of the vertical axis
	if !slices.ContainsFunc(values, isTime) {
		least = 1 // every probe has failed: else the labels of all lines would be 0.001 ms or 0 ms
	}
	failed, cut, shown := marks(values, math.IsNaN, 0), marks(values, func(v float64) bool { return v > top }, top), slices.Clone(values)
	for i, v := range shown {
		shown[i] = min(v, top) // NaN stays NaN
	}
	series, chars := [][]float64{failed}, []asciigraph.CharSet{asciigraph.CreateCharSet("x")}
	colors := []asciigraph.AnsiColor{asciigraph.Red}
	add := func(values []float64, char asciigraph.CharSet, color asciigraph.AnsiColor) {
		if slices.ContainsFunc(values, isTime) {
			series, chars, colors = append(series, values), append(chars, char), append(colors, color)
		}
	}
	add(shown, asciigraph.DefaultCharSet, asciigraph.Green)
	add(cut, asciigraph.CreateCharSet("^"), asciigraph.Yellow)
	options := []asciigraph.Option{
		asciigraph.SeriesChars(chars...), asciigraph.Height(on.height()),
		asciigraph.LowerBound(0), asciigraph.UpperBound(least), asciigraph.YAxisValueFormatter(axisTime),
		asciigraph.XAxisRange(0, c.to), asciigraph.XAxisTickCount(c.ticks), asciigraph.XAxisValueFormatter(c.label),
	}
	if on.color {
		options = append(options, asciigraph.SeriesColors(colors...))
	}
	var b strings.Builder
	for line := range strings.Lines(asciigraph.PlotMany(series, options...) + "\n") {
		b.WriteString(on.cut(line))
	}
	b.WriteString(on.cut(strings.Repeat(" ", labelWidth) + c.caption + "\n"))
	if beyond > 0 {
		b.WriteString(on.cut(fmt.Sprintf("%s^: %s beyond the top, up to %s\n", strings.Repeat(" ", labelWidth),
			words.Count(beyond, "time"), strings.TrimSpace(axisTime(greatest)))))
	}
	return on.letters(b.String())
}

func isTime(v float64) bool { return !math.IsNaN(v) }

// A value is an outlier if it is more than outlier times the 95th percentile. Outliers are cut off at headroom times
// the 95th percentile.
const (
	outlier  = 4
	headroom = 1.5
)

// top returns the greatest value that is shown without being cut off. Usually no value is cut off. Outliers are, since
// the curve of the other values would look flat.
func (c chart) top() float64 {
	times := slices.DeleteFunc(slices.Clone(c.values), math.IsNaN)
	if len(times) < 4 { // too few values for a percentile
		return math.Inf(1)
	}
	slices.Sort(times)
	last := len(times) - 1
	usual := times[max(min(last*95/100, last-1), 0)]
	if usual > 0 && times[last] > outlier*usual {
		return headroom * usual
	}
	return times[last]
}

// marks returns height for each value for which so returns true, and NaN for the others.
func marks(values []float64, so func(float64) bool, height float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		if out[i] = math.NaN(); so(v) {
			out[i] = height
		}
	}
	return out
}

// axisTime formats milliseconds with a unit, in timeWidth columns.
func axisTime(ms float64) string {
	switch {
	case ms < 0.0005: // includes negative values from rounding errors
		return fmt.Sprintf("%*s", timeWidth, "0 ms")
	case ms < 10_000:
		return fmt.Sprintf("%*s", timeWidth, threeDigits(ms*1000)+" ms")
	}
	return fmt.Sprintf("%*s", timeWidth, threeDigits(ms)+" s")
}

// spanLabel returns a function that formats seconds as the label of an axis that ends at end.
func spanLabel(end float64) func(float64) string {
	unit, name := 1.0, "s"
	switch {
	case end >= 3*3600:
		unit, name = 3600, "h"
	case end >= 180:
		unit, name = 60, "min"
	}
	return func(seconds float64) string { return fmt.Sprintf("%.3g %s", seconds/unit, name) }
}

// overTime returns a chart of values that were measured one after the other, over a time of that number of seconds.
func overTime(values []float64, seconds float64, caption string) chart {
	const ticks = 5
	return chart{values: values, caption: caption, to: seconds, ticks: ticks, label: spanLabel(seconds)}
}

// stretch repeats each value equally often, so that there are at most n values. If there are more already, it returns
// them as they are.
func stretch(values []float64, n int) []float64 {
	var more []float64
	for _, v := range values {
		more = append(more, slices.Repeat([]float64{v}, max(n/len(values), 1))...)
	}
	return more
}

// squeeze reduces values to at most n. Each result is the greatest of several consecutive values, or NaN if all of
// them are NaN.
func squeeze(values []float64, n int) []float64 {
	share := (len(values) + n - 1) / n
	if share <= 1 {
		return values
	}
	var fewer []float64
	for these := range slices.Chunk(values, share) {
		fewer = append(fewer, slices.MaxFunc(these, cmp.Compare[float64])) // NaN is less than any other value
	}
	return fewer
}

// livePlot draws a plot on a terminal, in place of the plot before.
type livePlot struct {
	w     io.Writer
	lines int // number of lines of the plot on the screen
}

func (l *livePlot) draw(text string) {
	if l.lines > 0 {
		fmt.Fprintf(l.w, "\x1b[%dA\x1b[J", l.lines)
	}
	_, _ = io.WriteString(l.w, text)
	l.lines = strings.Count(text, "\n")
}
