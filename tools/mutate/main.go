// Command mutate checks the tests of a package: it plants one fault at a time in the
// package's code, runs its tests, and prints each fault that no test noticed.
//
//	mutate [-timeout 2m] [-files 'c*.go'] [-every 10] PACKAGE
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
	"syscall"
	"time"
)

func main() {
	limit := flag.Duration("timeout", 0, "time limit of one run of the tests (default 10s and three times what they need without a fault)")
	files := flag.String("files", "*", "plant faults only in files whose names match this `pattern`")
	every := flag.Int("every", 1, "plant only each `n`th fault, where all of them would take too long")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: mutate [-timeout DURATION] [-files PATTERN] [-every N] PACKAGE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if _, err := filepath.Match(*files, ""); flag.NArg() != 1 || *every < 1 || err != nil {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, flag.Arg(0), *limit, *files, *every); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

// goCommand is the go command that make uses.
func goCommand() string { return cmp.Or(os.Getenv("GO"), "go") }

func run(ctx context.Context, pattern string, limit time.Duration, files string, every int) error {
	out, err := exec.CommandContext(ctx, goCommand(), "list", "-json=Dir,ImportPath,GoFiles,TestGoFiles,XTestGoFiles", pattern).Output()
	if err != nil {
		return fmt.Errorf("go list %s: %w", pattern, explain(err))
	}
	var pkg struct {
		Dir, ImportPath                    string
		GoFiles, TestGoFiles, XTestGoFiles []string
	}
	if err := json.Unmarshal(out, &pkg); err != nil {
		return fmt.Errorf("%s: %w; want one package", pattern, err)
	}
	if len(pkg.TestGoFiles)+len(pkg.XTestGoFiles) == 0 {
		return fmt.Errorf("%s has no tests", pkg.ImportPath)
	}
	scratch, err := os.MkdirTemp("", "mutate-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	tests := tests{dir: pkg.Dir, importPath: pkg.ImportPath, scratch: scratch, limit: limit}

	// Without a fault: the tests must pass, and show how long they take.
	if compiled, err := tests.compile(ctx, nil); err != nil || !compiled {
		return errors.Join(errors.New("the tests do not compile"), err)
	}
	if tests.limit == 0 {
		tests.limit = 10 * time.Minute
	}
	start := time.Now()
	if passed, _ := tests.run(ctx); !passed {
		return errors.New("the tests fail without a fault")
	}
	if limit == 0 {
		tests.limit = 10*time.Second + 3*time.Since(start)
	}

	found, planted, noticed, timeouts := 0, 0, 0, 0
	for _, name := range pkg.GoFiles {
		if matches, _ := filepath.Match(files, name); !matches {
			continue
		}
		path := filepath.Join(pkg.Dir, name)
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
			compiled, err := tests.compile(ctx, map[string]string{path: mutated})
			if err != nil {
				return err
			}
			if !compiled {
				continue
			}
			passed, timedOut := tests.run(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			planted++
			if passed {
				fmt.Printf("passed: %s:%s\n", name, f.describe(text))
				continue
			}
			noticed++
			if timedOut {
				timeouts++
			}
		}
	}
	fmt.Printf("%s: %d planted, %d noticed (%d by the time limit), %d passed\n",
		pkg.ImportPath, planted, noticed, timeouts, planted-noticed)
	return nil
}

// tests are those of one package.
type tests struct {
	dir, importPath string
	scratch         string        // for what is only needed now
	limit           time.Duration // of one run
}

// compile builds the test binary with the files of overlay in the place of others.
func (t tests) compile(ctx context.Context, overlay map[string]string) (compiled bool, err error) {
	replace, err := json.Marshal(map[string]any{"Replace": overlay})
	if err != nil {
		return false, err
	}
	file := filepath.Join(t.scratch, "overlay.json")
	if err := os.WriteFile(file, replace, 0o600); err != nil {
		return false, err
	}
	build := exec.CommandContext(ctx, goCommand(), "test", "-c", "-vet=off", "-overlay", file, "-o", t.binary(), t.importPath)
	err = build.Run()
	if _, isExit := errors.AsType[*exec.ExitError](err); isExit && ctx.Err() == nil {
		return false, nil
	}
	return err == nil, err
}

// run runs the tests that compile has built, in the package's directory.
func (t tests) run(ctx context.Context) (passed, timedOut bool) {
	ctx, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	test := exec.CommandContext(ctx, t.binary(), "-test.failfast", "-test.timeout", "0")
	test.Dir = t.dir
	err := test.Run()
	return err == nil, ctx.Err() != nil
}

func (t tests) binary() string { return filepath.Join(t.scratch, "package.test") }

// explain adds what the program wrote to stderr.
func explain(err error) error {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return err
}
