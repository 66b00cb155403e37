package main

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// drawn is values over as many seconds, on a screen of 80 columns.
func drawn(values ...float64) string {
	return overTime(values, float64(len(values)), "ms").draw(screen{columns: 80, lines: 24})
}

func TestPlotMarksFailures(t *testing.T) {
	got := drawn(1, 2, math.NaN(), 4)
	if !strings.Contains(got, "x") || !strings.Contains(got, " 4.000 ms ┤") || !strings.Contains(got, " 0 ms ┤") {
		t.Errorf("want a scale from 0 to 4 ms and an x:\n%s", got)
	}
}

func TestPlotBeginsAtZero(t *testing.T) {
	for most := 0.5; most < 50_000; most *= 1.03 {
		if got := drawn(0.1, most, 0.2); strings.Contains(got, "-0") || !strings.Contains(got, "  0 ms ") {
			t.Fatalf("a time below 0, or none at 0:\n%s", got)
		}
	}
}

// Each line fits, whatever the screen has, and the axes have their units.
func TestPlotFitsTheTerminal(t *testing.T) {
	long := strings.Repeat("a long caption ", 20)
	for _, n := range []int{1, 2, 67, 68, 69, 1000, 100_000} {
		values := make([]float64, n)
		for i := range values {
			values[i] = float64(i % 1000)
		}
		values[n/2] = 1e6
		for _, on := range []screen{{columns: 80, lines: 24}, {columns: 40, lines: 10}, {columns: 15, lines: 3}, {columns: 200, lines: 60, color: true}, {columns: 1, lines: 1}} {
			got := overTime(values, float64(n), long).draw(on)
			for line := range strings.Lines(got) {
				plain := colors.ReplaceAllString(strings.TrimSuffix(line, "\n"), "")
				if width := utf8.RuneCountInString(plain); width > on.columns {
					t.Errorf("%d values on %+v: a line of %d columns: %q", n, on, width, line)
				}
			}
			if on.columns >= 80 && (!strings.Contains(got, "s ┤") || !strings.Contains(got, "┬") || !origin.MatchString(got)) {
				t.Errorf("%d values: axes without units:\n%s", n, got)
			}
			if lines := strings.Count(got, "\n"); on.lines >= 10 && lines > on.lines-1 {
				t.Errorf("%d values on %+v: %d lines", n, on, lines)
			}
		}
	}
}

var origin = regexp.MustCompile(`\n +0 (s|min|h)`)

var colors = regexp.MustCompile(`\x1b\[[0-9;]*m`)

func TestPlotOfFailuresOnly(t *testing.T) {
	got := drawn(math.NaN(), math.NaN())
	if !strings.Contains(got, "x") || strings.Contains(got, "922") || strings.Contains(got, "Inf") {
		t.Errorf("want an x and no number from nowhere:\n%s", got)
	}
	if strings.Count(got, " 0 ms ") != 1 || strings.Count(got, "0.001 ms") > 0 {
		t.Errorf("lines of the axis have the same label:\n%s", got)
	}
}

// One slow greeting is marked and counted, and the others keep their shape.
func TestPlotOfAnOutlier(t *testing.T) {
	var values []float64
	for i := range 60 {
		values = append(values, float64(10+i%5))
	}
	values[30] = 2000
	got := drawn(values...)
	if !strings.Contains(got, "^: 1 time beyond the top, up to 2000 ms\n") || !strings.Contains(got, " 21.00 ms ┤") {
		t.Errorf("the outlier sets the scale:\n%s", got)
	}
	if top, _, _ := strings.Cut(got, "\n"); !strings.Contains(top, "^") {
		t.Errorf("the outlier is not marked:\n%s", got)
	}
	for _, values := range [][]float64{{5, 6, 7, 8}, {1, 100}, {0, 0, 0, 9}, {10, 10, 100, 100, 10, 100, 100}} {
		if got := drawn(values...); strings.Contains(got, "^") {
			t.Errorf("%v: there is no outlier:\n%s", values, got)
		}
	}
}

// Colors are an option, and letters beyond ASCII too.
func TestPlotForTheScreen(t *testing.T) {
	values := []float64{1, 2, math.NaN(), 3, 1}
	plain := drawn(values...)
	if strings.Contains(plain, "\x1b") {
		t.Errorf("colors without a terminal: %q", plain)
	}
	colored := overTime(values, 5, "ms").draw(screen{columns: 80, lines: 24, color: true})
	if got := colors.ReplaceAllString(colored, ""); got != plain || got == colored {
		t.Errorf("with colors:\n%s\nwithout:\n%s", colored, plain)
	}
	ascii := overTime(values, 5, "ms to é").draw(screen{columns: 80, lines: 24, ascii: true})
	for _, r := range ascii {
		if r >= utf8.RuneSelf {
			t.Fatalf("%q in ASCII:\n%s", r, ascii)
		}
	}
	if !strings.Contains(ascii, " 3.000 ms |") || !strings.Contains(ascii, "ms to ?\n") {
		t.Errorf("in ASCII:\n%s", ascii)
	}
}

func TestScreenByEnvironment(t *testing.T) {
	for _, test := range []struct {
		all, ctype, lang string
		ascii            bool
	}{
		{"", "", "", true},
		{"", "", "C", true},
		{"", "", "C.UTF-8", false},
		{"", "", "de_DE.utf8@euro", false},
		{"", "", "de_DE.ISO-8859-15", true},
		{"C", "", "C.UTF-8", true},
		{"", "en_US.UTF-8", "C", false},
	} {
		t.Setenv("LC_ALL", test.all)
		t.Setenv("LC_CTYPE", test.ctype)
		t.Setenv("LANG", test.lang)
		if got := screenOf(new(strings.Builder)); got != (screen{columns: 80, lines: 24, ascii: test.ascii}) {
			t.Errorf("%+v: %+v", test, got)
		}
	}
}

func TestPercentiles(t *testing.T) {
	h := newTimes()
	for i := range 1000 {
		record(h, time.Duration(i+1)*time.Millisecond)
	}
	on := screen{columns: 80, lines: 24}
	got := percentiles(h, on.curve()).draw(on)
	for _, want := range []string{"1000 ms ┤", "min", "90%", "99%", "max", "ms from due by percentile"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	c := percentiles(h, 31)
	for at, want := range map[int]float64{0: 1, 10: 900, 20: 990, 30: 1000} {
		if got := c.values[at]; math.Abs(got-want) > 2 {
			t.Errorf("column %d has %v ms, want %v", at, got, want)
		}
	}
	one := newTimes()
	record(one, time.Second)
	if got := percentiles(one, on.curve()).draw(on); !strings.Contains(got, "max") {
		t.Errorf("of one:\n%s", got)
	}
}

func TestProgressText(t *testing.T) {
	for _, test := range []struct {
		p    *progressLine
		want string
	}{
		{&progressLine{total: 20}, "0 of 20 targets probed, 0 failed"},
		{&progressLine{total: 20, done: 5, failed: 1}, "5 of 20 targets probed, 1 failed; about 15s to go"},
		{&progressLine{total: 20, done: 25, failed: 1, all: true}, "25 addresses probed, 1 failed"},
	} {
		if got := test.p.text(5 * time.Second); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestStretch(t *testing.T) {
	if got := stretch([]float64{1, 2}, 5); !slices.Equal(got, []float64{1, 1, 2, 2}) {
		t.Errorf("stretched to %v", got)
	}
	if got := stretch([]float64{1, 2, 3}, 2); !slices.Equal(got, []float64{1, 2, 3}) {
		t.Errorf("many values became %v", got)
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
