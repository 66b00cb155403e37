// Command mutate checks the tests of a package: it plants one fault at a time in the
// package's code, runs its tests, and prints each fault that no test noticed.
//
//	mutate [-timeout 2m] [-files 'c*.go'] [-every 10] PACKAGE [IMPORTER...]
//
// What the package's own tests miss, the tests of the importers may notice: an internal
// package is often tested through the package that it is part of.
//
// The faults are: an operator that is swapped, a number that is one too large, a condition
// that is negated or ignored, a statement that is removed (a lock, a close, a deferred
// call, an assignment), and an error that is not returned. go-gremlins has the operators only.
//
// The files in the working tree stay as they are: a fault is an overlay of go build. A
// fault that does not compile does not count. Tests that exceed their time limit have
// noticed the fault; how many did so is printed, since a busy machine exceeds it too.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

func main() {
	limit := flag.Duration("timeout", 0, "time limit of one run of a package's tests (default 10s and three times what they need without a fault)")
	files := flag.String("files", "*", "plant faults only in files whose names match this `pattern`")
	every := flag.Int("every", 1, "plant only each `n`th fault, where all of them would take too long")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: mutate [-timeout DURATION] [-files PATTERN] [-every N] PACKAGE [IMPORTER...]")
		flag.PrintDefaults()
	}
	flag.Parse()
	if _, err := filepath.Match(*files, ""); flag.NArg() < 1 || *every < 1 || err != nil {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Args(), *limit, *files, *every); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// goCommand is the go command that make uses.
func goCommand() string { return cmp.Or(os.Getenv("GO"), "go") }

// run plants faults in the first package, for its tests and those of the others.
func run(ctx context.Context, patterns []string, limit time.Duration, files string, every int) error {
	scratch, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	var packages []*testedPackage
	for i, pattern := range patterns {
		p, err := load(ctx, pattern)
		if err != nil {
			return err
		}
		p.binary = filepath.Join(scratch, strconv.Itoa(i)+".test")
		p.overlay = filepath.Join(scratch, "overlay.json")
		if err := p.runWithoutFault(ctx, limit); err != nil {
			return fmt.Errorf("%s: %w", p.ImportPath, err)
		}
		packages = append(packages, p)
	}

	found, planted, timeouts, passed := 0, 0, 0, 0
	for _, name := range packages[0].GoFiles {
		if matches, _ := filepath.Match(files, name); !matches {
			continue
		}
		path := filepath.Join(packages[0].Dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		faults, err := faultsOf(path, text)
		if err != nil {
			return err
		}
		for _, f := range faults {
			if found++; found%every != 0 {
				continue
			}
			mutated := filepath.Join(scratch, name)
			if err := os.WriteFile(mutated, f.apply(text), 0o600); err != nil {
				return err
			}
			got, err := try(ctx, packages, map[string]string{path: mutated})
			if err != nil {
				return err
			}
			if got == notCompiled {
				continue
			}
			planted++
			switch got {
			case timedOut:
				timeouts++
			case ok:
				passed++
				fmt.Printf("passed: %s:%s\n", name, f.describe(text))
			}
		}
	}
	fmt.Printf("%s: %d planted of %d, %d noticed (%d by the time limit), %d passed\n",
		packages[0].ImportPath, planted, found, planted-passed, timeouts, passed)
	return nil
}

// A result is that of a package's tests with a fault planted.
type result int

const (
	ok result = iota // the tests missed the fault
	failed
	timedOut
	notCompiled
)

// try runs the tests of each package until those of one notice the fault in overlay.
func try(ctx context.Context, packages []*testedPackage, overlay map[string]string) (result, error) {
	for _, p := range packages {
		if compiled, err := p.compile(ctx, overlay); err != nil || !compiled {
			return notCompiled, err
		}
		got := p.run(ctx)
		if ctx.Err() != nil {
			return got, ctx.Err()
		}
		if got != ok {
			return got, nil
		}
	}
	return ok, nil
}

// A testedPackage is a package with tests.
type testedPackage struct {
	Dir, ImportPath                    string
	GoFiles, TestGoFiles, XTestGoFiles []string

	limit           time.Duration // of one run
	binary, overlay string        // files that compile writes
}

func load(ctx context.Context, pattern string) (*testedPackage, error) {
	out, err := exec.CommandContext(ctx, goCommand(), "list", "-json=Dir,ImportPath,GoFiles,TestGoFiles,XTestGoFiles", pattern).Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pattern, explain(err))
	}
	p := &testedPackage{}
	if err := json.Unmarshal(out, p); err != nil {
		return nil, fmt.Errorf("%s: %w; want one package", pattern, err)
	}
	if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
		return nil, fmt.Errorf("%s has no tests", p.ImportPath)
	}
	return p, nil
}

// runWithoutFault checks that the tests pass, and has how long they take as their limit if
// limit is 0.
func (p *testedPackage) runWithoutFault(ctx context.Context, limit time.Duration) error {
	if compiled, err := p.compile(ctx, nil); err != nil || !compiled {
		return errors.Join(errors.New("the tests do not compile"), err)
	}
	p.limit = cmp.Or(limit, 10*time.Minute)
	start := time.Now()
	if p.run(ctx) != ok {
		return errors.New("the tests fail without a fault")
	}
	p.limit = cmp.Or(limit, 10*time.Second+3*time.Since(start))
	return nil
}

// compile builds the test binary with the files of overlay in the place of others.
func (p *testedPackage) compile(ctx context.Context, overlay map[string]string) (compiled bool, err error) {
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return false, err
	}
	if err := os.WriteFile(p.overlay, replace, 0o600); err != nil {
		return false, err
	}
	build := exec.CommandContext(ctx, goCommand(), "test", "-c", "-vet=off", "-overlay", p.overlay, "-o", p.binary, p.ImportPath)
	err = build.Run()
	if _, isExit := errors.AsType[*exec.ExitError](err); isExit && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// run runs the tests that compile has built, in the package's directory.
func (p *testedPackage) run(ctx context.Context) result {
	ctx, cancel := context.WithTimeout(ctx, p.limit)
	defer cancel()
	test := exec.CommandContext(ctx, p.binary, "-test.failfast", "-test.timeout", "0")
	test.Dir = p.Dir
	switch err := test.Run(); {
	case err == nil:
		return ok
	case ctx.Err() != nil:
		return timedOut
	default:
		return failed
	}
}

// explain adds what the program wrote to stderr.
func explain(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}
