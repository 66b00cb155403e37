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

// WriteText writes the report as plain text for a terminal with 80 columns. Each finding has a line, wrapped if
// it is longer, and its remedy below. Words that are longer than a line are not broken. The error is that of w.
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

// writeWrapped writes text after head, and wraps it between words. Further lines begin with margin.
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
