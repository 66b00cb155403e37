package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"greetd.example/internal/test/debian"
	"greetd.example/internal/test/manpage"
)

// pages are all Markdown pages, as seen from here.
func pages(t *testing.T) (found []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && path != ".." && strings.HasPrefix(entry.Name(), ".") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) < 10 {
		t.Fatalf("pages: %v, %v", found, err)
	}
	return found
}

var (
	link   = regexp.MustCompile(`\[([^][]*)\]\(([^()\s]+)\)`)
	quoted = regexp.MustCompile("`([^`]+)`")
)

// TestLinks follows each link to a file of ours, pictures too, of which each is shown. Where its words are in
// backquotes, they must be declared in that file, if it is Go, or else stand in it:
// [`Bind`](pkg/systemd/bind.go).
func TestLinks(t *testing.T) {
	followed, shown := 0, map[string]bool{}
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range link.FindAllStringSubmatch(strings.ReplaceAll(string(text), "\n", " "), -1) {
			target, _, _ := strings.Cut(l[2], "#")
			if target == "" || strings.Contains(target, "://") {
				continue
			}
			followed++
			file := filepath.Join(filepath.Dir(page), target)
			shown[file] = true
			if _, err := os.Stat(file); err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			for _, word := range quoted.FindAllStringSubmatch(l[1], -1) {
				if !has(t, file, word[1]) {
					t.Errorf("%s: there is no %s in %s", page, word[1], target)
				}
			}
		}
	}
	pictures, _ := filepath.Glob("images/*.png")
	for _, picture := range pictures {
		if !shown[filepath.Join("../docs", picture)] {
			t.Errorf("no page shows %s", picture)
		}
	}
	if followed < 40 {
		t.Errorf("only %d links were found", followed)
	}
}

// TestArchitectureNamesEachPackage holds the table of packages against the folders.
func TestArchitectureNamesEachPackage(t *testing.T) {
	page, err := os.ReadFile("architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	var named, found []string
	for _, row := range regexp.MustCompile(`(?m)^\| \[([a-z/]+)\]`).FindAllSubmatch(page, -1) {
		named = append(named, string(row[1]))
	}
	for _, parent := range []string{"cmd", "internal", "pkg"} {
		folders, err := filepath.Glob("../" + parent + "/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, folder := range folders {
			found = append(found, strings.TrimPrefix(folder, "../"))
		}
	}
	manpage.Same(t, "packages", named, found)
}

// TestTargets looks up what a page tells people to make.
func TestTargets(t *testing.T) {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, call := range target.FindAllStringSubmatch(string(text), -1) {
			if !strings.Contains(string(makefile), "\n"+call[1]+":") {
				t.Errorf("%s says make %s, and there is no such target", page, call[1])
			}
		}
	}
}

var target = regexp.MustCompile("(?m)(?:^ *|`)make ([a-z][a-z0-9-]*)")

// TestDecisionsAreShort holds decisions to half a page or so.
func TestDecisionsAreShort(t *testing.T) {
	decisions, err := filepath.Glob("decisions/*.md")
	if err != nil || len(decisions) < 5 {
		t.Fatalf("decisions: %v, %v", decisions, err)
	}
	for _, path := range decisions {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if words := len(strings.Fields(string(text))); words > 350 {
			t.Errorf("%s has %d words", path, words)
		}
	}
}

// has reports whether a file, or a Go package if it is a directory, declares name; what
// is not Go only has to contain it. A file may be meant by its own name.
func has(t *testing.T, file, name string) bool {
	t.Helper()
	if filepath.Base(name) == filepath.Base(file) {
		return true
	}
	sources := []string{file}
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		sources, _ = filepath.Glob(filepath.Join(file, "*.go"))
	}
	return slices.ContainsFunc(sources, func(source string) bool {
		if strings.HasSuffix(source, ".go") {
			return declares(t, source, name)
		}
		text, err := os.ReadFile(source)
		return err == nil && strings.Contains(string(text), name)
	})
}

func declares(t *testing.T, source, name string) (found bool) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, declaration := range file.Decls {
		switch d := declaration.(type) {
		case *ast.FuncDecl:
			found = found || d.Name.Name == name
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					found = found || s.Name.Name == name
				case *ast.ValueSpec:
					found = found || slices.ContainsFunc(s.Names, func(n *ast.Ident) bool { return n.Name == name })
				}
			}
		}
	}
	return found
}

var (
	htmlLink   = regexp.MustCompile(`href="([^"]*)"`)
	htmlAnchor = regexp.MustCompile(`id="([^"]*)"`)
)

// TestManualsAsHTML follows each link of what `make docs` writes: to an anchor, to another page of ours, or
// to a manual of Debian's.
func TestManualsAsHTML(t *testing.T) {
	debian.Program(t, "mandoc", "mandoc")
	dir := t.TempDir()
	if out, err := exec.CommandContext(t.Context(), "make", "-C", "..", "docs", "BIN="+dir).CombinedOutput(); err != nil {
		t.Fatalf("make docs: %v\n%s", err, out)
	}
	written, err := filepath.Glob(filepath.Join(dir, "docs", "*"))
	if err != nil || len(written) != 4 {
		t.Fatalf("make docs wrote %v, %v", written, err)
	}
	anchors := make(map[string]bool)
	texts := make(map[string]string)
	for _, page := range written {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(page)
		texts[name], anchors[name] = string(text), true
		for _, a := range htmlAnchor.FindAllStringSubmatch(string(text), -1) {
			anchors[name+"#"+a[1]] = true
		}
	}
	followed := 0
	for name, text := range texts {
		for _, l := range htmlLink.FindAllStringSubmatch(text, -1) {
			target := l[1]
			if strings.HasPrefix(target, "https://manpages.debian.org/") || target == "https://pkg.go.dev/text/template" {
				continue
			}
			if strings.HasPrefix(target, "#") {
				target = name + target
			}
			followed++
			if !anchors[target] {
				t.Errorf("%s links to %s, which is not there", name, l[1])
			}
		}
	}
	if followed < 100 {
		t.Errorf("only %d links were followed", followed)
	}
}
