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

// usualColumns and usualLines are the size of a terminal that doesn't tell its own.
const (
	usualColumns = 80
	usualLines   = 24
)

// terminals reports whether both streams go to a terminal: only then somebody looks
// at what moves.
func (s streams) terminals() bool { return isTerminal(s.out) && isTerminal(s.err) }

func isTerminal(w io.Writer) bool {
	f, ok := file(w)
	return ok && term.IsTerminal(int(f.Fd()))
}

// file is what w writes to, if that is a file.
func file(w io.Writer) (*os.File, bool) {
	if o, ok := w.(*usage.Output); ok {
		w = o.Writer
	}
	f, ok := w.(*os.File)
	return f, ok
}

// animated reports whether what is on the terminal can be overwritten.
func (s streams) animated() bool { return s.terminals() && !dumb() }

// dumb reports whether the terminal knows no control sequences.
func dumb() bool { return os.Getenv("TERM") == "dumb" }

// columns is the width of the terminal behind w.
func columns(w io.Writer) int {
	width, _ := size(w)
	return width
}

func size(w io.Writer) (columns, lines int) {
	f, ok := file(w)
	if !ok {
		return usualColumns, usualLines
	}
	columns, lines, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 || lines <= 0 {
		return usualColumns, usualLines
	}
	return columns, lines
}

// A screen is where pictures are drawn.
type screen struct {
	columns, lines int
	color          bool // has colors, and nobody minds
	ascii          bool // has no other characters
}

// screenOf is the screen behind w, by the environment as well: NO_COLOR and TERM=dumb
// forbid colors, and a locale without UTF-8 all but ASCII.
func screenOf(w io.Writer) screen {
	columns, lines := size(w)
	return screen{
		columns: columns, lines: lines,
		color: isTerminal(w) && os.Getenv("NO_COLOR") == "" && !dumb(),
		ascii: !utf8Locale(),
	}
}

// utf8Locale reports whether the locale's characters are those of UTF-8.
func utf8Locale() bool {
	if runtime.GOOS == "windows" {
		return true
	}
	locale := cmp.Or(os.Getenv("LC_ALL"), os.Getenv("LC_CTYPE"), os.Getenv("LANG"))
	_, charset, _ := strings.Cut(strings.ToLower(locale), ".")
	return strings.HasPrefix(charset, "utf-8") || strings.HasPrefix(charset, "utf8")
}

// curve is how many columns the curve of a plot gets.
func (s screen) curve() int { return max(s.columns-labelWidth-labelMargin, 2) }

// height is how many lines the curve of a plot gets, so that the plot and a line fit.
func (s screen) height() int { return min(10, max(s.lines-belowPlot-3, 2)) }

// cut shortens a line, with its end, to the width of the screen. Its colors need no room.
func (s screen) cut(line string) string {
	body, hasEnd := strings.CutSuffix(line, "\n")
	var b strings.Builder
	room, inEscape := s.columns, false
	for _, r := range body {
		switch {
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
	if hasEnd {
		b.WriteByte('\n')
	}
	return b.String()
}

// lineArt is what asciigraph draws with, in ASCII.
var lineArt = strings.NewReplacer("─", "-", "│", "|", "╭", ".", "╮", ".", "╰", "'", "╯", "'", "╴", "-", "╶", "-", "└", "+", "┬", "+", "┤", "|", "┼", "|")

// letters makes text one that the screen can show.
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
