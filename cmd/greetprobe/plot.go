package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/guptarohit/asciigraph"
)

// plotHeight is how many lines a plot has above its caption.
const plotHeight = 10

// labelWidth is what a plot needs beside its curve, at most.
const labelWidth = 12

// plot draws milliseconds in the order of time, as wide as the terminal. NaN is a
// probe that failed, and gets an x at the bottom.
func plot(values []float64, columns int, caption string) string {
	values = squeeze(values, max(columns-labelWidth, 2))
	if len(values) == 1 {
		values = append(values, values[0]) // one point makes no line
	}
	failed := make([]float64, len(values))
	greeted := 0
	for i, v := range values {
		failed[i] = math.NaN()
		if math.IsNaN(v) {
			failed[i] = 0
		} else {
			greeted++
		}
	}
	series, chars := [][]float64{failed}, []asciigraph.CharSet{asciigraph.CreateCharSet("x")}
	if greeted > 0 {
		series = append(series, values)
		chars = append(chars, asciigraph.DefaultCharSet)
	}
	return noMinus.Replace(asciigraph.PlotMany(series, asciigraph.SeriesChars(chars...), asciigraph.LowerBound(0),
		asciigraph.UpperBound(0.001), asciigraph.Height(plotHeight), asciigraph.Caption(caption))) + "\n"
}

// noMinus mends what asciigraph writes at the bottom when it has rounded.
var noMinus = strings.NewReplacer("-0 ┤", " 0 ┤", "-0 ┼", " 0 ┼", "-0.00 ┤", " 0.00 ┤", "-0.00 ┼", " 0.00 ┼")

// squeeze makes at most n values of many. Each stands for several in a row: for
// the greatest of them, or NaN if there is no other.
func squeeze(values []float64, n int) []float64 {
	share := (len(values) + n - 1) / n
	if share <= 1 {
		return values
	}
	var fewer []float64
	for len(values) > 0 {
		these := values[:min(share, len(values))]
		values = values[len(these):]
		most := math.NaN()
		for _, v := range these {
			if math.IsNaN(most) || v > most {
				most = v
			}
		}
		fewer = append(fewer, most)
	}
	return fewer
}

// livePlot draws a plot over the one before, on a terminal.
type livePlot struct {
	w     io.Writer
	lines int // that are on the screen
}

func (l *livePlot) draw(text string) {
	if l.lines > 0 {
		fmt.Fprintf(l.w, "\x1b[%dA\x1b[J", l.lines)
	}
	_, _ = io.WriteString(l.w, text)
	l.lines = strings.Count(text, "\n")
}
