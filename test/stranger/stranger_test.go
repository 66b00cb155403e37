// Package stranger builds and runs each example of pkg/ as somebody else would: as a
// program of another module. So what is exported is enough for what the examples promise.
package stranger

import (
	"bytes"
	"context"
	"errors"
	"go/ast"
	"go/doc"
	"go/format"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// runTime bounds one example.
const runTime = time.Minute

func TestExamplesWorkInAnotherModule(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	packages, _ := public(t, root)
	module := t.TempDir()
	examples := make(map[string]*doc.Example) // by the name of their program
	for _, pkg := range packages {
		for _, e := range examplesOf(t, filepath.Join(root, pkg)) {
			name := strings.ReplaceAll(pkg, "/", "_") + "_" + e.Name
			examples[name] = e
			write(t, filepath.Join(module, name, "main.go"), program(t, name, e))
		}
	}
	write(t, filepath.Join(module, "go.mod"), []byte("module stranger.example\n\ngo 1.26.0\n\n"+
		"require greetd.example v0.0.0\n\nreplace greetd.example => "+root+"\n"))
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(module, "go.sum"), sums)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", "bin/", "./...")
	build.Dir = module
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("a stranger can't build the examples: %v\n%s", err, out)
	}
	for name, e := range examples {
		if e.Output == "" && !e.EmptyOutput {
			continue // such as go test, it is only built
		}
		t.Run(name, func(t *testing.T) { run(t, filepath.Join(module, "bin", name), e) })
	}
}

// Some examples are programs: those in modules of their own, below pkg/. What they do is tested
// on a booted systemd; here they are built with this module as it is.
func TestExampleModulesBuild(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	_, modules := public(t, root)
	for _, module := range modules {
		build := exec.CommandContext(t.Context(), "go", "build", "-o", t.TempDir()+"/", "./...")
		build.Dir = filepath.Join(root, module)
		build.Env = append(os.Environ(), "GOWORK=off")
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", module, err, out)
		}
	}
}

// public are the packages below pkg/ that others can import, and the modules there, as
// folders of root.
func public(t *testing.T, root string) (packages, modules []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(root), "pkg", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if name := entry.Name(); name == "internal" || name == "testdata" {
			return fs.SkipDir
		}
		if _, err := os.Stat(filepath.Join(root, path, "go.mod")); err == nil {
			modules = append(modules, path)
			return fs.SkipDir
		}
		packages = append(packages, path)
		return nil
	})
	if err != nil || len(packages) < 5 {
		t.Fatalf("packages: %q, %v", packages, err)
	}
	return packages, modules
}

// examplesOf are those in the test files of the package in a directory.
func examplesOf(t *testing.T, directory string) []*doc.Example {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(directory, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return doc.Examples(files...)
}

// program is the source of an example as a main package.
func program(t *testing.T, name string, e *doc.Example) []byte {
	t.Helper()
	if e.Play == nil {
		t.Fatalf("the example %s is no whole program: it uses what its package does not export, or other functions of its file without being alone in it", name)
	}
	var source bytes.Buffer
	if err := format.Node(&source, token.NewFileSet(), e.Play); err != nil {
		t.Fatal(err)
	}
	return source.Bytes()
}

func write(t *testing.T, file string, content []byte) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, content, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// run wants what the example says that it prints.
func run(t *testing.T, program string, e *doc.Example) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTime)
	defer cancel()
	var problems bytes.Buffer
	cmd := exec.CommandContext(ctx, program)
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, problems.Bytes())
	}
	got, want := strings.Split(strings.TrimSpace(string(out)), "\n"), strings.Split(strings.TrimSpace(e.Output), "\n")
	if e.Unordered {
		slices.Sort(got)
		slices.Sort(want)
	}
	if !slices.Equal(got, want) {
		t.Errorf("it prints\n%s\nand not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
