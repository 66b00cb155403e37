package plugin

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Range is a threshold of the guidelines, [@]start:end. A value outside start to
// end alerts; after an @ a value inside does, the ends included. start: alone has
// no upper end, ~:end no lower one, and end alone begins at 0. The zero value is
// no threshold: it never alerts and prints as nothing. It satisfies the Value
// interfaces of flag and pflag.
type Range struct {
	text       string // as it was written; empty: no threshold
	start, end float64
	inside     bool // alert inside instead of outside
}

// ParseRange reads a threshold. Numbers are decimal, with a point and without a
// unit; start must not be above end.
func ParseRange(text string) (Range, error) {
	r := Range{text: text}
	rest, inside := strings.CutPrefix(text, "@")
	r.inside = inside

	start, end, both := strings.Cut(rest, ":")
	if !both {
		start, end = "", rest
	}
	if start == "" && end == "" {
		return Range{}, fmt.Errorf("range %q names no number; write [@]start:end, such as 0.5 or 0.1:2", text)
	}
	var err error
	if r.start, err = bound(start, 0, math.Inf(-1)); err != nil {
		return Range{}, fmt.Errorf("range %q: %w", text, err)
	}
	if r.end, err = bound(end, math.Inf(1), math.NaN()); err != nil {
		return Range{}, fmt.Errorf("range %q: %w", text, err)
	}
	if r.start > r.end {
		return Range{}, fmt.Errorf("range %q: its start %s is above its end %s", text, cmp.Or(start, "0"), end)
	}
	return r, nil
}

// bound reads one end of a range. An empty one is ifEmpty, and ~ is tilde unless
// that is not a number: then the tilde does not belong here.
func bound(text string, ifEmpty, tilde float64) (float64, error) {
	switch {
	case text == "":
		return ifEmpty, nil
	case text == "~" && !math.IsNaN(tilde):
		return tilde, nil
	case text == "~":
		return 0, errors.New("~ is minus infinity and belongs before the colon; for no upper end leave it out")
	}
	n, err := strconv.ParseFloat(text, 64)
	if err != nil || strings.ContainsFunc(text, notDecimal) {
		return 0, fmt.Errorf("%q is not a number; write it as in 0.5, without a unit", text)
	}
	return n, nil
}

// notDecimal keeps out what strconv takes and the guidelines do not: inf, nan,
// hexadecimal and underscores.
func notDecimal(c rune) bool { return !strings.ContainsRune("0123456789.+-eE", c) }

// Alerts reports whether the value raises the alarm.
func (r *Range) Alerts(value float64) bool {
	if r.text == "" {
		return false
	}
	within := r.start <= value && value <= r.end
	return within == r.inside
}

// Set reads a threshold as ParseRange does.
func (r *Range) Set(text string) error {
	parsed, err := ParseRange(text)
	if err == nil {
		*r = parsed
	}
	return err
}

// String is the threshold as it was written, or nothing for none.
func (r *Range) String() string { return r.text }

// Type names the value in a help text.
func (*Range) Type() string { return "range" }
