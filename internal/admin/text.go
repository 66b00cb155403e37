package admin

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"greetd.example/internal/words"
	"greetd.example/pkg/service"
)

// WriteText writes the status as plain text for a terminal with 80 columns, without colors, and with times
// in the local time zone. The error is that of w.
func (s Status) WriteText(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "greetd %s, process %d, %s\n", s.build(), s.PID, s.phase())
	s.Health.write(&b)
	b.WriteByte('\n')
	for _, line := range [][2]string{
		{"started", stamp(s.Started) + ", " + age(s.UptimeSeconds) + " ago"},
		{"configuration", s.Configuration.source()},
		{"last reload", s.Configuration.LastReload.words()},
		{"connections", s.connections()},
		{"greetings", words.Count(s.GreetingBytes, "byte") + " sent"},
		{"log", s.Log.words()},
	} {
		fmt.Fprintf(&b, "%-15s%s\n", line[0], indent(line[1], 15))
	}
	if len(s.Listeners) > 0 {
		b.WriteByte('\n')
		writeTable(&b, 4, s.places())
		b.WriteByte('\n')
		writeTable(&b, 1, s.counts())
		if rows := s.notGreeted(); len(rows) > 1 {
			b.WriteByte('\n')
			writeTable(&b, 3, rows)
		}
	}
	for _, l := range s.Listeners {
		if l.Certificate != nil {
			fmt.Fprintf(&b, "\ncertificate of %s: %s\n", words.Printable(l.Name), l.Certificate.Words(stamp))
		}
	}
	for _, l := range s.Listeners {
		if l.Trouble != "" {
			fmt.Fprintf(&b, "\n%s: %s\n", words.Printable(l.Name), words.Printable(l.Trouble))
		}
	}
	_, err := w.Write(b.Bytes())
	return err
}

// write writes the headline, and each trouble with its beginning and end.
func (h Health) write(b *bytes.Buffer) {
	if h.Color == "" { // the status is from an older daemon
		return
	}
	fmt.Fprintf(b, "%s: %s\n", h.Color, words.Printable(h.Headline))
	for i, t := range h.Troubles {
		if i == 0 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(b, "%-5s  %s\n       %s\n", t.Color, t.When(stamp), words.Printable(t.Message))
	}
}

// When returns the period of the trouble, such as "since TIME" or "TIME to TIME". form formats the times.
func (t Trouble) When(form func(time.Time) string) string {
	if t.Until == nil {
		return "since " + form(t.Since)
	}
	return form(t.Since) + " to " + form(*t.Until)
}

func (s Status) build() string {
	if s.Commit == "" {
		return s.Version
	}
	return s.Version + " (" + s.Commit[:min(len(s.Commit), 12)] + ")"
}

func (s Status) phase() string {
	if s.Ready {
		return string(s.State) + " and ready"
	}
	return string(s.State) + ", not ready"
}

func (s Status) connections() string {
	words := fmt.Sprintf("%d active, %d lingering", s.Connections.Active, s.Connections.Lingering)
	if s.Limits.Connections > 0 {
		words += fmt.Sprintf(", limit %d", s.Limits.Connections)
	}
	return words
}

// places returns the table of the listeners.
func (s Status) places() [][]string {
	rows := [][]string{{"LISTENER", "ADDRESS", "ORIGIN", "STATE", "ACTIVE", "LINGERING"}}
	for _, l := range s.Listeners {
		rows = append(rows, []string{
			words.Printable(l.Name), words.Printable(l.Place()), string(l.Origin), string(l.State),
			strconv.Itoa(l.Active), strconv.Itoa(l.Lingering),
		})
	}
	return rows
}

// counts returns the table of the visits. If there is more than one listener, the last row has the totals.
// Several sockets with the same name have one row, with the visits of all of them.
func (s Status) counts() [][]string {
	head := []string{"VISITS"}
	for _, outcome := range service.Outcomes() {
		head = append(head, strings.ToUpper(string(outcome)))
	}
	rows := [][]string{head}
	for i, l := range s.Listeners {
		if !slices.ContainsFunc(s.Listeners[:i], func(before Listener) bool { return before.Name == l.Name }) {
			rows = append(rows, l.Outcomes.row(words.Printable(l.Name)))
		}
	}
	if len(rows) > 2 {
		rows = append(rows, s.Outcomes.row("all"))
	}
	return rows
}

// notGreeted returns the table of the visits that were not greeted, by reason. It has only reasons that
// have occurred.
func (s Status) notGreeted() [][]string {
	rows := [][]string{{"NOT GREETED", "OUTCOME", "REASON", "VISITS"}}
	for _, l := range s.Listeners {
		for outcome, reason := range allReasons {
			if n := l.Reasons[outcome][reason]; n > 0 {
				rows = append(rows, []string{words.Printable(l.Name), string(outcome), string(reason), strconv.FormatUint(n, 10)})
			}
		}
	}
	return rows
}

// Words returns how long the certificate is still valid, or when it expired. form formats the time.
func (c Certificate) Words(form func(time.Time) string) string {
	switch {
	case c.DaysLeft < 0:
		return "expired at " + form(c.NotAfter)
	case c.DaysLeft == 0:
		return "less than a day left, valid until " + form(c.NotAfter)
	}
	return fmt.Sprintf("%s left, valid until %s", words.Count(c.DaysLeft, "day"), form(c.NotAfter))
}

func (o Outcomes) row(name string) []string {
	row := []string{name}
	for _, outcome := range service.Outcomes() {
		row = append(row, strconv.FormatUint(o[outcome], 10))
	}
	return row
}

func (c Configuration) source() string {
	if c.Generation == 0 {
		return "none yet"
	}
	files := []string{cmp.Or(words.Printable(c.Path), "no file, the defaults")}
	for _, dropIn := range c.DropIns {
		files = append(files, words.Printable(dropIn))
	}
	return fmt.Sprintf("%s\ngeneration %d, loaded %s", strings.Join(files, "\n"), c.Generation, stamp(c.Loaded))
}

func (r *Reload) words() string {
	switch {
	case r == nil:
		return "none"
	case r.OK:
		return "applied " + stamp(r.At)
	}
	return "refused " + stamp(r.At) + ", previous one kept\n" + printableLines(strings.TrimSpace(r.Error))
}

func (l Log) words() string {
	text := l.Output + ", level " + l.Level
	if l.Suppressed > 0 {
		text += ", " + words.Count(l.Suppressed, "visit") + " only in summaries"
	}
	if l.Dropped > 0 {
		text += ", " + words.Count(l.Dropped, "entry") + " lost"
	}
	return text
}

// stamp formats a time in the local time zone.
func stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 MST") }

// age formats a number of seconds in its two largest units.
func age(seconds float64) string {
	n := int64(seconds)
	switch {
	case n < 60:
		return fmt.Sprintf("%ds", n)
	case n < 60*60:
		return fmt.Sprintf("%dm %ds", n/60, n%60)
	case n < 24*60*60:
		return fmt.Sprintf("%dh %dm", n/3600, n/60%60)
	}
	return fmt.Sprintf("%dd %dh", n/86400, n/3600%24)
}

// indent indents all lines of s except the first.
func indent(s string, columns int) string {
	return strings.ReplaceAll(s, "\n", "\n"+strings.Repeat(" ", columns))
}

// printableLines returns text with the unprintable characters of each line escaped.
func printableLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = words.Printable(line)
	}
	return strings.Join(lines, "\n")
}

// writeTable writes rows as a table. It aligns the first left columns to the left, and the others, which
// are numbers, to the right.
func writeTable(b *bytes.Buffer, left int, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			width := widths[i]
			if i < left {
				width = -width
			}
			fmt.Fprintf(b, "%*s", width, cell)
		}
		b.WriteByte('\n')
	}
}
