package plugin

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The lengths, in characters, to which a report keeps foreign text. Monitoring
// systems cut at 4 to 8 KiB, in the middle of the performance data if need be.
const (
	maxText = 400
	maxLong = 2000
)

// Report is the output of a plugin: one status line with its performance data, and further lines if the operator
// asks for them with -v.
type Report struct {
	Service string // begins the status line, in capitals
	State   State
	Text    string   // one sentence
	Perf    []Metric // in this order
	Long    []string // further lines
}

// String is the whole output, ended by a newline. Whatever the texts hold, it has
// one status line and len(Long) lines after it, performance data only from Perf,
// no control characters, and nothing that is not UTF-8.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s - %s", r.Service, r.State, Clean(r.Text, maxText))
	before := byte('|')
	for _, m := range r.Perf {
		b.WriteByte(before)
		b.WriteString(m.String())
		before = ' '
	}
	b.WriteByte('\n')
	for _, line := range r.Long {
		b.WriteString(Clean(line, maxLong))
		b.WriteByte('\n')
	}
	return b.String()
}

// Metric is one item of performance data.
type Metric struct {
	Label      string
	Value      float64
	Unit       string // of the guidelines: s, %, B, c, or empty for a plain number
	Warn, Crit Range
	Max        float64 // 0: none. The least value is 0, always.
}

// String is the item as 'label'=value[unit];[warn];[crit];0;[max]. Seconds are
// given to the microsecond. Characters that a label can't have become underscores.
func (m *Metric) String() string {
	decimals := -1
	if m.Unit == "s" {
		decimals = 6
	}
	text := fmt.Sprintf("%s=%s%s;%s;%s;0", quoteLabel(m.Label),
		strconv.FormatFloat(m.Value, 'f', decimals, 64), m.Unit, &m.Warn, &m.Crit)
	if m.Max != 0 {
		text += ";" + strconv.FormatFloat(m.Max, 'f', -1, 64)
	}
	return text
}

func quoteLabel(label string) string {
	label = strings.Map(func(c rune) rune {
		if c == '\'' || c == '=' || c == '|' || c == utf8.RuneError || !strconv.IsPrint(c) {
			return '_'
		}
		return c
	}, cmp.Or(label, "_"))
	if strings.Contains(label, " ") {
		return "'" + label + "'"
	}
	return label
}

// Clean makes text safe within a line of plugin output. Pipes, which would begin
// performance data, and everything that does not print, line ends included, are
// written as escapes; from the limit on, in characters, three dots stand for the
// rest.
func Clean(text string, limit int) string {
	var b strings.Builder
	length := 0
	for len(text) > 0 {
		c, size := utf8.DecodeRuneInString(text)
		shown := text[:size]
		if c == '|' {
			shown = `\x7c`
		} else if c == utf8.RuneError && size == 1 || !strconv.IsPrint(c) {
			shown = strconv.Quote(shown)
			shown = shown[1 : len(shown)-1]
		}
		length += utf8.RuneCountInString(shown)
		if length > limit {
			return b.String() + "..."
		}
		b.WriteString(shown)
		text = text[size:]
	}
	return b.String()
}
