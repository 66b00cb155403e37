package main

import (
	"cmp"
	"io"
	"os"
	"runtime"
	"strings"
	"unicode"

	"golang.org/x/term"

	"greetd.example/internal/usage"
)

// usualColumns and usualLines are the size of a terminal that does not report its size.
const (
	usualColumns = 80
	usualLines   = 24
)

// terminals reports whether standard output and standard error go to a terminal. Only then animated output is useful.
func (s streams) terminals() bool { return isTerminal(s.out) && isTerminal(s.err) }

func isTerminal(w io.Writer) bool {
	f, ok := file(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

// file returns the file to which w writes, if it is a file.
func file(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*usage.Output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

// animated reports whether the output goes to a terminal on which text can be overwritten.
func (s streams) animated() bool { return s.terminals() && !dumb() }

// dumb reports whether the terminal does not support control sequences.
func dumb() bool { return os.Getenv("TERM") == "dumb" }

// A screen describes the output on which plots are drawn.
type screen struct {
	columns, lines int
	color          bool // colors are supported and allowed
	ascii          bool // only ASCII characters are supported
}

// screenOf returns the screen to which w writes. NO_COLOR and TERM=dumb in the environment forbid colors. A locale
// without UTF-8 allows only ASCII.
func screenOf(w io.Writer) screen {
	columns, lines := 0, 0
	if f, ok := file(w); ok {
		columns, lines, _ = term.GetSize(int(f.Fd()))
	}
	if columns <= 0 || lines <= 0 {
		columns, lines = usualColumns, usualLines
	}
	return screen{
		columns: columns, lines: lines,
		color: isTerminal(w) && os.Getenv("NO_COLOR") == "" && !dumb(),
		ascii: !utf8Locale(),
	}
}

func utf8Locale() bool {
	if runtime.GOOS == "windows" {
		return true
	}
	locale := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"))
	_, charset, _ := strings.Cut(strings.ToLower(locale), ".")
	return strings.HasPrefix(charset, "utf-8") || strings.HasPrefix(charset, "utf8")
}

// curve returns the width of the curve of a plot, in columns.
func (s screen) curve() int { return max(s.columns-labelWidth-labelMargin, 2) }

// height returns the height of the curve of a plot, in lines. The plot and one more line fit on the screen.
func (s screen) height() int { return min(10, max(s.lines-belowPlot-3, 2)) }

// cut shortens a line to the width of the screen, and keeps a newline at its end. Control sequences for colors do not
// count.
func (s screen) cut(line string) string {
	var b strings.Builder
	room, inEscape := s.columns, false
	for _, r := range line {
		switch {
		case r == '\n':
		case r == '\x1b':
			inEscape = true
		case inEscape:
			inEscape = r != 'm'
		case room == 0:
			continue
		default:
			room--
		}
		b.WriteRune(r)
	}
	return b.String()
}

// lineArt replaces the characters that asciigraph draws with by ASCII characters.
var lineArt = strings.NewReplacer("─", "-", "│", "|", "╭", ".", "╮", ".", "╰", "'", "╯", "'", "╴", "-", "╶", "-", "└", "+", "┬", "+", "┤", "|", "┼", "|")

// letters replaces the characters of text that the screen can't show.
func (s screen) letters(text string) string {
	if !s.ascii {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r > unicode.MaxASCII {
			return '?'
		}
		return r
	}, lineArt.Replace(text))
}
