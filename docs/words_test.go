package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// private are words that a reader does not search for: each has a plain one that the field uses.
var private = regexp.MustCompile(`(?i)\bserves on($|[,.;:])|takes? (no more )?clients|\bmanners?\b|\bpatience\b|` +
	`\bfor ever\b|\bso many\b|\bfirst hour\b|\bwho talks first\b|\bfarewell\b|\bheed(s|ed)?\b|\bone door\b|` +
	`\bgreetd (looks at|stops,)|\bverdict\b`)

// kept has the contract's own use of such a word: a field of greetd doctor --json.
var kept = regexp.MustCompile("verdict\"?`?[:,]|\\.verdict|json:\"verdict|^verdict$")

// TestPlainWords looks through what people read: pages, units, the catalog, alerts, and the texts in
// the programs.
func TestPlainWords(t *testing.T) {
	read := 0
	check := func(where, text string) {
		read++
		for line := range strings.Lines(text) {
			line = strings.TrimSpace(line)
			if found := private.FindString(line); found != "" && !kept.MatchString(line) {
				t.Errorf("%s: %q in %q", where, found, line)
			}
		}
	}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "testdata" || entry.Name() == ".git" || entry.Name() == "decisions" || entry.Name() == "bench" || entry.Name() == "test" || entry.Name() == ".cache"):
			return filepath.SkipDir
		case entry.IsDir() || strings.HasSuffix(path, "_test.go") || strings.HasSuffix(path, "CHANGELOG.md"):
			return nil
		}
		switch filepath.Ext(path) {
		case ".go":
			for _, text := range literals(t, path) {
				check(path, text)
			}
		case ".md", ".1", ".5", ".8", ".yaml", ".yml", ".json", ".catalog", ".service", ".socket", ".conf", ".html", ".txt":
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			check(path, string(text))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if read < 1000 {
		t.Errorf("only %d texts were read", read)
	}
}

// literals are the strings in a Go file.
func literals(t *testing.T, path string) (texts []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			texts = append(texts, strings.Trim(literal.Value, "`\""))
		}
		return true
	})
	return texts
}
