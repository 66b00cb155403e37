package doctor

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"greetd.example/internal/words"
)

const (
	columns = 80
	arrow   = "-> "
)

// WriteText writes the report for a person with a terminal of 80 columns, as plain text:
// a line for each finding, continued below where it is longer, and its remedy below
// that. Single words that are longer than the terminal is wide stay whole. The error is
// that of w.
func (r Report) WriteText(w io.Writer) error {
	var b bytes.Buffer
	severities, names := 0, 0
	for _, f := range r.Findings {
		severities = max(severities, len(f.Severity))
		names = max(names, len(f.Check))
	}
	margin := strings.Repeat(" ", severities+2)
	for _, f := range r.Findings {
		head := fmt.Sprintf("%-*s  %-*s  ", severities, f.Severity, names, f.Check)
		writeWrapped(&b, head, strings.Repeat(" ", len(head)), f.Found)
		if f.Remedy != "" {
			writeWrapped(&b, margin+arrow, margin+strings.Repeat(" ", len(arrow)), f.Remedy)
		}
	}
	fmt.Fprintf(&b, "\n%s, %s, %d unknown; %d ok\n", words.Count(r.Counts[Problem], "problem"), words.Count(r.Counts[Warning], "warning"), r.Counts[Unknown], r.Counts[OK])
	_, err := w.Write(b.Bytes())
	return err
}

// writeWrapped writes text after head, and breaks it between words.
func writeWrapped(b *bytes.Buffer, head, margin, text string) {
	b.WriteString(head)
	column := utf8.RuneCountInString(head)
	for i, word := range strings.Fields(text) {
		word = words.Printable(word)
		width := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column+1+width > columns:
			b.WriteString("\n" + margin)
			column = len(margin)
		default:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(word)
		column += width
	}
	b.WriteByte('\n')
}
