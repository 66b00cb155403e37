package manpage

import (
	"os"
	"strings"
	"testing"
)

// A Block is what stands between two fences of a Markdown page.
type Block struct {
	Kind  string // console, sh, yaml and so on; "" for none
	Line  int    // of the first of Lines, from 1
	Lines []string
}

// Blocks returns the fenced blocks of a Markdown page.
func Blocks(tb testing.TB, path string) (found []Block) {
	tb.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	open := false
	for i, line := range strings.Split(string(text), "\n") {
		kind, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && !open:
			found = append(found, Block{Kind: kind, Line: i + 2})
			open = true
		case fence:
			open = false
		case open:
			last := &found[len(found)-1]
			last.Lines = append(last.Lines, line)
		}
	}
	return found
}
