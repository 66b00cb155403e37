package manpage

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
)

// Inspect shows look each node of the Go files in a directory that are no tests.
func Inspect(tb testing.TB, directory string, look func(ast.Node)) {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(directory, "*.go"))
	if err != nil || len(files) == 0 {
		tb.Fatalf("no Go files in %s: %v", directory, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		source, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			tb.Fatal(err)
		}
		ast.Inspect(source, func(n ast.Node) bool {
			look(n)
			return true
		})
	}
}
