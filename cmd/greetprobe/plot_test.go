package main

import (
	"math"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestPlotMarksFailures(t *testing.T) {
	got := plot([]float64{1, 2, math.NaN(), 4}, 80, "ms")
	if !strings.Contains(got, "x") || !strings.Contains(got, " 4.00 ┤") || !strings.Contains(got, " 0.00 ┤") {
		t.Errorf("want a scale from 0 to 4 and an x:\n%s", got)
	}
}

func TestPlotBeginsAtZero(t *testing.T) {
	for most := 0.5; most < 5000; most *= 1.03 {
		if got := plot([]float64{0.1, most, 0.2}, 80, "ms"); strings.Contains(got, "-0") {
			t.Fatalf("a time below 0:\n%s", got)
		}
	}
}

func TestPlotFitsTheTerminal(t *testing.T) {
	for _, n := range []int{1, 2, 67, 68, 69, 1000, 100_000} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i % 1000)
		}
		for line := range strings.Lines(plot(values, 80, "ms")) {
			if width := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); width > 80 {
				t.Errorf("%d values: a line of %d columns: %q", n, width, line)
			}
		}
	}
}

func TestPlotOfFailuresOnly(t *testing.T) {
	if got := plot([]float64{math.NaN(), math.NaN()}, 80, "ms"); !strings.Contains(got, "x") || strings.Contains(got, "922") {
		t.Errorf("want an x and no number from nowhere:\n%s", got)
	}
}

func TestSqueezeKeepsTheWorst(t *testing.T) {
	nan := math.NaN()
	got := squeeze([]float64{1, 9, nan, nan, 3, nan, 5}, 4)
	want := []float64{9, nan, 3, 5}
	same := func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("squeezed to %v, want %v", got, want)
	}
}
