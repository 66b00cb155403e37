// Package debian finds the programs that tests talk to, and gets the missing ones
// from Debian. What a test can't have is reported, never skipped in silence.
package debian

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Program returns the path of a program. Where it is missing, root installs the Debian
// package that has it; where that can't be done, the test is Lacking.
func Program(tb testing.TB, name, pkg string) string {
	tb.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	problem := "only root can install it"
	if os.Getuid() == 0 {
		if err := install(tb, pkg); err != nil {
			problem = err.Error()
		} else if path, err := exec.LookPath(name); err != nil {
			problem = err.Error()
		} else {
			return path
		}
	}
	Lacking(tb, "%s of the Debian package %s: %s", name, pkg, problem)
	return ""
}

// Lacking skips a test for which this machine has not got what it needs, and says what.
// With CI=true, where everything has to run, the test fails.
func Lacking(tb testing.TB, what string, args ...any) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("needs "+what, args...)
	}
	tb.Skipf("needs "+what, args...)
}

// install waits for others who install something: packages are tested side by side. No
// daemon is started for being installed.
func install(tb testing.TB, pkg string) error {
	tb.Helper()
	lock, err := os.Create(filepath.Join(os.TempDir(), "greetd-debian.lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := flock(lock); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	const policy, startNothing = "/usr/sbin/policy-rc.d", "#!/bin/sh\n# while greetd's tests install a package\nexit 101\n"
	switch mine, err := os.ReadFile(policy); {
	case err == nil && string(mine) != startNothing:
		// The machine has its own.
	case err == nil || errors.Is(err, fs.ErrNotExist):
		if err := os.WriteFile(policy, []byte(startNothing), 0o755); err != nil {
			return err
		}
		defer os.Remove(policy)
	default:
		return err
	}
	apt := func(args ...string) error {
		cmd := exec.CommandContext(tb.Context(), "apt-get", append([]string{"-o", "DPkg::Lock::Timeout=600"}, args...)...)
		cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		out, err := cmd.CombinedOutput()
		if err != nil {
			tb.Logf("%v: %v\n%s", cmd.Args, err, out)
		}
		return err
	}
	get := []string{"install", "-y", "--no-install-recommends", pkg}
	if apt(get...) == nil {
		return nil
	}
	_ = apt("update") // one of several sites may be away; the next line fails then
	return apt(get...)
}
