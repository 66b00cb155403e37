package main

import (
	"io"
	"os"

	"golang.org/x/term"

	"greetd.example/internal/usage"
)

// usualColumns is the width of a terminal that doesn't tell its own.
const usualColumns = 80

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

// columns is the width of the terminal behind w.
func columns(w io.Writer) int {
	f, ok := file(w)
	if !ok {
		return usualColumns
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil || width <= 0 {
		return usualColumns
	}
	return width
}
